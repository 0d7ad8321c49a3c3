//! What a person does to a run and its agents. Each call answers when the journal has it, with how the run stands then.

use super::Api;
use super::problem::Problem;
use super::runs::{AgentPath, agent_of};
use actix_web::web::{Data, Json, Path, ServiceConfig};
use actix_web::{Responder, post};
use skein_common::RunId;
use skein_common::view::{AgentView, RunView};
use skein_engine::Command;

/// In the description of the API.
const TAG: &str = "control";

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(pause).service(resume).service(stop);
    config.service(stop_agent).service(restart_agent).service(skip_agent);
}

#[utoipa::path(tag = TAG, params(("run" = RunId, Path)), responses((status = 200, body = RunView)))]
#[post("/runs/{run}/pause")]
pub(super) async fn pause(api: Data<Api>, run: Path<RunId>) -> Result<impl Responder, Problem> {
    control_run(&api, run.into_inner(), Command::Pause).await
}

#[utoipa::path(tag = TAG, params(("run" = RunId, Path)), responses((status = 200, body = RunView)))]
#[post("/runs/{run}/resume")]
pub(super) async fn resume(api: Data<Api>, run: Path<RunId>) -> Result<impl Responder, Problem> {
    control_run(&api, run.into_inner(), Command::Resume).await
}

#[utoipa::path(tag = TAG, params(("run" = RunId, Path)), responses((status = 200, body = RunView)))]
#[post("/runs/{run}/stop")]
pub(super) async fn stop(api: Data<Api>, run: Path<RunId>) -> Result<impl Responder, Problem> {
    control_run(&api, run.into_inner(), Command::Stop).await
}

#[utoipa::path(tag = TAG, params(AgentPath), responses((status = 200, body = AgentView)))]
#[post("/runs/{run}/agents/{agent}/stop")]
pub(super) async fn stop_agent(api: Data<Api>, path: Path<AgentPath>) -> Result<impl Responder, Problem> {
    let agent = path.agent;
    control_agent(&api, &path, Command::StopAgent { agent }).await
}

#[utoipa::path(tag = TAG, params(AgentPath), responses((status = 200, body = AgentView)))]
#[post("/runs/{run}/agents/{agent}/restart")]
pub(super) async fn restart_agent(api: Data<Api>, path: Path<AgentPath>) -> Result<impl Responder, Problem> {
    let agent = path.agent;
    control_agent(&api, &path, Command::RestartAgent { agent }).await
}

#[utoipa::path(tag = TAG, params(AgentPath), responses((status = 200, body = AgentView)))]
#[post("/runs/{run}/agents/{agent}/skip")]
pub(super) async fn skip_agent(api: Data<Api>, path: Path<AgentPath>) -> Result<impl Responder, Problem> {
    let agent = path.agent;
    control_agent(&api, &path, Command::SkipAgent { agent }).await
}

async fn control_run(api: &Api, run: RunId, command: Command) -> Result<Json<RunView>, Problem> {
    api.coordinator.control(run.clone(), command).await?;
    Ok(Json(api.coordinator.folded().view(&run).await?))
}

async fn control_agent(api: &Api, path: &AgentPath, command: Command) -> Result<Json<AgentView>, Problem> {
    api.coordinator.control(path.run.clone(), command).await?;
    agent_of(api, path).await
}
