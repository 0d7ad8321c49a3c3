//! The last word of a host that cannot go on: one byte on a pipe, written without allocating.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// Why a host ended by itself without a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Memory,
    Stack,
    /// A fault that is no stack overflow.
    Crash,
}

static PIPE: AtomicI32 = AtomicI32::new(-1);

impl Cause {
    const fn byte(self) -> u8 {
        match self {
            Self::Memory => b'M',
            Self::Stack => b'S',
            Self::Crash => b'C',
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'M' => Some(Self::Memory),
            b'S' => Some(Self::Stack),
            b'C' => Some(Self::Crash),
            _ => None,
        }
    }
}

pub(super) fn report_to(pipe: OwnedFd) {
    PIPE.store(pipe.into_raw_fd(), Relaxed);
}

/// Says why and ends the process. Safe in a signal handler and in the allocator.
#[cold]
pub(super) fn end(cause: Cause) -> ! {
    let byte = cause.byte();
    // SAFETY: `write` and `_exit` are async-signal-safe, the pointer is to one live byte, and a bad descriptor only
    // makes `write` fail.
    unsafe {
        libc::write(PIPE.load(Relaxed), (&raw const byte).cast(), 1);
        libc::_exit(70)
    }
}
