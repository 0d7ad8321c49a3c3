//! What those ask who watch a process: whether it lives, whether it can do its job, and its metrics.
//!
//! `/healthz` and `/readyz` are open, as whoever asks them has no token. `/metrics` tells how much is done here and on
//! which models, so it needs a token that may read, like everything else; `api.metrics_open` lets it go without.

use super::problem::{Problem, ProblemKind, no_such_route};
use super::tcp::Gate;
use super::{CALLS_MAX, run};
use crate::telemetry::Watched;
use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::header::CONTENT_TYPE;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{Data, ServiceConfig, get};
use actix_web::{App, Error, HttpResponse, HttpServer, web};
use serde::Serialize;
use std::net::TcpListener;
use utoipa::ToSchema;

const HEALTH: &str = "/healthz";
const READY: &str = "/readyz";
const METRICS: &str = "/metrics";

/// Of the text format that Prometheus reads.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether anybody may ask this.
pub(super) fn is_open(path: &str) -> bool {
    path == HEALTH || path == READY
}

/// Whether it is this that may be asked without a token where the settings say so.
pub(super) fn is_metrics(path: &str) -> bool {
    path == METRICS
}

/// The three of them for this process.
pub(super) fn routes(watched: Watched) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config.app_data(Data::new(watched));
        config.route(HEALTH, get().to(healthy)).route(READY, get().to(ready)).route(METRICS, get().to(metrics));
    }
}

/// Serves nothing else, for a process without an API, until the handle stops it or the process ends.
///
/// # Errors
/// The system refuses.
pub fn serve_watched(watched: Watched, gate: Gate, listener: TcpListener) -> std::io::Result<ServerHandle> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::new(gate.clone()))
            .wrap(from_fn(admit))
            .configure(routes(watched.clone()))
            .default_service(web::to(no_such_route))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .max_connections(CALLS_MAX)
    .listen(listener)?
    .run();
    Ok(run(server))
}

/// What `/readyz` answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    ready: bool,
    /// What keeps it from doing its job.
    reasons: Vec<String>,
}

/// Agents of this process may ask, if they have the token: there is nothing to steer here.
async fn admit(
    gate: Data<Gate>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let (method, path, headers) = (request.method(), request.path(), request.headers());
    if !gate.lets_all_in(path, headers)? {
        let _may_read = gate.check(method, path, headers)?;
    }
    next.call(request).await
}

/// Says that the process serves. It is asked without a token.
#[utoipa::path(get, path = HEALTH, tag = "process", security(()), responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn healthy() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("ok")
}

/// Whether the process can do its job, and else why not. It is asked without a token.
#[utoipa::path(get, path = READY, tag = "process", security(()), responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub(super) async fn ready(watched: Data<Watched>) -> HttpResponse {
    let reasons = watched.readiness.obstacles().await;
    let is_ready = reasons.is_empty();
    let mut answer = if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.json(Ready { ready: is_ready, reasons })
}

/// The metrics of this process, for Prometheus.
#[utoipa::path(get, path = METRICS, tag = "process", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(watched: Data<Watched>) -> Result<HttpResponse, Problem> {
    match watched.meters.text() {
        Ok(text) => Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, TEXT_FORMAT)).body(text)),
        Err(error) => {
            tracing::error!(%error, "metrics not shown");
            Err(Problem::new(ProblemKind::Internal, "the metrics cannot be written"))
        }
    }
}
