//! The keeper: a single-threaded process that starts the programs of attempts and sees to it that nothing of them
//! is left. It ends when its worker does, and ends an attempt whose worker does not move its deadline on.

use super::attempts_lock::{AttemptsLock, LockOutcome};
use super::deadline::{Alarm, since_boot};
use super::protocol::encode_frame;
use super::protocol::{Exit, FrameBuffer, FrameError, KeptId, Mark, Reply, Request, START_DESCRIPTORS, StartAttempt};
use super::sweep::Sweep;
use command_fds::{CommandFdExt as _, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use skein_common::RunId;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How soon to look again for processes that were killed and do not signal their end to the keeper.
const SWEEP_AGAIN: Duration = Duration::from_millis(10);

/// Runs the keeper until its worker is gone. What `main` calls for the hidden subcommand `keeper`, before any
/// runtime or thread exists. Standard input is the socket to the worker.
pub fn keeper_main() -> ! {
    let code = match Keeper::set_up().and_then(Keeper::run) {
        Ok(()) => 0,
        // There is nobody to tell: the worker sees the socket close.
        Err(_) => 70,
    };
    std::process::exit(code)
}

/// One attempt whose processes are not all gone.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) mark: Mark,
    pub(super) root: i32,
    /// How the program itself ended, once it did.
    pub(super) exit: Option<Exit>,
    /// When a gentle end turns into SIGKILL.
    pub(super) kill_at: Option<Instant>,
    /// Since boot: nobody vouches for the attempt any longer.
    deadline: Option<Duration>,
    /// It was killed for its deadline.
    is_overdue: bool,
}

impl Kept {
    /// How it ended, once it did.
    fn ended(&self) -> Option<Exit> {
        if self.is_overdue { self.exit.map(|_| Exit::Overdue) } else { self.exit }
    }
}

#[derive(Debug)]
struct Keeper {
    worker: UnixStream,
    signals: UnixStream,
    /// Rings at the first deadline.
    alarm: Alarm,
    worker_pid: Option<Pid>,
    requests: FrameBuffer,
    descriptors: VecDeque<OwnedFd>,
    attempts: BTreeMap<KeptId, Kept>,
    locks: BTreeMap<RunId, AttemptsLock>,
    sweep: Sweep,
    /// The worker is gone: end everything and leave.
    closing: bool,
    /// Occupies the low numbers, so that number 3 of a new program never collides with one in use here.
    _reserved: Vec<OwnedFd>,
}

