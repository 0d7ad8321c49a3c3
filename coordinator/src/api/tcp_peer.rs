//! Which process of this machine is at the other end of a TCP connection, so that agents are kept out there, too (A5):
//! what an agent can read of its user's files, tokens among them, is not ours to hide. Asks the kernel, and reads /proc.

use super::peer::PeerCheck;
use super::problem::{Problem, ProblemKind};
use super::sock_diag;
use actix_web::dev::Extensions;
use std::any::Any;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Both ends of a connection, and what was found out about the other one.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    ours: SocketAddr,
    theirs: SocketAddr,
    verdict: Arc<OnceLock<Result<(), Problem>>>,
}

/// Keeps the addresses of a new connection.
pub(super) fn note(connection: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    if let (Ok(ours), Ok(theirs)) = (stream.local_addr(), stream.peer_addr()) {
        extensions.insert(Ends { ours: canonical(ours), theirs: canonical(theirs), verdict: Arc::default() });
    }
}

impl Ends {
    /// Refuses a process of this machine that is an agent's, or that cannot be told. Looked up once for a connection.
    pub fn check(&self, peers: &dyn PeerCheck) -> Result<(), Problem> {
        self.verdict.get_or_init(|| self.judge(peers)).clone()
    }

    fn judge(&self, peers: &dyn PeerCheck) -> Result<(), Problem> {
        let refuse = |detail: &str| Err(Problem::new(ProblemKind::Forbidden, detail));
        let socket = match self.socket_of_theirs() {
            Ok(Some(socket)) => socket,
            // Another machine.
            Ok(None) if !self.theirs.ip().is_loopback() && self.theirs.ip() != self.ours.ip() => return Ok(()),
            Ok(None) => return refuse("the process that asks is gone"),
            Err(_) => return refuse("the system does not say which process asks"),
        };
        let (holders, hidden) = match who_has(&socket, rustix::process::geteuid().as_raw()) {
            Whose::Gone => return refuse("the process that asks is gone"),
            Whose::OfAnotherUser => return Ok(()),
            Whose::OfOneOf => suspects(&socket),
        };
        if holders.is_empty() && hidden.is_empty() {
            return refuse("the process that asks is gone");
        }
        // Of those that may have it one goes now and then; one that has it may not.
        let is_agents = |process: &i32, when_gone| peers.descends_from_attempt(*process).unwrap_or(when_gone);
        let is_refused = match holders.is_empty() {
            false => holders.iter().any(|process| is_agents(process, true)),
            true => hidden.iter().any(|process| is_agents(process, false)),
        };
        if is_refused { refuse("agents cannot start, steer or answer for runs") } else { Ok(()) }
    }

    fn socket_of_theirs(&self) -> io::Result<Option<Socket>> {
        if sock_diag::is_answered()
            && let Ok(socket) = sock_diag::socket_between(self.theirs, self.ours)
        {
            return Ok(socket);
        }
        let mut found = None;
        for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
            match fs::read_to_string(file) {
                Ok(table) => found = found.or(table.lines().find_map(|line| self.socket_in(line))),
                // A system without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound && file.ends_with('6') => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// `N: LOCAL REMOTE STATE QUEUES TIMER RETRANSMITS USER TIMEOUT INODE …`, seen from the other end.
    fn socket_in(&self, line: &str) -> Option<Socket> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_theirs = address(fields.get(1)?)? == self.theirs && address(fields.get(2)?)? == self.ours;
        let socket = Socket { user: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? };
        is_theirs.then_some(socket)
    }
}

/// A socket of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub user: u32,
    /// 0 when no process has it any more.
    pub inode: u64,
}

/// What a socket's entry alone tells of who is behind it.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    Gone,
    OfAnotherUser,
    /// Somebody who may be an agent.
    OfOneOf,
}

/// For a process of this user. A socket without a process is nobody's, whichever user it names: some kernels say root.
fn who_has(socket: &Socket, own: u32) -> Whose {
    match socket {
        Socket { inode: 0, .. } => Whose::Gone,
        // Agents that we know run as we do. Where that is root they can be anybody.
        Socket { user, .. } if *user != own && own != 0 => Whose::OfAnotherUser,
        Socket { .. } => Whose::OfOneOf,
    }
}

