//! The coordinator as those see it who operate the cluster.

use super::Api;
use crate::standing::Standing;
use actix_web::web::{Data, Json, ServiceConfig};
use actix_web::{Responder, get};

/// In the description of the API.
const TAG: &str = "cluster";

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(standing);
}

#[utoipa::path(tag = TAG, responses((status = 200, body = Standing)))]
#[get("/coordinator")]
pub(super) async fn standing(api: Data<Api>) -> impl Responder {
    Json(api.coordinator.standing().await)
}
