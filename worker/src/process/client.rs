//! The worker's side: programs and locks, through a keeper that exists from the first one on; a new one when it dies.

use super::deadline::Moment;
use super::protocol::{Exit, KeptId, Mark, Request, StartAttempt};
use super::session::Session;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use skein_common::RunId;
use skein_common::wire::AttemptRef;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::sync::{Mutex, oneshot};
use tracing::warn;

/// Why a program was not started, or its end is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    #[error("the process that starts programs does not start: {0}")]
    NoKeeper(#[source] io::Error),
    #[error("no pipes for the program: {0}")]
    NoPipes(#[source] io::Error),
    #[error("{reason}")]
    NotStarted { reason: String },
    #[error("processes of the run's previous owner still run: {}", .holders.join(", "))]
    RunHeld { holders: Vec<String> },
    #[error("the attempts lock cannot be taken: {reason}")]
    LockFailed { reason: String },
    #[error("the process that starts programs died")]
    KeeperDied,
    #[error("nobody vouched for the attempt in time")]
    Overdue,
}

/// Starts programs through a keeper process, which exists from the first one on.
#[derive(Debug)]
pub(crate) struct Keeper {
    executable: PathBuf,
    attempts_dir: PathBuf,
    lock_wait: Duration,
    /// Locked while a keeper is being started.
    session: Mutex<Option<Rc<Session>>>,
    last_id: Cell<KeptId>,
    /// Of attempts that owners may give to others: until when they vouch for them, since boot.
    deadlines: RefCell<BTreeMap<Mark, Duration>>,
}

/// A program to start.
#[derive(Debug)]
pub(crate) struct ProgramStart {
    pub run: RunId,
    pub mark: Mark,
    pub program: PathBuf,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
    /// Whether it ends when nobody vouches for its attempt any longer; what clears up after it does not.
    pub has_deadline: bool,
}

/// A running program. Dropped before its end was seen, it is ended.
#[derive(Debug)]
pub(crate) struct KeptChild {
    handle: ChildHandle,
    exited: oneshot::Receiver<Exit>,
}

/// Our ends of a program's standard streams.
#[derive(Debug)]
pub(crate) struct Pipes {
    /// Taken by who writes it, and dropped then: the program reads the end.
    pub stdin: Option<pipe::Sender>,
    pub stdout: pipe::Receiver,
    pub stderr: pipe::Receiver,
    /// The program's descriptor 3.
    pub three: pipe::Receiver,
}

#[derive(Debug)]
struct ChildHandle {
    id: KeptId,
    session: Rc<Session>,
    ended: Cell<bool>,
}

impl Keeper {
    /// Starts nothing yet. Locks of runs are files in `attempts_dir`.
    pub(crate) fn new(executable: PathBuf, attempts_dir: PathBuf, lock_wait: Duration) -> Keeper {
        let (session, last_id, deadlines) = (Mutex::new(None), Cell::new(0), RefCell::default());
        Keeper { executable, attempts_dir, lock_wait, session, last_id, deadlines }
    }

    /// Owners vouch for these attempts until so long after these moments. Should this process be stopped, or hang, the
    /// keeper ends their programs then. An attempt that was never vouched for has no deadline.
    pub(crate) fn vouch_for<'a>(&self, attempts: impl IntoIterator<Item = (&'a AttemptRef, Moment, Duration)>) {
        let vouched = attempts.into_iter().map(|(attempt, at, deadline)| (Mark::of(attempt), at.since_boot + deadline));
        let vouched: BTreeMap<Mark, Duration> = vouched.collect();
        // Locked for as long as a keeper is being started: it has no programs yet.
        if let Ok(session) = self.session.try_lock()
            && let Some(session) = session.as_ref()
        {
            session.extend(&vouched);
        }
        let mut deadlines = self.deadlines.borrow_mut();
        for (mark, until) in vouched {
            let known = deadlines.entry(mark).or_default();
            *known = until.max(*known);
        }
    }

    /// The attempt is over.
    pub(crate) fn forget(&self, attempt: &AttemptRef) {
        self.deadlines.borrow_mut().remove(&Mark::of(attempt));
    }

    /// Waits until no process of an earlier owner of the run is left, and keeps later owners waiting.
    pub(crate) async fn hold_run(&self, run: &RunId) -> Result<(), KeeperError> {
        let session = self.session().await?;
        self.lock_run(&session, run).await
    }

    /// Starts the program; holds its run first if that was not done.
    pub(crate) async fn start(&self, start: ProgramStart) -> Result<(KeptChild, Pipes), KeeperError> {
        let session = self.session().await?;
        self.lock_run(&session, &start.run).await?;
        let id = self.last_id.get() + 1;
        self.last_id.set(id);

        let (stdin_theirs, stdin) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipes)?;
        let (stdout, stdout_theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipes)?;
        let (stderr, stderr_theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipes)?;
        let (three, three_theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(no_pipes)?;
        let request = Request::Start(StartAttempt {
            id,
            mark: start.mark.clone(),
            program: start.program.to_string_lossy().into_owned(),
            argv: start.argv,
            env: start.env,
            cwd: start.cwd.to_string_lossy().into_owned(),
            deadline_ms: self.deadlines.borrow().get(&start.mark).copied().filter(|_| start.has_deadline).map(in_ms),
        });
        let (started_sender, started) = oneshot::channel();
        let (exited_sender, exited) = oneshot::channel();
        session.waiting.borrow_mut().starts.insert(id, (start.mark, started_sender));
        session.waiting.borrow_mut().exits.insert(id, exited_sender);
        // From here on a drop of this future ends the program.
        let handle = ChildHandle { id, session: Rc::clone(&session), ended: Cell::new(false) };
        session.send(&request, vec![stdin_theirs, stdout_theirs, stderr_theirs, three_theirs]).await?;
        if let Err(reason) = started.await.map_err(|_| KeeperError::KeeperDied)? {
            handle.ended.set(true);
            session.waiting.borrow_mut().exits.remove(&id);
            return Err(KeeperError::NotStarted { reason });
        }
        let pipes = Pipes {
            stdin: Some(pipe::Sender::from_owned_fd(stdin).map_err(KeeperError::NoPipes)?),
            stdout: pipe::Receiver::from_owned_fd(stdout).map_err(KeeperError::NoPipes)?,
            stderr: pipe::Receiver::from_owned_fd(stderr).map_err(KeeperError::NoPipes)?,
            three: pipe::Receiver::from_owned_fd(three).map_err(KeeperError::NoPipes)?,
        };
        Ok((KeptChild { handle, exited }, pipes))
    }

    /// Lets other owners of the run start programs.
    pub(crate) async fn release_run(&self, run: &RunId) {
        let session = self.session.lock().await.clone();
        let Some(session) = session.filter(|session| session.locks.borrow_mut().remove(run).is_some()) else { return };
        let _ = session.send(&Request::UnlockRun { run: run.clone() }, Vec::new()).await;
    }

    /// Ends the keeper and every program, and waits until all are gone.
    pub(crate) async fn close(&self) {
        if let Some(session) = self.session.lock().await.take() {
            session.stop.borrow_mut().take();
            let _ = session.over.subscribe().wait_for(|over| *over).await;
        }
    }

    async fn session(&self) -> Result<Rc<Session>, KeeperError> {
        let mut slot = self.session.lock().await;
        if let Some(session) = slot.as_ref().filter(|session| !*session.over.borrow()) {
            return Ok(Rc::clone(session));
        }
        let session = Session::open(&self.executable).map_err(KeeperError::NoKeeper)?;
        *slot = Some(Rc::clone(&session));
        Ok(session)
    }

    async fn lock_run(&self, session: &Rc<Session>, run: &RunId) -> Result<(), KeeperError> {
        let cell = Rc::clone(session.locks.borrow_mut().entry(run.clone()).or_default());
        let path = self.attempts_dir.join(format!("{run}.attempts"));
        cell.get_or_try_init(|| session.lock_within(run, &path, self.lock_wait)).await.copied()
    }
}

impl KeptChild {
    /// Asks for its end; SIGKILL follows after the grace. `exited` tells when it is over.
    pub(crate) async fn end(&self, grace: Duration) {
        let _ = self.handle.session.send(&self.handle.end_request(grace), Vec::new()).await;
    }

    /// Waits until the program and all its descendants are gone.
    pub(crate) async fn exited(&mut self) -> Result<Exit, KeeperError> {
        let exit = (&mut self.exited).await.map_err(|_| KeeperError::KeeperDied)?;
        self.handle.ended.set(true);
        if exit == Exit::Overdue { Err(KeeperError::Overdue) } else { Ok(exit) }
    }
}

impl ChildHandle {
    fn end_request(&self, grace: Duration) -> Request {
        Request::End { id: self.id, grace_ms: in_ms(grace) }
    }
}

impl Drop for ChildHandle {
    fn drop(&mut self) {
        if !self.ended.get() && !self.session.try_send(&self.end_request(Duration::ZERO)) {
            warn!("a program could not be ended: the way to the keeper is full");
        }
    }
}

pub(super) fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn no_pipes(error: Errno) -> KeeperError {
    KeeperError::NoPipes(error.into())
}