impl Keeper {
    fn set_up() -> io::Result<Keeper> {
        close_inherited()?;
        // A session of its own: Ctrl-C on the worker's terminal is for the worker. It fails for a session leader.
        let _ = rustix::process::setsid();
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let (signals, notify) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        // All but SIGCHLD only have to be survived: the end of the worker shows at the socket or as a new parent.
        for signal in [SIGCHLD, SIGUSR1, SIGINT, SIGTERM, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, notify.try_clone()?)?;
        }
        let worker_pid = rustix::process::getppid();
        rustix::process::set_parent_process_death_signal(Some(Signal::USR1))?;
        Ok(Keeper {
            worker: UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?),
            signals,
            alarm: Alarm::new()?,
            worker_pid,
            requests: FrameBuffer::default(),
            descriptors: VecDeque::new(),
            attempts: BTreeMap::new(),
            locks: BTreeMap::new(),
            sweep: Sweep::default(),
            closing: false,
            _reserved: reserve_low_descriptors()?,
        })
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            self.reap()?;
            self.end_overdue();
            let (gone, unfinished) = self.sweep.round(&self.attempts, self.closing);
            for id in gone {
                if let Some(exit) = self.attempts.remove(&id).and_then(|kept| kept.ended()) {
                    self.reply(&Reply::Exited { id, exit });
                }
            }
            for text in self.sweep.take_warnings() {
                self.reply(&Reply::Warning { text });
            }
            if self.closing && !unfinished {
                return self.reap();
            }
            self.wait(unfinished)?;
        }
    }

    /// Takes note of children that ended.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let pid = pid.as_raw_nonzero().get();
                    let root = self.attempts.values_mut().find(|kept| kept.root == pid && kept.exit.is_none());
                    if let Some(kept) = root {
                        kept.exit = exit_of(status);
                    }
                }
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Somebody else may begin the same: there is no grace.
    fn end_overdue(&mut self) {
        let now = since_boot();
        let is_overdue = |kept: &&mut Kept| kept.exit.is_none() && kept.deadline.is_some_and(|at| at <= now);
        for kept in self.attempts.values_mut().filter(is_overdue) {
            kept.is_overdue = true;
            kept.kill_at = Some(Instant::now());
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let waiting = self.attempts.values().filter(|kept| kept.exit.is_none() && !kept.is_overdue);
        waiting.filter_map(|kept| kept.deadline).min()
    }

    /// Waits for a request, the end of a child, or the next time to act.
    fn wait(&mut self, unfinished: bool) -> io::Result<()> {
        let now = Instant::now();
        let next_kill = self.attempts.values().filter_map(|kept| kept.kill_at).filter(|at| *at > now).min();
        let until_kill = next_kill.map(|at| at - now);
        let timeout = if unfinished { Some(until_kill.unwrap_or(SWEEP_AGAIN).min(SWEEP_AGAIN)) } else { until_kill };
        // A millisecond more, so that the time has come when poll returns.
        let timeout = timeout.and_then(|time| Timespec::try_from(time + Duration::from_millis(1)).ok());
        let heard = if self.closing { PollFlags::empty() } else { PollFlags::IN };
        self.alarm.set(self.next_deadline())?;
        let mut interest = [
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.alarm.descriptor, PollFlags::IN),
            PollFd::new(&self.worker, heard),
        ];
        // A closed socket reports a hang-up whether asked or not, which would spin.
        let interest_count = if self.closing { 2 } else { 3 };
        match poll(&mut interest[..interest_count], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [signalled, _alarmed, asked] = interest.map(|descriptor| !descriptor.revents().is_empty());
        if signalled {
            while matches!(self.signals.read(&mut [0; 64]), Ok(read) if read > 0) {}
            // The death signal comes when the thread ends that started us, too, so it is no proof.
            self.closing |= rustix::process::getppid() != self.worker_pid;
        }
        if asked && !self.closing {
            self.closing = self.hear().is_err();
        }
        Ok(())
    }

    /// Takes what the worker sent; an error means that the worker is gone or mad.
    fn hear(&mut self) -> io::Result<()> {
        let mut bytes = [0; 64 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(START_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let received = loop {
            match recvmsg(&self.worker, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                received => break received?.bytes,
            }
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.requests.extend(&bytes[..received]);
        while let Some(request) = self.requests.pop::<Request>().map_err(frame_error)? {
            self.answer(request)?;
        }
        Ok(())
    }

    fn answer(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Start(start) => {
                if self.descriptors.len() < START_DESCRIPTORS {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let descriptors = self.descriptors.drain(..START_DESCRIPTORS).collect();
                let reply = self.start(start, descriptors);
                self.reply(&reply);
            }
            Request::Extend { deadlines } => {
                for (id, deadline_ms) in deadlines {
                    // Answers to heartbeats may come in any order, and what clears up has no deadline.
                    if let Some(deadline) = self.attempts.get_mut(&id).and_then(|kept| kept.deadline.as_mut()) {
                        *deadline = Duration::from_millis(deadline_ms).max(*deadline);
                    }
                }
            }
            Request::End { id, grace_ms } => self.end(id, Duration::from_millis(grace_ms)),
            Request::LockRun { run, path } => {
                let reply = self.lock(run, &path);
                self.reply(&reply);
            }
            Request::UnlockRun { run } => drop(self.locks.remove(&run)),
        }
        Ok(())
    }

    fn start(&mut self, start: StartAttempt, descriptors: Vec<OwnedFd>) -> Reply {
        let StartAttempt { id, mark, deadline_ms, .. } = &start;
        let (id, mark, deadline) = (*id, mark.clone(), deadline_ms.map(Duration::from_millis));
        match spawn(start, descriptors) {
            Ok(root) => {
                self.attempts.insert(id, Kept { mark, root, exit: None, kill_at: None, deadline, is_overdue: false });
                Reply::Started { id, pid: root }
            }
            Err(error) => Reply::NotStarted { id, reason: error.to_string() },
        }
    }

    fn end(&mut self, id: KeptId, grace: Duration) {
        let Some(kept) = self.attempts.get_mut(&id).filter(|kept| kept.exit.is_none()) else { return };
        let kill_at = Instant::now() + grace;
        kept.kill_at = Some(kept.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
        if !grace.is_zero()
            && let Some(group) = Pid::from_raw(kept.root)
        {
            let _ = rustix::process::kill_process_group(group, Signal::TERM);
        }
    }

    fn lock(&mut self, run: RunId, path: &str) -> Reply {
        if self.locks.contains_key(&run) {
            return Reply::Locked { run };
        }
        match AttemptsLock::acquire(Path::new(path), run.as_str()) {
            Ok(LockOutcome::Locked(lock)) => {
                self.locks.insert(run.clone(), lock);
                Reply::Locked { run }
            }
            Ok(LockOutcome::Busy { holders }) => Reply::Busy { run, holders },
            Err(error) => Reply::LockFailed { run, reason: format!("{path}: {error}") },
        }
    }

    /// Tells the worker; when that is not possible, the worker is gone.
    fn reply(&mut self, reply: &Reply) {
        let sent = encode_frame(reply).map_err(frame_error).and_then(|frame| self.worker.write_all(&frame));
        self.closing |= sent.is_err();
    }
}

/// Starts the program in a process group of its own; gives its number.
fn spawn(start: StartAttempt, descriptors: Vec<OwnedFd>) -> io::Result<i32> {
    let [stdin, stdout, stderr, three] =
        <[OwnedFd; START_DESCRIPTORS]>::try_from(descriptors).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut arguments = start.argv.into_iter();
    let mut command = Command::new(&start.program);
    command.arg0(arguments.next().unwrap_or(start.program)).args(arguments);
    command.env_clear().envs(start.env).current_dir(start.cwd).process_group(0);
    command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
    command
        .fd_mappings(vec![FdMapping { parent_fd: three, child_fd: 3 }])
        .map_err(|collision| io::Error::other(collision.to_string()))?;
    let child = command.spawn()?;
    i32::try_from(child.id()).map_err(io::Error::other)
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    let code = status.exit_status().map(|code| Exit::Code { code });
    code.or_else(|| status.terminating_signal().map(|signal| Exit::Signal { signal }))
}

/// What the worker was started with and passed on unknowingly shall not go on to programs.
fn close_inherited() -> io::Result<()> {
    let listed = std::fs::read_dir("/proc/self/fd")?.flatten();
    let numbers: Vec<i32> = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // One of them was the listing itself, which is closed already.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

fn reserve_low_descriptors() -> io::Result<Vec<OwnedFd>> {
    use std::os::fd::AsRawFd as _;
    let mut reserved = Vec::new();
    loop {
        let descriptor = OwnedFd::from(std::fs::File::open("/dev/null")?);
        let enough = descriptor.as_raw_fd() > 3;
        reserved.push(descriptor);
        if enough {
            return Ok(reserved);
        }
    }
}

fn frame_error(error: FrameError) -> io::Error {
    io::Error::other(error.to_string())
}
