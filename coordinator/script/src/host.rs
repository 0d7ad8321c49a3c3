//! The parent's side of one host: requests, answers, and what it means when there is none.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use skein_common::script::{Loaded, Op, ScriptError, ScriptErrorKind, Settlement, Start, TurnEnd};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::audit::Audit;
use crate::error::{HostError, LoadError};
use crate::guard::Guard;
use crate::keeper::{Process, Spawned};
use crate::limits::HostLimits;
use crate::pool::Counted;
use crate::prepare::Lines;
use crate::protocol::{self, FromHost, ToHost, VERSION};
use crate::sandbox::Cause;

/// No code of the script runs before the greeting, so this is not the script's clock.
const GREETING_TIMEOUT: Duration = Duration::from_secs(20);

/// Settlements are sent ahead of their answers up to this size.
const SENT_AHEAD_BYTES_MAX: usize = 64 << 10;

/// One loaded script in its own process. Dropping it kills the process.
#[derive(Debug)]
pub struct ScriptHost {
    /// `None` while a turn runs and after the last: a turn that is dropped midway takes the process with it.
    link: Option<Link>,
    limits: HostLimits,
    audit: Audit,
    _counted: Counted,
}

impl ScriptHost {
    pub(crate) async fn load(
        spawned: Spawned,
        counted: Counted,
        source: &str,
        limits: &HostLimits,
    ) -> Result<(Self, Loaded), LoadError> {
        let mut link = Link::new(spawned, limits)?;
        link.greet().await?;
        let init = ToHost::Init { source: source.to_owned(), limits: limits.clone() };
        match link.exchange(&init).await {
            Ok(FromHost::Loaded { loaded }) => {
                let audit = Audit::new(limits.clone());
                Ok((Self { link: Some(link), limits: limits.clone(), audit, _counted: counted }, loaded))
            }
            Ok(FromHost::Refused { error }) => Err(error.into()),
            Ok(_) => Err(breach("it answered out of turn").into()),
            Err(lost) => Err(link.explain(lost, limits).into()),
        }
    }

    /// Another time cap for the turns to come: clocks are doubled while a run is replayed (C10).
    pub fn set_turn_ms(&mut self, turn_ms: u64) {
        self.limits.turn_ms = turn_ms;
        if let Some(link) = &mut self.link {
            link.turn_ms = turn_ms;
        }
    }

    /// Runs the script until it waits or ends.
    pub async fn start(&mut self, start: Start) -> TurnEnd {
        self.turn(&ToHost::Start { start }).await
    }

    /// Delivers settlements in this order, each followed by all that it sets off, until the script waits again or ends.
    pub async fn settle(&mut self, items: Vec<Settlement>) -> TurnEnd {
        let mut done: Vec<Op> = Vec::new();
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let (mut calls, mut frames) = (Vec::new(), Vec::new());
            // One frame each, so that each stretch has its own clock; many at once, so that the host does not wait.
            while frames.len() < SENT_AHEAD_BYTES_MAX
                && let Some(settlement) = items.next()
            {
                calls.push(settlement.call);
                match protocol::encoded(&ToHost::Settle { settlement }) {
                    Ok(frame) => frames.extend_from_slice(&frame),
                    Err(error) => return self.end_with(done, breach(&error.to_string())),
                }
            }
            let end = self.stretches(&calls, &frames, &mut done).await;
            match end {
                TurnEnd::Waiting { .. } => {}
                TurnEnd::Done { result, warnings, .. } => return TurnEnd::Done { ops: done, result, warnings },
                TurnEnd::Failed { error, .. } => return TurnEnd::Failed { ops: done, error },
            }
        }
        TurnEnd::Waiting { ops: done, open: self.audit.open() }
    }

    fn end_with(&mut self, ops: Vec<Op>, error: ScriptError) -> TurnEnd {
        self.link = None;
        TurnEnd::Failed { ops, error }
    }

    /// Sends what settles these calls and hears an answer to each; the end of the last that was heard.
    async fn stretches(&mut self, calls: &[u32], frames: &[u8], done: &mut Vec<Op>) -> TurnEnd {
        let Some(mut link) = self.link.take() else {
            return failed(Lines::bare(ScriptErrorKind::Engine, "the script host has ended"));
        };
        let mut last = TurnEnd::Waiting { ops: Vec::new(), open: self.audit.open() };
        let mut calls = calls.iter();
        let audit = &mut self.audit;
        let heard = link.exchange_all(frames, calls.len(), |answer| {
            let FromHost::Turn { mut end } = answer else { return Err("it answered out of turn".to_owned()) };
            calls.next().into_iter().for_each(|call| audit.settled(*call));
            audit.turn(&end).map_err(|said| said.to_string())?;
            let (TurnEnd::Waiting { ops, .. } | TurnEnd::Done { ops, .. } | TurnEnd::Failed { ops, .. }) = &mut end;
            done.append(ops);
            last = end;
            Ok(matches!(last, TurnEnd::Waiting { .. }))
        });
        match heard.await {
            Ok(Ok(true)) => {
                self.link = Some(link);
                last
            }
            Ok(Ok(false)) => last,
            Ok(Err(said)) => failed(breach(&said)),
            Err(lost) => failed(link.explain(lost, &self.limits)),
        }
    }

    async fn turn(&mut self, request: &ToHost) -> TurnEnd {
        let Some(mut link) = self.link.take() else {
            return failed(Lines::bare(ScriptErrorKind::Engine, "the script host has ended"));
        };
        match link.exchange(request).await {
            Ok(FromHost::Turn { end }) => match self.audit.turn(&end) {
                Ok(()) => {
                    if matches!(end, TurnEnd::Waiting { .. }) {
                        self.link = Some(link);
                    }
                    end
                }
                Err(said) => failed(breach(&said.to_string())),
            },
            Ok(_) => failed(breach("it answered out of turn")),
            Err(lost) => failed(link.explain(lost, &self.limits)),
        }
    }
}

