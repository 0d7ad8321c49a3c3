//! Platforms without pidfds have no zygote; their pool executes a process per script.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

pub(crate) const GREETING: u8 = b'z';

pub(super) fn run(_control: UnixStream) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn send(_to: &UnixStream, _descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn receive(_from: &UnixStream) -> io::Result<Option<Vec<OwnedFd>>> {
    Err(io::ErrorKind::Unsupported.into())
}
