//! Who is at the other end: the user who owns this process, and no agent of any run (A5).

use super::problem::{Problem, ProblemKind};
use super::scopes::Scopes;
use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};
use std::any::Any;
use std::io;

/// The process at the other end of a connection, as the system vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub user: u32,
    /// `None` when the system does not say, as across namespaces.
    pub process: Option<i32>,
}

/// Knows which processes are agents. Given by whoever runs a worker.
pub trait PeerCheck: Send + Sync {
    /// Whether this process is one of an attempt's, or was started by one.
    ///
    /// # Errors
    /// It is gone, or cannot be looked at.
    fn descends_from_attempt(&self, process: i32) -> io::Result<bool>;
}

/// What was found out about the peer of a connection when it was opened.
#[derive(Debug, Clone)]
struct Verdict(Result<(), Problem>);

/// Decides on a new connection. Later its process may be gone, and its number another's.
pub(super) fn judge(peers: &dyn PeerCheck, connection: &dyn Any, extensions: &mut Extensions) {
    let stream = connection.downcast_ref::<actix_web::rt::net::UnixStream>();
    let verdict = match stream.and_then(|stream| stream.peer_cred().ok()) {
        Some(credentials) => {
            let process = credentials.pid().filter(|pid| *pid > 0);
            check(Peer { user: credentials.uid(), process }, peers)
        }
        None => Err(forbidden("the system does not say who asks")),
    };
    extensions.insert(Verdict(verdict));
}

/// Lets through what the user asks and refuses everybody else.
pub(super) async fn admit(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    match request.conn_data::<Verdict>() {
        Some(Verdict(verdict)) => verdict.clone()?,
        None => return Err(forbidden("the system does not say who asks").into()),
    }
    request.extensions_mut().insert(Scopes::all());
    next.call(request).await
}

fn check(peer: Peer, peers: &dyn PeerCheck) -> Result<(), Problem> {
    let own = rustix::process::geteuid().as_raw();
    if peer.user != own && peer.user != 0 {
        return Err(forbidden("these runs belong to another user"));
    }
    let Some(process) = peer.process else { return Err(forbidden("the system does not say which process asks")) };
    match peers.descends_from_attempt(process) {
        Ok(false) => Ok(()),
        Ok(true) => Err(forbidden("agents cannot start, steer or answer for runs")),
        Err(_) => Err(forbidden("the process that asks is gone")),
    }
}

fn forbidden(detail: &str) -> Problem {
    Problem::new(ProblemKind::Forbidden, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Knows(io::Result<bool>);

    impl PeerCheck for Knows {
        fn descends_from_attempt(&self, _: i32) -> io::Result<bool> {
            self.0.as_ref().copied().map_err(|error| error.kind().into())
        }
    }

    #[test]
    fn a05_only_the_user_is_let_in_and_none_of_the_agents() {
        let own = rustix::process::geteuid().as_raw();
        let user = Peer { user: own, process: Some(1) };
        assert_eq!(check(user, &Knows(Ok(false))), Ok(()));
        for (peer, answer) in [
            (user, Ok(true)),
            (user, Err(io::ErrorKind::NotFound.into())),
            (Peer { process: None, ..user }, Ok(false)),
            (Peer { user: own + 1, ..user }, Ok(false)),
        ] {
            let refused = check(peer, &Knows(answer)).expect_err("refused");
            assert_eq!(refused.kind, ProblemKind::Forbidden);
        }
    }
}
