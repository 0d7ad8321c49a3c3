//! The connection to one keeper process: frames both ways, and what to do when it dies.

use super::client::{KeeperError, in_ms};
use super::descendants::{Marked, ProcessTable, marked};
use super::protocol::{Exit, FrameBuffer, KeptId, Mark, Reply, Request, START_DESCRIPTORS, encode_frame};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, WaitOptions, waitpid};
use skein_common::RunId;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tracing::warn;

/// Between two tries to lock a run that a dying owner still has.
const LOCK_AGAIN: Duration = Duration::from_millis(25);
/// Between two looks at orphans of a dead keeper that were killed.
const ORPHANS_AGAIN: Duration = Duration::from_millis(5);
/// Requests on their way to the keeper; more wait. Each attempt has at most two.
const REQUESTS_MAX: usize = 1024;

/// The connection to one keeper process.
#[derive(Debug)]
pub(super) struct Session {
    requests: mpsc::Sender<Outgoing>,
    pub(super) waiting: RefCell<Waiting>,
    pub(super) locks: RefCell<BTreeMap<RunId, Rc<OnceCell<()>>>>,
    /// Dropped to make the keeper end.
    pub(super) stop: RefCell<Option<oneshot::Sender<()>>>,
    /// True once the keeper and every process below it are gone.
    pub(super) over: tokio::sync::watch::Sender<bool>,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) starts: BTreeMap<KeptId, (Mark, oneshot::Sender<Result<(), String>>)>,
    pub(super) exits: BTreeMap<KeptId, oneshot::Sender<Exit>>,
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
    pub(super) fn open(executable: &Path) -> io::Result<Rc<Session>> {
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

    pub(super) async fn send(&self, request: &Request, descriptors: Vec<OwnedFd>) -> Result<(), KeeperError> {
        let frame = encode_frame(request).map_err(|error| KeeperError::NotStarted { reason: error.to_string() })?;
        self.requests.send(Outgoing { frame, descriptors }).await.map_err(|_| KeeperError::KeeperDied)
    }

    /// False when it cannot be sent; to a keeper that is gone nothing needs to be sent.
    pub(super) fn try_send(&self, request: &Request) -> bool {
        let Ok(frame) = encode_frame(request) else { return false };
        let sent = self.requests.try_send(Outgoing { frame, descriptors: Vec::new() });
        !matches!(sent, Err(mpsc::error::TrySendError::Full(_)))
    }

    /// Moves the deadlines of what runs of these attempts. A keeper that takes nothing in is told at the next time.
    pub(super) fn extend(&self, deadlines: &BTreeMap<Mark, Duration>) {
        let deadlines: Vec<(KeptId, u64)> = {
            let waiting = self.waiting.borrow();
            let starting = waiting.starts.iter().map(|(id, (mark, _))| (id, mark));
            let running = waiting.programs.iter().map(|(id, (_, mark))| (id, mark));
            let at = |mark: &Mark| deadlines.get(mark).copied().map(in_ms);
            starting.chain(running).filter_map(|(id, mark)| Some((*id, at(mark)?))).collect()
        };
        if !deadlines.is_empty() && !self.try_send(&Request::Extend { deadlines }) {
            warn!("deadlines could not be moved on: the way to the keeper is full");
        }
    }

    pub(super) async fn lock_within(&self, run: &RunId, path: &Path, wait: Duration) -> Result<(), KeeperError> {
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
        let (programs, begun): (Vec<(i32, Mark)>, Vec<Mark>) = {
            let waiting = self.waiting.borrow();
            // Programs that the keeper had started and died before it said so.
            let begun = waiting.starts.values().map(|(mark, _)| mark.clone()).collect();
            (waiting.programs.values().cloned().collect(), begun)
        };
        let known = |mark: &Mark| begun.contains(mark) || programs.iter().any(|(_, of)| of == mark);
        let Ok(own) = i32::try_from(std::process::id()) else { return };
        let mut killed = BTreeSet::new();
        loop {
            let table = ProcessTable::read();
            let below = table.below(own);
            let of_program = |pid: &i32| {
                let group = table.get(*pid).map(|process| process.group);
                programs.iter().any(|(root, _)| root == pid || Some(*root) == group)
                    || matches!(marked(*pid), Marked::By(mark) if known(&mark))
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
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(START_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
}
