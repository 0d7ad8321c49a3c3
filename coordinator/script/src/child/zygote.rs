//! The process with the realm ready: forks a host for each pair of descriptors it is sent.
//!
//! Greeting: one byte. Request: one byte with a socket and a pipe. Answer: one byte with the pidfd of the host.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use super::serve::serve;
use crate::limits::HostLimits;
use crate::realm::Realm;
use crate::sandbox::{self, Forked};

/// Sent once the realm is there. Other executables say something else or nothing.
pub(crate) const GREETING: u8 = b'z';
const DESCRIPTORS_MAX: usize = 2;

/// Serves until the parent closes the socket.
pub(super) fn run(control: UnixStream) -> io::Result<()> {
    let mut realm =
        Some(Realm::build(HostLimits::default().instructions).map_err(|e| io::Error::other(e.to_string()))?);
    sandbox::reap_automatically();
    (&control).write_all(&[GREETING])?;
    loop {
        let Some(mut descriptors) = receive(&control)? else { return Ok(()) };
        let (Some(emergency), Some(socket)) = (descriptors.pop(), descriptors.pop()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match sandbox::fork()? {
            Forked::Child => {
                drop(control);
                sandbox::report_to(emergency);
                let served = serve(UnixStream::from(socket), realm.take());
                sandbox::exit_now(i32::from(served.is_err()));
            }
            Forked::Parent(child) => {
                // The host waits for its first frame, which comes after this answer: its pid is still its own.
                let pidfd = rustix::process::pidfd_open(child, rustix::process::PidfdFlags::empty())?;
                send(&control, &[pidfd.as_fd()])?;
            }
        }
    }
}

/// Sends one byte with these descriptors.
pub(crate) fn send(to: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(to, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for one byte and returns the descriptors that came with it; `None` at the end of the stream.
pub(crate) fn receive(from: &UnixStream) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received =
        rustix::net::recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(Some(rights.flatten().collect()))
}
