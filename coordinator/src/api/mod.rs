//! The HTTP API, `/api/v1`: what clients outside this process see of runs and may do to them.
//!
//! It is spoken on a Unix socket, which only the user who owns it reaches ([`PeerCheck`] keeps agents out, A5), and on
//! TCP with whoever has a token ([`Gate`]).
//! Errors are RFC 9457 problems, each type with a page in `docs/errors/`.

mod check;
mod control;
mod coordinator;
mod document;
mod etag;
mod events;
mod hosts;
mod page;
mod peer;
mod problem;
mod runs;
mod scopes;
mod sock_diag;
mod socket;
mod tcp;
mod tcp_peer;
mod telemetry;
mod tokens;
mod workers;

pub use hosts::{HostNames, is_loopback};
pub use peer::{Peer, PeerCheck};
pub use problem::{Problem, ProblemBody, ProblemKind};
pub use runs::{Accepted, Submission};
pub use scopes::{Scope, Scopes};
pub use socket::{SocketError, bind_private, reachable};
pub use tcp::{Gate, serve_tcp};
pub use telemetry::serve_watched;
pub use tokens::{TokenError, Tokens, first_token};

use crate::bootstrap::Coordinator;
use actix_web::dev::{Server, ServerHandle};
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer, middleware, web};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

/// Bodies are definitions, scripts and args; R2a bounds the first, C10 the second.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Connections at the same time beside those of watchers; others wait to be accepted.
const CALLS_MAX: usize = 64;

/// What the API stands on.
#[derive(Clone)]
pub struct Api {
    pub coordinator: Coordinator,
    pub peers: Arc<dyn PeerCheck>,
    /// Whether runs may be started here: not in a process that is there for one run.
    pub takes_runs: bool,
    /// How many may watch events at the same time.
    pub watchers_max: usize,
}

impl Api {
    /// Watchers keep their connections: others have some of their own.
    fn connections_max(&self) -> usize {
        self.watchers_max.saturating_add(CALLS_MAX)
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("takes_runs", &self.takes_runs).finish_non_exhaustive()
    }
}

/// Serves the API on this socket until the handle stops it or the process ends.
///
/// # Errors
/// The system refuses.
pub fn serve(api: Api, listener: UnixListener) -> std::io::Result<ServerHandle> {
    let (peers, connections_max) = (api.peers.clone(), api.connections_max());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(api.clone()))
            .configure(limits)
            .wrap(middleware::from_fn(peer::admit))
            .configure(telemetry::routes(api.coordinator.watched().clone()))
            .configure(routes)
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .on_connect(move |connection, extensions| peer::judge(peers.as_ref(), connection, extensions))
    .max_connections(connections_max)
    .listen_uds(listener)?
    .run();
    Ok(run(server))
}

fn limits(config: &mut ServiceConfig) {
    config
        .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
        .app_data(web::QueryConfig::default().error_handler(problem::of_query))
        .app_data(web::PathConfig::default().error_handler(problem::of_path));
}

fn routes(config: &mut ServiceConfig) {
    let scope = web::scope("/api/v1")
        .configure(runs::routes)
        .configure(check::routes)
        .configure(control::routes)
        .configure(events::routes)
        .configure(workers::routes)
        .configure(coordinator::routes);
    config.service(scope).configure(document::routes).default_service(web::to(problem::no_such_route));
}

/// Lets a server run beside everything else.
fn run(server: Server) -> ServerHandle {
    let handle = server.handle();
    actix::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the API is gone");
        }
    });
    handle
}