#[derive(Debug)]
struct Link {
    socket: UnixStream,
    emergency: OwnedFd,
    /// Killed with the link.
    process: Process,
    turn_ms: u64,
}

/// Why there was no answer.
#[derive(Debug)]
enum Lost {
    Time,
    Io(io::Error),
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Link {
    fn new(spawned: Spawned, limits: &HostLimits) -> io::Result<Self> {
        let Spawned { socket, emergency, process } = spawned;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixStream::from_std(socket)?, emergency, process, turn_ms: limits.turn_ms })
    }

    /// The host speaks first, before it has read anything.
    async fn greet(&mut self) -> Result<(), HostError> {
        let hello = self.within(GREETING_TIMEOUT, async |socket| protocol::receive(socket).await).await;
        match hello {
            Ok(FromHost::Hello { version: VERSION, .. }) => Ok(()),
            Ok(FromHost::Hello { version, .. }) => Err(HostError::Version { expected: VERSION, found: version }),
            Ok(_) => Err(spawn_error("it did not greet", None)),
            Err(Lost::Time) => Err(spawn_error("it did not greet in time", None)),
            Err(Lost::Io(error)) => Err(spawn_error("it ended before it greeted", Some(error))),
        }
    }

    async fn exchange(&mut self, request: &ToHost) -> Result<FromHost, Lost> {
        self.within(Duration::from_millis(self.turn_ms), async |socket| {
            protocol::send(socket, request).await?;
            protocol::receive(socket).await
        })
        .await
    }

    /// Sends these frames while it hears up to so many answers, each within a turn's time of the one before. Goes on
    /// while `hear` says so; whether it would still go on.
    async fn exchange_all(
        &mut self,
        frames: &[u8],
        answers: usize,
        mut hear: impl FnMut(FromHost) -> Result<bool, String>,
    ) -> Result<Result<bool, String>, Lost> {
        let mut guard = Guard::begin(&mut self.process, Duration::from_millis(self.turn_ms))?;
        let (from_host, mut to_host) = self.socket.split();
        let mut from_host = BufReader::new(from_host);
        let mut sending = std::pin::pin!(to_host.write_all(frames));
        let mut is_sent = false;
        for _ in 0..answers {
            let mut receiving = std::pin::pin!(protocol::receive(&mut from_host));
            let answer = loop {
                tokio::select! {
                    biased;
                    answer = &mut receiving => break answer?,
                    // A host that ended says so in its last answer; the failure to write to it says less.
                    _ = &mut sending, if !is_sent => is_sent = true,
                    () = guard.expires() => return Err(Lost::Time),
                }
            };
            guard.begin_again()?;
            match hear(answer) {
                Ok(true) => {}
                end => return Ok(end),
            }
        }
        let is_quiet = from_host.buffer().is_empty();
        Ok(if is_quiet { Ok(true) } else { Err("it said more than it was asked".to_owned()) })
    }

    async fn within<T>(
        &mut self,
        time: Duration,
        talk: impl AsyncFnOnce(&mut UnixStream) -> io::Result<T>,
    ) -> Result<T, Lost> {
        let mut guard = Guard::begin(&mut self.process, time)?;
        tokio::select! {
            biased;
            answer = talk(&mut self.socket) => Ok(answer?),
            () = guard.expires() => Err(Lost::Time),
        }
    }

    /// The last word of a host that gave no answer.
    fn explain(&self, lost: Lost, limits: &HostLimits) -> ScriptError {
        let error = match lost {
            Lost::Time => {
                let message =
                    format!("the script ran longer than its cap `turn_ms` of {} ms without a pause", self.turn_ms);
                return Lines::bare(ScriptErrorKind::Time, message);
            }
            Lost::Io(error) => error,
        };
        match self.emergency_cause() {
            Some(Cause::Memory) => {
                let message =
                    format!("the script used more memory than its cap `memory_bytes` of {}", limits.memory_bytes);
                Lines::bare(ScriptErrorKind::Memory, message)
            }
            Some(Cause::Stack) => {
                Lines::bare(ScriptErrorKind::Stack, "the script is nested too deeply: the native stack overflowed")
            }
            Some(Cause::Crash) => Lines::bare(ScriptErrorKind::Engine, "the interpreter crashed"),
            None if error.kind() == io::ErrorKind::InvalidData => breach(&error.to_string()),
            None => Lines::bare(ScriptErrorKind::Engine, "the script host ended without a word"),
        }
    }

    /// Written before the process ended, so it is there when the socket is closed.
    fn emergency_cause(&self) -> Option<Cause> {
        let mut byte = [0];
        match rustix::io::read(&self.emergency, &mut byte) {
            Ok(1) => Cause::from_byte(byte[0]),
            _ => None,
        }
    }
}

fn spawn_error(reason: &str, source: Option<io::Error>) -> HostError {
    HostError::Spawn { reason: reason.to_owned(), source }
}

fn breach(said: &str) -> ScriptError {
    Lines::bare(ScriptErrorKind::Engine, format!("the script host broke the protocol: {said}"))
}

fn failed(error: ScriptError) -> TurnEnd {
    TurnEnd::Failed { ops: Vec::new(), error }
}
