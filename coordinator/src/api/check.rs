//! A look at a script before it runs.

use super::Api;
use super::problem::{Problem, ProblemKind, problem_of_body};
use crate::check::Checked;
use actix_web::web::{Bytes, Data, Json, ServiceConfig};
use actix_web::{Responder, post};
use serde::Deserialize;
use skein_script::LoadError;
use utoipa::ToSchema;

/// In the description of the API.
const TAG: &str = "workflows";

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(check);
}

/// What is looked at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckRequest {
    script: String,
}

#[utoipa::path(tag = TAG, request_body = CheckRequest, responses((status = 200, body = Checked)))]
#[post("/check")]
pub(super) async fn check(api: Data<Api>, body: Result<Bytes, actix_web::Error>) -> Result<impl Responder, Problem> {
    let body = body.map_err(|error| problem_of_body(&error))?;
    let request: CheckRequest =
        serde_json::from_slice(&body).map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))?;
    match api.coordinator.check(&request.script).await {
        Ok(loaded) => Ok(Json(Checked::from(loaded))),
        Err(LoadError::Script(error)) => Ok(Json(Checked::from(error))),
        Err(error) => Err(Problem::new(ProblemKind::Unavailable, error.to_string())),
    }
}
