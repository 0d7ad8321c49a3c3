//! What a person does to a run and its agents. Each call answers when the journal has it, with how the run stands then.

use super::Api;
use super::problem::Problem;
use super::runs::{AgentPath, agent_of};
use crate::stored::view;
use actix_web::web::{Data, Json, Path, ServiceConfig};
use actix_web::{Responder, post};
use skein_common::RunId;
use skein_common::view::{AgentView, RunView};
use skein_engine::Command;

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(pause).service(resume).service(stop);
    config.service(stop_agent).service(restart_agent).service(skip_agent);
}

#[post("/runs/{run}/pause")]
async fn pause(api: Data<Api>, run: Path<RunId>) -> Result<impl Responder, Problem> {
    control_run(&api, run.into_inner(), Command::Pause).await
}

#[post("/runs/{run}/resume")]
async fn resume(api: Data<Api>, run: Path<RunId>) -> Result<impl Responder, Problem> {
    control_run(&api, run.into_inner(), Command::Resume).await
}

#[post("/runs/{run}/stop")]
async fn stop(api: Data<Api>, run: Path<RunId>) -> Result<impl Responder, Problem> {
    control_run(&api, run.into_inner(), Command::Stop).await
}

#[post("/runs/{run}/agents/{agent}/stop")]
async fn stop_agent(api: Data<Api>, path: Path<AgentPath>) -> Result<impl Responder, Problem> {
    let agent = path.agent;
    control_agent(&api, &path, Command::StopAgent { agent }).await
}

#[post("/runs/{run}/agents/{agent}/restart")]
async fn restart_agent(api: Data<Api>, path: Path<AgentPath>) -> Result<impl Responder, Problem> {
    let agent = path.agent;
    control_agent(&api, &path, Command::RestartAgent { agent }).await
}

#[post("/runs/{run}/agents/{agent}/skip")]
async fn skip_agent(api: Data<Api>, path: Path<AgentPath>) -> Result<impl Responder, Problem> {
    let agent = path.agent;
    control_agent(&api, &path, Command::SkipAgent { agent }).await
}

async fn control_run(api: &Api, run: RunId, command: Command) -> Result<Json<RunView>, Problem> {
    api.coordinator.control(run.clone(), command).await?;
    Ok(Json(view(api.coordinator.ports(), &run).await?))
}

async fn control_agent(api: &Api, path: &AgentPath, command: Command) -> Result<Json<AgentView>, Problem> {
    api.coordinator.control(path.run.clone(), command).await?;
    agent_of(api, path).await
}
