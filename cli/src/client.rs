//! Client: how a command reaches the process that executes a run, over the HTTP API on a Unix socket of the store.

use crate::args::Global;
use crate::exit::unreachable;
use anyhow::Context as _;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skein_common::RunId;
use skein_coordinator::api::{Problem, ProblemBody, reachable};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process that is busy answers within this time; one that is stopped or hangs never does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The socket of `skein serve`, beside the store's files.
const SERVE_SOCKET: &str = "serve.sock";

/// The socket of a process that is there for this run.
#[must_use]
pub fn run_socket(store: &Path, run: &RunId) -> PathBuf {
    store.join("runs").join(format!("{run}.sock"))
}

/// The socket of `skein serve`.
#[must_use]
pub fn serve_socket(store: &Path) -> PathBuf {
    store.join(SERVE_SOCKET)
}

/// Speaks to one process.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Whoever executes runs of this store and may know this one: its own process, else `skein serve`.
    ///
    /// # Errors
    /// No store is named and there is no default place for one.
    pub fn of_run(global: &Global, run: &RunId) -> anyhow::Result<Option<Client>> {
        let store = global.settings.store_dir()?;
        let sockets = [run_socket(&store, run), serve_socket(&store)];
        Ok(sockets.into_iter().find(|socket| somebody_listens(socket)).map(|socket| Client { socket }))
    }

    /// The local `skein serve`.
    ///
    /// # Errors
    /// As [`Client::of_run`].
    pub fn of_serve(global: &Global) -> anyhow::Result<Option<Client>> {
        let socket = serve_socket(&global.settings.store_dir()?);
        Ok(somebody_listens(&socket).then_some(Client { socket }))
    }

    /// Asks for something to be done; `path` is below `/api/v1`.
    ///
    /// # Errors
    /// The process is gone, or has a problem with it.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Option<&impl Serialize>) -> anyhow::Result<T> {
        // The short name of the socket is good for as long as this value lives.
        let socket = reachable(&self.socket)?;
        let http = reqwest::Client::builder().unix_socket(socket.path()).timeout(ANSWER_TIMEOUT).build()?;
        let mut request = http.request(Method::POST, format!("http://skein/api/v1{path}"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let silent = |_| unreachable(format!("the process behind {} does not answer", self.socket.display()));
        let answer = request.send().await.map_err(silent)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(silent)?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).context("the answer cannot be read");
        }
        match serde_json::from_slice::<ProblemBody>(&bytes) {
            Ok(body) => Err(Problem::from(body).into()),
            Err(_) => anyhow::bail!("the answer was {status}"),
        }
    }
}

/// A socket file that a dead process left is nobody's.
fn somebody_listens(socket: &Path) -> bool {
    reachable(socket).and_then(|short| UnixStream::connect(short.path())).is_ok()
}
