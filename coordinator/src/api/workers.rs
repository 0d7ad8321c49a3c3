//! Workers as clients see them, and telling one to drain.

use super::Api;
use super::problem::Problem;
use super::scopes::{Scope, Scopes};
use crate::workers::{drain_worker, workers};
use actix_web::web::{Data, Json, Path, ServiceConfig};
use actix_web::{HttpRequest, Responder, get, post};

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list_workers).service(drain);
}

#[get("/workers")]
async fn list_workers(api: Data<Api>) -> Result<impl Responder, Problem> {
    Ok(Json(workers(api.coordinator.ports()).await?))
}

#[post("/workers/{worker}/drain")]
async fn drain(api: Data<Api>, request: HttpRequest, worker: Path<String>) -> Result<impl Responder, Problem> {
    Scopes::of(&request).require(Scope::Admin, "to drain a worker")?;
    Ok(Json(drain_worker(api.coordinator.ports(), &worker).await?))
}
