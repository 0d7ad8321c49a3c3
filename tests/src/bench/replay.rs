//! Replay: a run of 3000 events whose owner is gone is taken over, from the question to its end.

use super::figures::Sample;
use super::rig::{Rig, ended, texts};
use super::workloads::w1_spec;
use anyhow::Context as _;
use skein_backend::embedded::Store;
use skein_common::RunId;
use std::path::Path;
use std::time::{Duration, Instant};

const AGENTS: usize = 1000;
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn replay(store: &Path) -> anyhow::Result<Sample> {
    let run = leave_unfinished(store).await?;
    let events = events_of(store, &run).await?;
    let rig = Rig::start(store).await?;
    let begun = Instant::now();
    let view = ended(rig.coordinator.run_to_its_end(run).await)?;
    let elapsed_ms = begun.elapsed().as_secs_f64() * 1e3;
    anyhow::ensure!(texts(&view)?.len() == AGENTS && view.agents.done as usize == AGENTS, "an agent is missing");
    rig.stop().await;
    Ok(Sample::from([(String::from("elapsed_ms"), elapsed_ms), (String::from("events"), events)]))
}

/// All agents but the last end; then the owner goes.
async fn leave_unfinished(store: &Path) -> anyhow::Result<RunId> {
    let rig = Rig::start(store).await?;
    rig.dispatches.keep_back_from(AGENTS - 1);
    let run = rig.coordinator.submit(w1_spec()).await?;
    let coordinator = rig.coordinator.clone();
    let running = actix::spawn({
        let run = run.clone();
        async move { coordinator.run_to_its_end(run).await }
    });
    let begun = Instant::now();
    while events_of(store, &run).await? < 2.0 + 3.0 * AGENTS as f64 - 1.0 {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "the run does not come so far");
        tokio::time::sleep(LOOK).await;
    }
    rig.stop().await;
    running.await.context("the run is left")?;
    Ok(run)
}

async fn events_of(store: &Path, run: &RunId) -> anyhow::Result<f64> {
    let store = Store::open_existing(store)?;
    let stored = skein_coordinator::load_run(store.ports().journal.as_ref(), run).await?;
    Ok(stored.events.len() as f64)
}
