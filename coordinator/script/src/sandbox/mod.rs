//! The walls around a host process, and the only place in this crate with `unsafe` code.
//!
//! Linux on x86-64 and aarch64 has all of it. Elsewhere [`missing`] names what there is not.
#![expect(unsafe_code, reason = "allocator, signal handlers, fork and inherited descriptors have no safe interface")]

mod allocator;
mod emergency;
mod limits;
mod process;
#[cfg(target_os = "linux")]
mod seccomp;
mod signals;

pub use allocator::CappedAllocator;
pub(crate) use emergency::Cause;
pub(crate) use process::{Forked, Inherited, command, exit_now, fork, inherited, reap_automatically, run_when_idle};

use std::io;
use std::os::fd::OwnedFd;

use crate::limits::HostLimits;

/// Native stack of a host's only thread.
pub(crate) const STACK_BYTES: u64 = 128 << 20;

/// Before the realm is built: counts allocations from here on and catches a stack overflow.
pub(crate) fn prepare() -> io::Result<()> {
    allocator::count();
    signals::install()
}

/// Where the allocator and the signal handler report why the process ends.
pub(crate) fn report_to(pipe: OwnedFd) {
    emergency::report_to(pipe);
}

/// After the limits are known and before anything untrusted is parsed. There is no way back.
pub(crate) fn lock_down(limits: &HostLimits) -> io::Result<()> {
    limits::apply(limits)?;
    #[cfg(target_os = "linux")]
    {
        limits::drop_privileges()?;
        seccomp::apply()?;
    }
    allocator::cap(usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX));
    Ok(())
}

/// What this platform lacks of the sandbox, for a line at start-up.
#[must_use]
pub fn missing() -> &'static [&'static str] {
    if cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        &[]
    } else if cfg!(target_os = "linux") {
        &["seccomp filter for this architecture"]
    } else {
        &[
            "seccomp filter",
            "no-new-privileges",
            "parent-death signal",
            "pidfd",
            "zygote (a process is executed per run)",
        ]
    }
}
