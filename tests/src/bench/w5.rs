//! W5: `kill -9` of the whole `skein run` in the middle, then `skein resume`, both the real program.

use super::figures::Sample;
use crate::processes;
use crate::skein_binary;
use anyhow::Context as _;
use serde_json::Value;
use skein_backend::embedded::Store;
use skein_coordinator::StoredRun;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const AGENTS: usize = 1000;
const KILL_AFTER: u32 = 500;
const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);

pub fn kill_and_resume(dir: &Path) -> anyhow::Result<Sample> {
    let (store, home) = (dir.join("store"), dir.join("home"));
    std::fs::create_dir(&home)?;
    let script = dir.join("w5.js");
    std::fs::write(&script, body())?;
    let skein = || {
        let mut command = Command::new(skein_binary());
        command.current_dir(dir).env("HOME", &home).env("SKEIN_STORE", &store).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    let flags = ["--yes", "--json", "--runner", "simulated", "--simulate", "latency=5ms"];
    let mut first = skein().arg("run").arg(&script).args(flags).spawn()?;
    let killed = kill_in_the_middle(&mut first, &store);
    processes::kill_9(i32::try_from(first.id())?);
    first.wait()?;
    let done_before = killed?;
    let run = look(&store)?.context("the run is stored")?.0;

    let begun = Instant::now();
    let output = skein().args(["resume", &run, "--json"]).output()?;
    let elapsed_ms = begun.elapsed().as_secs_f64() * 1e3;
    let view: Value = serde_json::from_slice(&output.stdout).context("resume prints the run")?;
    anyhow::ensure!(view["result"].as_array().is_some_and(|all| all.len() == AGENTS), "not all agents: {view}");
    anyhow::ensure!(view["agents"]["done"] == AGENTS, "not all agents: {view}");
    let (_, stored) = look(&store)?.context("the run is stored")?;
    let twice = stored.run.state().agents.iter().filter(|agent| agent.attempts > 1).count();
    Ok(Sample::from([
        (String::from("elapsed_ms"), elapsed_ms),
        (String::from("agents_run_twice"), twice as f64),
        (String::from("done_at_the_kill"), f64::from(done_before)),
    ]))
}

fn body() -> String {
    let parallel = super::workloads::parallel(AGENTS);
    format!("export const meta = {{ name: 'w5', description: 'a thousand agents' }}\n{parallel}\n")
}

/// Waits until half of the agents are done; says how many were.
fn kill_in_the_middle(running: &mut Child, store: &Path) -> anyhow::Result<u32> {
    let begun = Instant::now();
    loop {
        let done = look(store)?.map_or(0, |(_, stored)| {
            let agents = &stored.run.state().agents;
            agents.iter().filter(|agent| !agent.is_open()).count()
        });
        let done = u32::try_from(done)?;
        if done >= KILL_AFTER {
            return Ok(done);
        }
        anyhow::ensure!(running.try_wait()?.is_none(), "the run ended before it could be killed");
        anyhow::ensure!(begun.elapsed() < PATIENCE, "the run does not come so far");
        std::thread::park_timeout(LOOK);
    }
}

/// The only run of a store, when there is one.
fn look(store: &Path) -> anyhow::Result<Option<(String, StoredRun)>> {
    let Ok(store) = Store::open_existing(store) else { return Ok(None) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let journal = store.ports().journal;
        let Some(run) = journal.list().await?.into_iter().next() else { return Ok(None) };
        let stored = skein_coordinator::load_run(journal.as_ref(), &run).await?;
        Ok(Some((run.to_string(), stored)))
    })
}
