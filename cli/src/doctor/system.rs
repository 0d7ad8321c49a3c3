//! The system itself: a script in its sandbox, and one run with one program, in a store of its own.

use super::Check;
use crate::args::Global;
use crate::session::{Session, this_program};
use anyhow::Context as _;
use skein_common::Payload;
use skein_common::agent::{RunnerKind, Simulation};
use skein_common::run::{BudgetUnit, ResumeMode, RunLimits, RunSpec, RunStatus};
use skein_coordinator::RunOutcome;
use skein_script::HostPool;
use std::time::Duration;

/// Starting processes takes milliseconds; a machine that needs longer is not well.
const DEADLINE: Duration = Duration::from_secs(30);
const SCRIPT: &str = "export const meta = { name: 'doctor', description: 'starts one program' }
return await agent('hello')";

pub async fn script_host(global: &Global) -> Check {
    let started = async {
        let hosts = HostPool::start(this_program()?).await.context("cannot start")?;
        hosts.check(SCRIPT, &global.settings.host_limits).await.context("a script was not read")
    };
    match tokio::time::timeout(DEADLINE, started).await {
        Ok(Ok(_)) => Check::ok("script-host", "a script is read in its sandbox"),
        Ok(Err(error)) => Check::fail("script-host", format!("{error:#}"), "see `skein doctor -vv` for the log"),
        Err(_) => Check::fail("script-host", "no answer", "see whether this machine is overloaded"),
    }
}

pub async fn one_run(global: &Global) -> Check {
    let advice = "see `skein doctor -vv` for the log; agents that run programs will not work";
    match tokio::time::timeout(DEADLINE, run(global)).await {
        Ok(Ok(())) => Check::ok("run", "a run with one program completes"),
        Ok(Err(error)) => Check::fail("run", format!("{error:#}"), advice),
        Err(_) => Check::fail("run", "no end", advice),
    }
}

async fn run(global: &Global) -> anyhow::Result<()> {
    let dir = tempfile::tempdir().context("no temporary folder")?;
    let session = Session::start(&global.settings, dir.path()).await?.temporary();
    match session.complete(spec(dir.path().to_string_lossy().into_owned())).await? {
        RunOutcome::Ended(view) if view.status == RunStatus::Completed && view.agents.done == 1 => Ok(()),
        RunOutcome::Ended(view) => Err(anyhow::anyhow!("it ended {}: {}", view.status, view.failures.join("; "))),
        RunOutcome::Interrupted { reason } => Err(anyhow::anyhow!(reason)),
    }
}

fn spec(project_dir: String) -> RunSpec {
    RunSpec {
        script: Payload::text(SCRIPT),
        origin: String::from("doctor"),
        args: None,
        args_parsed_from_text: false,
        limits: RunLimits::default(),
        budget: None,
        budget_unit: BudgetUnit::default(),
        runner: Some(RunnerKind::Command),
        command: Some(vec![String::from("echo"), String::from("{prompt}")]),
        model: None,
        simulation: Simulation::default(),
        definitions: Vec::new(),
        workflows: Vec::new(),
        script_roots: Vec::new(),
        strict: true,
        dry_run: false,
        timeout_ms: None,
        seed: 1,
        project_dir,
        parent: None,
        resume_mode: ResumeMode::default(),
        traceparent: None,
    }
}
