//! Starting, forking and leaving processes.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};

use super::limits;

/// Descriptors that a child finds open, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inherited {
    /// The socket to the parent.
    Socket = 3,
    /// The emergency pipe, in a host that was executed.
    Emergency = 4,
}

/// A command that starts `executable subcommand` with these descriptors, no environment and a large stack.
/// It dies with the thread that spawns it.
pub(crate) fn command(
    executable: &Path,
    subcommand: &str,
    descriptors: Vec<(OwnedFd, Inherited)>,
) -> io::Result<Command> {
    let mut command = Command::new(executable);
    command.arg(subcommand).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mappings =
        descriptors.into_iter().map(|(parent_fd, child)| FdMapping { parent_fd, child_fd: child as RawFd }).collect();
    let parent = rustix::process::getpid();
    // SAFETY: the closure only makes system calls, which is what may be done between fork and exec.
    unsafe {
        command.pre_exec(move || {
            die_with_parent(Some(parent))?;
            close_on_exec_from(Inherited::Emergency as RawFd + 1);
            limits::set_stack()
        });
    }
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    Ok(command)
}

/// Kills the calling process when the thread that made it ends; fails when that has happened already.
fn die_with_parent(parent: Option<rustix::process::Pid>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        if rustix::process::getppid() != parent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    Ok(())
}

/// Whatever another part of the parent left inheritable stays there.
fn close_on_exec_from(first: RawFd) {
    #[cfg(target_os = "linux")]
    // SAFETY: only marks descriptors; a kernel without the call changes nothing.
    unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = first;
}

/// Takes over a descriptor that the parent opened for this process.
pub(crate) fn inherited(which: Inherited) -> io::Result<OwnedFd> {
    let number = which as RawFd;
    // SAFETY: F_SETFD on a number that is not open fails with EBADF, which is returned.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nothing else in this process knows it: `main` calls here before anything was opened.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Which of the two processes this is after a fork.
#[derive(Debug)]
pub(crate) enum Forked {
    Parent(rustix::process::Pid),
    /// Dies with the parent.
    Child,
}

/// Forks a process that has only one thread.
pub(crate) fn fork() -> io::Result<Forked> {
    let parent = rustix::process::getpid();
    // SAFETY: zygotes have a single thread, so the child's memory is consistent.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    match rustix::process::Pid::from_raw(pid) {
        Some(child) => Ok(Forked::Parent(child)),
        None => {
            if die_with_parent(Some(parent)).is_err() {
                exit_now(1)
            }
            Ok(Forked::Child)
        }
    }
}

/// Children of this process leave no zombies.
pub(crate) fn reap_automatically() {
    // SAFETY: sets a disposition that needs no handler.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
}

/// From now on the process runs only while no other wants to. Unlike the highest niceness, one that wakes up goes first
/// at once. There is no way back without privileges.
pub(crate) fn run_when_idle(process: rustix::process::Pid) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: reads one struct that outlives the call.
        if unsafe { libc::sched_setscheduler(process.as_raw_pid(), libc::SCHED_IDLE, &raw const parameters) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = process;
    Ok(())
}

/// Ends the process at once: no destructors, no hooks; the kernel takes everything back.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}
