//! Doors: the HTTP API of this process, on a Unix socket of its store for other terminals of the same user, and on TCP for
//! whoever has a token.

use crate::exit::usage;
use crate::remote::token_file;
use crate::settings::Settings;
use actix_web::dev::ServerHandle;
use anyhow::Context as _;
use skein_coordinator::api::{Api, Gate, HostNames, PeerCheck, SocketError, Tokens, bind_private, serve, serve_tcp};
use skein_coordinator::{Coordinator, Streams};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

/// The open socket; its file goes when it is closed.
#[derive(Debug)]
pub struct Door {
    socket: PathBuf,
    server: ServerHandle,
    streams: Streams,
}

/// Why nobody can come in.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the API cannot be served: {0}")]
    Server(#[from] io::Error),
}

impl Door {
    /// Serves the API of this coordinator on the socket.
    ///
    /// # Errors
    /// Another process listens there, or the system refuses.
    pub fn open(
        coordinator: &Coordinator,
        socket: PathBuf,
        takes_runs: bool,
        watchers_max: usize,
    ) -> Result<Door, DoorError> {
        let listener = bind_private(&socket)?;
        let api = Api { coordinator: coordinator.clone(), peers: Arc::new(NoAgents), takes_runs, watchers_max };
        Ok(Door { server: serve(api, listener)?, socket, streams: coordinator.streams().clone() })
    }

    /// Lets what is being answered be answered, watchers have what there is, and nobody else in.
    pub async fn close(self) {
        self.streams.close();
        self.server.stop(true).await;
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::debug!(%error, "the socket was gone already");
        }
    }
}

/// The open listener on TCP.
#[derive(Debug)]
pub struct TcpDoor {
    address: SocketAddr,
    token_file: PathBuf,
    server: ServerHandle,
    streams: Streams,
}

impl TcpDoor {
    /// Serves the API of this coordinator on the address; makes the file of tokens when it is not there.
    ///
    /// # Errors
    /// The address is taken, the tokens cannot be used, or the system refuses.
    pub fn open(coordinator: &Coordinator, settings: &Settings, address: SocketAddr) -> anyhow::Result<TcpDoor> {
        let token_file = token_file(settings)?;
        let tokens = Tokens::open_or_create(&token_file).map_err(|error| usage(error.to_string()))?;
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let hosts = HostNames::new(&settings.api.hosts, address);
        let gate = Gate { tokens, hosts, metrics_open: settings.api.metrics_open };
        let watchers_max = settings.api.watchers_max;
        let api = Api { coordinator: coordinator.clone(), peers: Arc::new(NoAgents), takes_runs: true, watchers_max };
        let streams = coordinator.streams().clone();
        Ok(TcpDoor { server: serve_tcp(api, gate, listener)?, address, token_file, streams })
    }

    /// What a person needs to know to come in.
    #[must_use]
    pub fn describe(&self) -> String {
        let (address, token_file) = (self.address, self.token_file.display());
        let warning = if address.ip().is_loopback() {
            ""
        } else {
            "; it is plain HTTP: let it be reached in a private network or through a proxy with TLS only"
        };
        let mut shown = address;
        if address.ip().is_unspecified() {
            // Where a browser of this machine finds it; what is listened on is no name to ask for.
            shown.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        format!(
            "the API listens on http://{address}, with the tokens of {token_file}{warning}\n\
             a page shows the runs: http://{shown}/ (it asks for one of these tokens)"
        )
    }

    /// Lets what is being answered be answered, watchers have what there is, and nobody else in.
    pub async fn close(self) {
        self.streams.close();
        self.server.stop(true).await;
    }
}

/// Agents cannot start, steer or answer for runs (A5).
struct NoAgents;

impl PeerCheck for NoAgents {
    fn descends_from_attempt(&self, process: i32) -> io::Result<bool> {
        skein_worker::descends_from_attempt(process)
    }
}
