//! Door: the HTTP API of this process on a Unix socket of its store, for other terminals of the same user.

use actix_web::dev::ServerHandle;
use skein_coordinator::Coordinator;
use skein_coordinator::api::{Api, PeerCheck, SocketError, bind_private, serve};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The open socket; its file goes when it is closed.
#[derive(Debug)]
pub struct Door {
    socket: PathBuf,
    server: ServerHandle,
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
    pub fn open(coordinator: &Coordinator, socket: PathBuf, takes_runs: bool) -> Result<Door, DoorError> {
        let listener = bind_private(&socket)?;
        let api = Api { coordinator: coordinator.clone(), peers: Arc::new(NoAgents), takes_runs };
        Ok(Door { server: serve(api, listener)?, socket })
    }

    /// Lets what is being answered be answered, and nobody else in.
    pub async fn close(self) {
        self.server.stop(true).await;
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::debug!(%error, "the socket was gone already");
        }
    }
}

/// Agents cannot start, steer or answer for runs (A5).
struct NoAgents;

impl PeerCheck for NoAgents {
    fn descends_from_attempt(&self, process: i32) -> io::Result<bool> {
        skein_worker::descends_from_attempt(process)
    }
}
