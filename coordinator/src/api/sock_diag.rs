//! Asks the kernel for one TCP socket of this machine by its two ends (`sock_diag(7)`). It looks into its hash table; the
//! table in /proc/net is all of it as text.

use super::tcp_peer::Socket;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket as Netlink, SocketAddr as Kernel};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;

/// The answer for one socket has some 100 bytes.
const ANSWER_BYTES_MAX: usize = 4096;
/// Any socket with these ends, whichever it is (`INET_DIAG_NOCOOKIE`).
const ANY_COOKIE: [u8; 8] = [0xff; 8];

/// Whether this kernel answers. One that was built without it says the same as of a socket that is not there.
pub(super) fn is_answered() -> bool {
    static ANSWERED: OnceLock<bool> = OnceLock::new();
    *ANSWERED.get_or_init(|| finds_one_of_ours().unwrap_or(false))
}

fn finds_one_of_ours() -> io::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    Ok(socket_between(stream.local_addr()?, stream.peer_addr()?)?.is_some())
}

/// The socket that is at `local` and connected to `remote`.
///
/// # Errors
/// The kernel cannot be asked, or says something else than an answer.
pub(super) fn socket_between(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Socket>> {
    let mut kernel = Netlink::new(NETLINK_SOCK_DIAG)?;
    kernel.bind_auto()?;
    kernel.connect(&Kernel::new(0, 0))?;
    let socket_id = SocketId {
        source_port: local.port(),
        destination_port: remote.port(),
        source_address: local.ip(),
        destination_address: remote.ip(),
        interface_id: 0,
        cookie: ANY_COOKIE,
    };
    kernel.send(&question(socket_id.clone()), 0)?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
    kernel.recv(&mut answer, 0)?;
    let unreadable = |_| io::Error::from(io::ErrorKind::InvalidData);
    match NetlinkMessage::<SockDiagMessage>::deserialize(&answer).map_err(unreadable)?.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
            let found = found.header;
            // For want of a connection it gives whoever listens there.
            let ends = |id: &SocketId| (id.source_port, id.destination_port, id.source_address, id.destination_address);
            let is_it = ends(&found.socket_id) == ends(&socket_id);
            Ok(is_it.then_some(Socket { user: found.uid, inode: found.inode.into() }))
        }
        NetlinkPayload::Error(error) if error.to_io().kind() == io::ErrorKind::NotFound => Ok(None),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn question(socket_id: SocketId) -> Vec<u8> {
    let request = InetRequest {
        family: if socket_id.source_address.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_socket_is_found_by_its_ends_and_no_other_is() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let to = listener.local_addr().expect("an address");
            let (ours, _second) = (TcpStream::connect(to).expect("one"), TcpStream::connect(to).expect("another"));
            let from = ours.local_addr().expect("an address");
            let found = socket_between(from, to).expect("asked").expect("found");
            let inode = std::fs::metadata(format!("/proc/self/fd/{}", ours.as_raw_fd())).expect("a file").ino();
            assert_eq!((found.inode, found.user), (inode, rustix::process::geteuid().as_raw()));
            drop(listener);
            assert_eq!(
                socket_between(SocketAddr::new(from.ip(), to.port()), from).expect("asked"),
                None,
                "not accepted"
            );
        }
        assert!(is_answered());
    }
}
