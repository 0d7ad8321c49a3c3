//! The parent's side of one host: requests, answers, and what it means when there is none.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use skein_common::script::{Loaded, Op, ScriptError, ScriptErrorKind, Settlement, Start, TurnEnd};
use tokio::net::UnixStream;

use crate::audit::Audit;
use crate::error::{HostError, LoadError};
use crate::keeper::{Process, Spawned};
use crate::limits::HostLimits;
use crate::prepare::Lines;
use crate::protocol::{self, FromHost, ToHost, VERSION};
use crate::sandbox::Cause;
use crate::watchdog::Alarm;

/// No code of the script runs before the greeting, so this is not the script's clock.
const GREETING_TIMEOUT: Duration = Duration::from_secs(20);

/// One loaded script in its own process. Dropping it kills the process.
#[derive(Debug)]
pub struct ScriptHost {
    /// `None` while a turn runs and after the last: a turn that is dropped midway takes the process with it.
    link: Option<Link>,
    limits: HostLimits,
    audit: Audit,
}

impl ScriptHost {
    pub(crate) async fn load(spawned: Spawned, source: &str, limits: &HostLimits) -> Result<(Self, Loaded), LoadError> {
        let mut link = Link::new(spawned, limits)?;
        link.greet().await?;
        let init = ToHost::Init { source: source.to_owned(), limits: limits.clone() };
        match link.exchange(&init).await {
            Ok(FromHost::Loaded { loaded }) => {
                let host = Self { link: Some(link), limits: limits.clone(), audit: Audit::new(limits.clone()) };
                Ok((host, loaded))
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
        let mut last = None;
        // One frame each, so that each stretch has its own clock.
        for settlement in items {
            self.audit.settled(settlement.call);
            let mut end = self.turn(&ToHost::Settle { settlement }).await;
            let (TurnEnd::Waiting { ops, .. } | TurnEnd::Done { ops, .. } | TurnEnd::Failed { ops, .. }) = &mut end;
            done.append(ops);
            let goes_on = matches!(end, TurnEnd::Waiting { .. });
            last = Some(end);
            if !goes_on {
                break;
            }
        }
        match last {
            Some(TurnEnd::Waiting { open, .. }) => TurnEnd::Waiting { ops: done, open },
            Some(TurnEnd::Done { result, warnings, .. }) => TurnEnd::Done { ops: done, result, warnings },
            Some(TurnEnd::Failed { error, .. }) => TurnEnd::Failed { ops: done, error },
            None => TurnEnd::Waiting { ops: done, open: self.audit.open() },
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
    _process: Process,
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
        Ok(Self { socket: UnixStream::from_std(socket)?, emergency, _process: process, turn_ms: limits.turn_ms })
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

    async fn within<T>(
        &mut self,
        time: Duration,
        talk: impl AsyncFnOnce(&mut UnixStream) -> io::Result<T>,
    ) -> Result<T, Lost> {
        let alarm = Alarm::set(time)?;
        tokio::select! {
            biased;
            answer = talk(&mut self.socket) => Ok(answer?),
            () = alarm.rings() => Err(Lost::Time),
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
