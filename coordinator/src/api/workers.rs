//! Workers as clients see them, and telling one to drain.

use super::Api;
use super::problem::Problem;
use super::scopes::{Scope, Scopes};
use crate::workers::{drain_worker, workers};
use actix_web::web::{Data, Json, Path, ServiceConfig};
use actix_web::{HttpRequest, Responder, get, post};
use skein_common::wire::WorkerInfo;

/// In the description of the API.
const TAG: &str = "cluster";

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list_workers).service(drain);
}

#[utoipa::path(tag = TAG, responses((status = 200, body = Vec<WorkerInfo>)))]
#[get("/workers")]
pub(super) async fn list_workers(api: Data<Api>) -> Result<impl Responder, Problem> {
    Ok(Json(workers(api.coordinator.ports()).await?))
}

#[utoipa::path(tag = TAG, params(("worker" = String, Path)), responses((status = 200, body = WorkerInfo)))]
#[post("/workers/{worker}/drain")]
pub(super) async fn drain(
    api: Data<Api>,
    request: HttpRequest,
    worker: Path<String>,
) -> Result<impl Responder, Problem> {
    Scopes::of(&request).require(Scope::Admin, "to drain a worker")?;
    Ok(Json(drain_worker(api.coordinator.ports(), &worker).await?))
}
