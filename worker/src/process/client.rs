//! The worker's side of the keeper: starts it when the first program is wanted, and a new one when it dies.

use super::descendants::{Marked, ProcessTable, marked};
use super::protocol::{Exit, FrameBuffer, KeptId, Mark, Reply, Request, StartAttempt, encode_frame};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use skein_common::RunId;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{Mutex, OnceCell, mpsc, oneshot};
use tracing::warn;

/// Between two tries to lock a run that a dying owner still has.
const LOCK_AGAIN: Duration = Duration::from_millis(25);
/// Between two looks at orphans of a dead keeper that were killed.
const ORPHANS_AGAIN: Duration = Duration::from_millis(5);
/// Requests on their way to the keeper; more wait. Each attempt has at most two.
const REQUESTS_MAX: usize = 1024;

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
        Keeper { executable, attempts_dir, lock_wait, session: Mutex::new(None), last_id: Cell::new(0) }
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
        Ok(exit)
    }
}

impl ChildHandle {
    fn end_request(&self, grace: Duration) -> Request {
        Request::End { id: self.id, grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl Drop for ChildHandle {
    fn drop(&mut self) {
        if !self.ended.get() && !self.session.try_send(&self.end_request(Duration::ZERO)) {
            warn!("a program could not be ended: the way to the keeper is full");
        }
    }
}

/// The connection to one keeper process.
#[derive(Debug)]
struct Session {
    requests: mpsc::Sender<Outgoing>,
    waiting: RefCell<Waiting>,
    locks: RefCell<BTreeMap<RunId, Rc<OnceCell<()>>>>,
    /// Dropped to make the keeper end.
    stop: RefCell<Option<oneshot::Sender<()>>>,
    /// True once the keeper and every process below it are gone.
    over: tokio::sync::watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Waiting {
    starts: BTreeMap<KeptId, (Mark, oneshot::Sender<Result<(), String>>)>,
    exits: BTreeMap<KeptId, oneshot::Sender<Exit>>,
    locks: BTreeMap<RunId, oneshot::Sender<Result<(), KeeperError>>>,
    /// Programs that run, for the case that the keeper dies.
    programs: BTreeMap<KeptId, (i32, Mark)>,
}

#[derive(Debug)]
struct Outgoing {
    frame: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Session {
    fn open(executable: &Path) -> io::Result<Rc<Session>> {
        // When a keeper dies its programs become children of this process, which can end them then.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(executable)
            .arg("keeper")
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        let socket = UnixStream::from_std(ours)?;
        let (requests, outgoing) = mpsc::channel(REQUESTS_MAX);
        let (stop, stopped) = oneshot::channel();
        let session = Rc::new(Session {
            requests,
            waiting: RefCell::default(),
            locks: RefCell::default(),
            stop: RefCell::new(Some(stop)),
            over: tokio::sync::watch::Sender::new(false),
        });
        actix_rt::spawn(Rc::clone(&session).attend(socket, outgoing, stopped, child));
        Ok(session)
    }

    async fn send(&self, request: &Request, descriptors: Vec<OwnedFd>) -> Result<(), KeeperError> {
        let frame = encode_frame(request).map_err(|error| KeeperError::NotStarted { reason: error.to_string() })?;
        self.requests.send(Outgoing { frame, descriptors }).await.map_err(|_| KeeperError::KeeperDied)
    }

    /// False when it cannot be sent; to a keeper that is gone nothing needs to be sent.
    fn try_send(&self, request: &Request) -> bool {
        let Ok(frame) = encode_frame(request) else { return false };
        let sent = self.requests.try_send(Outgoing { frame, descriptors: Vec::new() });
        !matches!(sent, Err(mpsc::error::TrySendError::Full(_)))
    }

    async fn lock_within(&self, run: &RunId, path: &Path, wait: Duration) -> Result<(), KeeperError> {
        let request = Request::LockRun { run: run.clone(), path: path.to_string_lossy().into_owned() };
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let (answer_sender, answer) = oneshot::channel();
            self.waiting.borrow_mut().locks.insert(run.clone(), answer_sender);
            self.send(&request, Vec::new()).await?;
            match answer.await.map_err(|_| KeeperError::KeeperDied)? {
                Err(KeeperError::RunHeld { .. }) if tokio::time::Instant::now() < deadline => {}
                answered => return answered,
            }
            tokio::time::sleep(LOCK_AGAIN).await;
        }
    }

    /// Carries frames both ways until the keeper is gone or told to go, then sees to what it left.
    async fn attend(
        self: Rc<Session>,
        socket: UnixStream,
        mut outgoing: mpsc::Receiver<Outgoing>,
        stopped: oneshot::Receiver<()>,
        mut child: Child,
    ) {
        let ordered = tokio::select! {
            _ = stopped => true,
            () = write_requests(&socket, &mut outgoing) => false,
            () = self.read_replies(&socket) => false,
        };
        outgoing.close();
        if ordered {
            // No more requests can come; the keeper sees the end of them and ends everything.
            let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Write);
            self.read_replies(&socket).await;
        } else {
            warn!("the keeper is gone; its programs are ended");
        }
        // It closed the socket: either it exits or it is of no use any more.
        let _ = child.kill();
        let _ = child.wait();
        self.end_orphans().await;
        *self.waiting.borrow_mut() = Waiting::default();
        self.over.send_replace(true);
    }

    async fn read_replies(&self, socket: &UnixStream) {
        let mut buffer = FrameBuffer::default();
        let mut bytes = vec![0; 16 * 1024];
        while socket.readable().await.is_ok() {
            match socket.try_read(&mut bytes) {
                Ok(0) => return,
                Ok(read) => buffer.extend(&bytes[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return,
            }
            loop {
                match buffer.pop() {
                    Ok(Some(reply)) => self.hear(reply),
                    Ok(None) => break,
                    Err(error) => return warn!(%error, "the keeper talks nonsense"),
                }
            }
        }
    }

    fn hear(&self, reply: Reply) {
        let mut waiting = self.waiting.borrow_mut();
        match reply {
            Reply::Started { id, pid } => {
                if let Some((mark, starter)) = waiting.starts.remove(&id) {
                    waiting.programs.insert(id, (pid, mark));
                    let _ = starter.send(Ok(()));
                }
            }
            Reply::NotStarted { id, reason } => {
                waiting.starts.remove(&id).map(|(_, starter)| starter.send(Err(reason)));
            }
            Reply::Exited { id, exit } => {
                waiting.programs.remove(&id);
                waiting.exits.remove(&id).map(|waiter| waiter.send(exit));
            }
            Reply::Locked { run } => {
                waiting.locks.remove(&run).map(|waiter| waiter.send(Ok(())));
            }
            Reply::Busy { run, holders } => {
                waiting.locks.remove(&run).map(|waiter| waiter.send(Err(KeeperError::RunHeld { holders })));
            }
            Reply::LockFailed { run, reason } => {
                waiting.locks.remove(&run).map(|waiter| waiter.send(Err(KeeperError::LockFailed { reason })));
            }
            Reply::Warning { text } => warn!(%text, "the keeper warns"),
        }
    }

    /// Kills and reaps what a dead keeper left: processes below this one that are a program's root, in its process
    /// group, or marked as one of its attempts. Other children of this process are not touched.
    async fn end_orphans(&self) {
        let programs: Vec<(i32, Mark)> = self.waiting.borrow().programs.values().cloned().collect();
        let Ok(own) = i32::try_from(std::process::id()) else { return };
        let mut killed = BTreeSet::new();
        loop {
            let table = ProcessTable::read();
            let below = table.below(own);
            let of_program = |pid: &i32| {
                let group = table.get(*pid).map(|process| process.group);
                programs.iter().any(|(root, _)| root == pid || Some(*root) == group)
                    || matches!(marked(*pid), Marked::By(mark) if programs.iter().any(|(_, known)| *known == mark))
            };
            let children = below.iter().filter(|pid| table.get(**pid).is_some_and(|it| it.parent == own));
            let orphans = children.filter(|pid| of_program(pid));
            killed.extend(orphans.flat_map(|orphan| table.tree(*orphan)).filter(|pid| table.kill(*pid)));
            if !below.iter().any(|pid| killed.contains(pid)) {
                return;
            }
            for pid in killed.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
            tokio::time::sleep(ORPHANS_AGAIN).await;
        }
    }
}

async fn write_requests(socket: &UnixStream, outgoing: &mut mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { frame, descriptors }) = outgoing.recv().await {
        let mut sent = 0;
        while sent < frame.len() {
            // The descriptors go with the first byte.
            let with = if sent == 0 { descriptors.as_slice() } else { &[] };
            let send = || send_some(socket, &frame[sent..], with).map_err(io::Error::from);
            match socket.async_io(Interest::WRITABLE, send).await {
                Ok(bytes) => sent += bytes,
                Err(_) => return,
            }
        }
    }
}

fn send_some(socket: &UnixStream, bytes: &[u8], descriptors: &[OwnedFd]) -> Result<usize, Errno> {
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(super::protocol::START_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
}

fn no_pipes(error: Errno) -> KeeperError {
    KeeperError::NoPipes(error.into())
}
