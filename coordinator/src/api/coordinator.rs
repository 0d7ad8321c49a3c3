//! The coordinator as those see it who operate the cluster.

use super::Api;
use actix_web::web::{Data, Json, ServiceConfig};
use actix_web::{Responder, get};

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(standing);
}

#[get("/coordinator")]
async fn standing(api: Data<Api>) -> impl Responder {
    Json(api.coordinator.standing().await)
}