/// The processes that have it open, and those of its user that do not let themselves be looked at.
fn suspects(socket: &Socket) -> (Vec<i32>, Vec<i32>) {
    let (mut holders, mut hidden) = (Vec::new(), Vec::new());
    let link = format!("socket:[{}]", socket.inode);
    let Ok(entries) = fs::read_dir("/proc") else { return (holders, hidden) };
    for entry in entries.flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match fs::read_dir(entry.path().join("fd")) {
            Ok(mut files) => {
                let is_it = |file: io::Result<fs::DirEntry>| {
                    file.and_then(|file| fs::read_link(file.path())).is_ok_and(|target| target == Path::new(&link))
                };
                if files.any(is_it) {
                    holders.push(process);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                hidden.extend((user_of(process) == Some(socket.user)).then_some(process));
            }
            // It has gone meanwhile.
            Err(_) => {}
        }
    }
    (holders, hidden)
}

/// Who owns the files of a process does not tell: root does when it cannot be looked at.
fn user_of(process: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().next()?.parse().ok()
}

/// `0100007F:1E61` and its longer sister: words of 32 bits as this machine has them in memory.
fn address(text: &str) -> Option<SocketAddr> {
    const WORD_DIGITS: usize = 8;
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for word in ip.as_bytes().chunks(WORD_DIGITS) {
        let word = std::str::from_utf8(word).ok().filter(|word| word.len() == WORD_DIGITS)?;
        bytes.extend(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
    }
    let ip: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from).ok()?.into(),
        _ => <[u8; 16]>::try_from(bytes).map(Ipv6Addr::from).ok()?.into(),
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

/// An IPv4 address stays one behind a socket of IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    struct Knows(i32);

    impl PeerCheck for Knows {
        fn descends_from_attempt(&self, process: i32) -> io::Result<bool> {
            Ok(process == self.0)
        }
    }

    fn ends(listener: &TcpListener, client: &TcpStream) -> Ends {
        let address = |address: io::Result<SocketAddr>| canonical(address.expect("an address"));
        Ends { ours: address(listener.local_addr()), theirs: address(client.local_addr()), verdict: Arc::default() }
    }

    #[test]
    fn a05_the_process_behind_a_connection_is_found_and_an_agent_is_refused() {
        let own = i32::try_from(std::process::id()).expect("fits");
        for listen_on in ["127.0.0.1:0", "[::]:0"] {
            // A machine without IPv6 has one way less.
            let Ok(listener) = TcpListener::bind(listen_on) else { continue };
            let port = listener.local_addr().expect("an address").port();
            let client = TcpStream::connect(("127.0.0.1", port)).expect("connects");
            let mut ends = ends(&listener, &client);
            ends.ours.set_ip(Ipv4Addr::LOCALHOST.into());
            let refused = ends.judge(&Knows(own)).expect_err("an agent");
            assert!(refused.detail.contains("agents"), "{listen_on}: {refused}");
            assert_eq!(ends.judge(&Knows(0)), Ok(()), "{listen_on}");
        }
    }

    #[test]
    fn a05_a_process_of_this_machine_that_is_gone_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let ends = ends(&listener, &client);
        drop(client);
        let refused = ends.check(&Knows(0)).expect_err("gone");
        assert!(refused.detail.contains("is gone"), "{refused}");
        let elsewhere = Ends { theirs: "192.0.2.9:4000".parse().expect("an address"), ..ends.clone() };
        assert_eq!(elsewhere.judge(&Knows(0)), Ok(()), "another machine");
        assert_eq!(ends.check(&Knows(0)), Err(refused), "it is looked up once");
    }

    #[test]
    fn a05_a_socket_that_nobody_has_any_more_is_let_in_for_no_user() {
        let entry = |user, inode| Socket { user, inode };
        for own in [0, 1000] {
            for user in [0, 1000, 1001] {
                assert_eq!(who_has(&entry(user, 0), own), Whose::Gone, "{user} {own}");
            }
            assert_eq!(who_has(&entry(own, 7), own), Whose::OfOneOf);
        }
        assert_eq!(who_has(&entry(0, 7), 1000), Whose::OfAnotherUser);
        assert_eq!(who_has(&entry(1001, 7), 0), Whose::OfOneOf, "root's agents can be anybody");
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
        let v4 = format!("{loopback:08X}:1E25");
        assert_eq!(address(&v4), Some("127.0.0.1:7717".parse().expect("an address")));
        let mapped = format!("0000000000000000{:08X}{loopback:08X}:1E25", u32::from_ne_bytes([0, 0, 0xff, 0xff]));
        assert_eq!(address(&mapped), Some("127.0.0.1:7717".parse().expect("an address")));
        for bad in ["", ":", "0100007F", "0100007F:", "0100:1E25", "XXXXXXXX:1E25", "0100007F:1E251", "äääääääää:1"]
        {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
