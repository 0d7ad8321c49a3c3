//! The thread that starts processes. Its own, because a host dies with the thread that made it, and because it blocks.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::child::zygote;
use crate::error::HostError;
use crate::sandbox::{self, Inherited};

/// A zygote that does not answer within this time is taken for dead. Generous: a machine may be busy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Handle of the thread, which ends with its last handle, and the zygote with it.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    requests: mpsc::Sender<Request>,
}

/// How hosts come into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Zygote,
    Exec,
}

#[derive(Debug)]
enum Request {
    /// Makes sure that there is a zygote.
    Warm {
        reply: oneshot::Sender<Result<(), HostError>>,
    },
    Spawn {
        reply: oneshot::Sender<Result<Parts, HostError>>,
    },
    /// Waits for a process that was killed.
    Reap(Child),
}

/// The parent's ends of a fresh host.
#[derive(Debug)]
struct Parts {
    socket: UnixStream,
    emergency: OwnedFd,
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    /// Reaped by the system on behalf of the zygote.
    Forked(OwnedFd),
    /// Reaped by the keeper.
    Executed(Child),
}

/// A fresh host process with the parent's ends of its socket and its emergency pipe.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) socket: UnixStream,
    pub(crate) emergency: OwnedFd,
    pub(crate) process: Process,
}

/// A host process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    handle: Option<Handle>,
    gives_way: bool,
    /// Keeps the zygote, with which its hosts die.
    keeper: Keeper,
}

impl Process {
    /// Whether it runs only when nobody else wants to.
    pub(crate) fn gives_way(&self) -> bool {
        self.gives_way
    }

    /// From now on all others go first.
    pub(crate) fn give_way(&mut self) {
        self.gives_way = true;
        if let Some(pid) = self.pid()
            && let Err(error) = sandbox::run_when_idle(pid)
        {
            tracing::debug!(%error, "a script host that computes for long keeps its priority");
        }
    }

    /// Its time on a processor; `None` where the system does not tell.
    pub(crate) fn computed(&self) -> Option<Duration> {
        let pid = self.pid()?.as_raw_nonzero();
        let schedule = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
        Some(Duration::from_nanos(schedule.split_whitespace().next()?.parse().ok()?))
    }

    fn pid(&self) -> Option<rustix::process::Pid> {
        let raw = match self.handle.as_ref()? {
            Handle::Executed(child) => i32::try_from(child.id()).ok()?,
            Handle::Forked(pidfd) => {
                let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
                about.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?
            }
        };
        // A process that is gone has the number -1.
        rustix::process::Pid::from_raw(raw.max(0))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        match self.handle.take() {
            Some(Handle::Forked(pidfd)) => {
                // An error means that it has ended already.
                #[cfg(target_os = "linux")]
                let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
                #[cfg(not(target_os = "linux"))]
                drop(pidfd);
            }
            Some(Handle::Executed(mut child)) => {
                // Nobody has waited for it, so the pid is still its own.
                let _ = child.kill();
                let _ = self.keeper.requests.send(Request::Reap(child));
            }
            None => {}
        }
    }
}

impl Keeper {
    pub(crate) fn new(executable: PathBuf, mode: Mode) -> Result<Self, HostError> {
        let (requests, inbox) = mpsc::channel();
        let mut work = Work { executable, mode, zygote: None };
        thread::Builder::new().name("script-keeper".to_owned()).spawn(move || work.run(&inbox))?;
        Ok(Self { requests })
    }

    pub(crate) async fn warm(&self) -> Result<(), HostError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Warm { reply }).map_err(|_| HostError::PoolClosed)?;
        answer.await.map_err(|_| HostError::PoolClosed)?
    }

    pub(crate) async fn spawn(&self) -> Result<Spawned, HostError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Spawn { reply }).map_err(|_| HostError::PoolClosed)?;
        let Parts { socket, emergency, handle } = answer.await.map_err(|_| HostError::PoolClosed)??;
        Ok(Spawned {
            socket,
            emergency,
            process: Process { handle: Some(handle), gives_way: false, keeper: self.clone() },
        })
    }
}

/// What the thread works on.
struct Work {
    executable: PathBuf,
    mode: Mode,
    zygote: Option<Zygote>,
}

