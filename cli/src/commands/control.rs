//! `skein pause`, `stop`, `agent-stop`, `agent-restart`, `agent-skip`: what a person does to a run that lives.

use crate::args::{AgentArgs, Global, RunName};
use crate::client::{Client, is_problem, refusal};
use crate::commands::agents;
use crate::exit::{Code, unreachable, usage};
use crate::{output, reading};
use skein_common::RunId;
use skein_common::run::RunStatus;
use skein_common::view::{AgentView, RunView};
use skein_coordinator::api::ProblemKind;

/// Holds the run: agents that run finish, nothing new starts.
///
/// # Errors
/// Nobody executes the run, or it refuses.
pub async fn pause(global: &Global, args: RunName) -> anyhow::Result<Code> {
    control_run(global, &args.run, "pause").await
}

/// Ends the run.
///
/// # Errors
/// As [`pause`].
pub async fn stop(global: &Global, args: RunName) -> anyhow::Result<Code> {
    control_run(global, &args.run, "stop").await
}

/// Ends one agent; its call gives null.
///
/// # Errors
/// As [`pause`], or there is no such agent.
pub async fn agent_stop(global: &Global, args: AgentArgs) -> anyhow::Result<Code> {
    control_agent(global, &args, "stop").await
}

/// Has one running agent begin again.
///
/// # Errors
/// As [`agent_stop`].
pub async fn agent_restart(global: &Global, args: AgentArgs) -> anyhow::Result<Code> {
    control_agent(global, &args, "restart").await
}

/// Keeps one waiting agent from starting; its call gives null.
///
/// # Errors
/// As [`agent_stop`].
pub async fn agent_skip(global: &Global, args: AgentArgs) -> anyhow::Result<Code> {
    control_agent(global, &args, "skip").await
}

/// Lets a run go on that is paused; `None` when nobody executes it, so that it has to be taken up first.
///
/// # Errors
/// It lives and is not paused.
pub async fn resume_paused(global: &Global, run: &RunId) -> anyhow::Result<Option<Code>> {
    let Some(client) = Client::of_run(global, run)? else { return Ok(None) };
    match client.post::<RunView>(&format!("/runs/{run}/resume")).await {
        Ok(view) => say_run(global, &view).map(Some),
        Err(error) if is_problem(&error, ProblemKind::NotHere) => Ok(None),
        Err(error) if is_problem(&error, ProblemKind::Conflict) => {
            Err(usage(format!("{run} is being run by another process, and there is nothing to resume: {error}")))
        }
        Err(error) => Err(refusal(error)),
    }
}

async fn control_run(global: &Global, run: &RunId, action: &str) -> anyhow::Result<Code> {
    let view: RunView = ask(global, run, &format!("/runs/{run}/{action}")).await?;
    say_run(global, &view)
}

async fn control_agent(global: &Global, args: &AgentArgs, action: &str) -> anyhow::Result<Code> {
    let AgentArgs { run, agent } = args;
    let view: AgentView = ask(global, run, &format!("/runs/{run}/agents/{agent}/{action}")).await?;
    if global.json {
        output::json(&view)?;
    } else {
        output::line(&agents::line(&view));
    }
    Ok(Code::Completed)
}

async fn ask<T: serde::de::DeserializeOwned>(global: &Global, run: &RunId, path: &str) -> anyhow::Result<T> {
    let Some(client) = Client::of_run(global, run)? else { return Err(nobody_executes(global, run).await) };
    match client.post(path).await {
        Err(error) if is_problem(&error, ProblemKind::NotHere) => Err(nobody_executes(global, run).await),
        answer => answer.map_err(refusal),
    }
}

fn say_run(global: &Global, view: &RunView) -> anyhow::Result<Code> {
    if global.json {
        output::json(view)?;
    } else {
        output::line(&format!("{} {}", view.run, view.status));
    }
    Ok(Code::Completed)
}

/// Why there is nobody to ask.
pub async fn nobody_executes(global: &Global, run: &RunId) -> anyhow::Error {
    match status(global, run).await {
        Ok(status) if status.is_end() => usage(format!("{run} has ended: it {status}")),
        Ok(RunStatus::Interrupted) => {
            let next = crate::session::how_to_go_on(global, run);
            usage(format!("nobody executes {run}: it was interrupted; {next}"))
        }
        Ok(status) => unreachable(format!("{run} is {status}, but the process that executes it cannot be reached")),
        Err(error) => error,
    }
}

async fn status(global: &Global, run: &RunId) -> anyhow::Result<RunStatus> {
    Ok(reading::open(global)?.view(run).await?.status)
}