impl Work {
    fn run(&mut self, inbox: &mpsc::Receiver<Request>) {
        while let Ok(request) = inbox.recv() {
            match request {
                Request::Warm { reply } => {
                    let warmed = match self.mode {
                        Mode::Zygote => self.zygote().map(drop),
                        Mode::Exec => Ok(()),
                    };
                    let _ = reply.send(warmed);
                }
                Request::Spawn { reply } => {
                    // Whoever asked may be gone; then the parts are dropped and the host sees the end of its socket.
                    let _ = reply.send(self.spawn());
                }
                Request::Reap(mut child) => {
                    let _ = child.wait();
                }
            }
        }
    }

    fn spawn(&mut self) -> Result<Parts, HostError> {
        let (socket, theirs) = UnixStream::pair()?;
        let (emergency, their_emergency) = io::pipe()?;
        let (emergency, their_emergency) = (OwnedFd::from(emergency), OwnedFd::from(their_emergency));
        let handle = match self.mode {
            Mode::Exec => Handle::Executed(execute(&self.executable, theirs.into(), their_emergency)?),
            Mode::Zygote => Handle::Forked(self.fork(&theirs, &their_emergency)?),
        };
        rustix::io::ioctl_fionbio(&emergency, true).map_err(io::Error::from)?;
        Ok(Parts { socket, emergency, handle })
    }

    /// One failure is answered with a new zygote; two are reported.
    fn fork(&mut self, socket: &UnixStream, emergency: &OwnedFd) -> Result<OwnedFd, HostError> {
        for last in [false, true] {
            let zygote = self.zygote()?;
            match zygote.fork(socket, emergency) {
                Ok(pidfd) => return Ok(pidfd),
                Err(error) => {
                    tracing::warn!(%error, "script zygote lost");
                    self.zygote = None;
                    if last {
                        return Err(HostError::ZygoteGone { reason: error.to_string() });
                    }
                }
            }
        }
        Err(HostError::ZygoteGone { reason: "it could not be restarted".to_owned() })
    }

    fn zygote(&mut self) -> Result<&mut Zygote, HostError> {
        let zygote = match self.zygote.take() {
            Some(zygote) => zygote,
            None => Zygote::start(&self.executable)?,
        };
        Ok(self.zygote.insert(zygote))
    }
}

/// Killed and reaped when dropped.
struct Zygote {
    control: UnixStream,
    child: Child,
}

impl Zygote {
    fn start(executable: &Path) -> Result<Self, HostError> {
        let (control, theirs) = UnixStream::pair()?;
        control.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let child = start(executable, "script-zygote", vec![(theirs.into(), Inherited::Socket)])?;
        let zygote = Self { control, child };
        let mut greeting = [0];
        match (&zygote.control).read_exact(&mut greeting) {
            Ok(()) if greeting[0] == zygote::GREETING => Ok(zygote),
            Ok(()) => Err(not_ours(executable, None)),
            Err(error) => Err(not_ours(executable, Some(error))),
        }
    }

    fn fork(&self, socket: &UnixStream, emergency: &OwnedFd) -> io::Result<OwnedFd> {
        zygote::send(&self.control, &[socket.as_fd(), emergency.as_fd()])?;
        let descriptors = zygote::receive(&self.control)?;
        descriptors.and_then(|mut descriptors| descriptors.pop()).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn execute(executable: &Path, socket: OwnedFd, emergency: OwnedFd) -> Result<Child, HostError> {
    start(executable, "script-host", vec![(socket, Inherited::Socket), (emergency, Inherited::Emergency)])
}

fn start(executable: &Path, subcommand: &str, descriptors: Vec<(OwnedFd, Inherited)>) -> Result<Child, HostError> {
    let started = sandbox::command(executable, subcommand, descriptors).and_then(|mut command| command.spawn());
    started.map_err(|source| HostError::Spawn {
        reason: format!("{} {subcommand}", executable.display()),
        source: Some(source),
    })
}

fn not_ours(executable: &Path, source: Option<io::Error>) -> HostError {
    HostError::Spawn { reason: format!("{} did not become a script zygote", executable.display()), source }
}
