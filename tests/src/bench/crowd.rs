//! Crowds: a healthy run beside all hostile scripts at once, and 500 runs started at once.

use super::figures::Sample;
use super::measure::{Meter, memory_mb};
use super::rig::{Rig, ended};
use super::workloads::{parallel, sample, warm_rig};
use crate::hostile::{HEALTHY_AGENTS, all, healthy_body};
use crate::system::spec;
use skein_common::run::RunStatus;
use std::path::Path;
use std::time::{Duration, Instant};

const RUNS: usize = 500;
const AGENTS: usize = 4;
/// Runs of which the median counts.
const HEALTHY_RUNS: usize = 5;
/// A short agent: a program that reads a file. One that asks a model takes seconds.
const AGENT_MS: u64 = 20;
/// Between two looks at the memory while it is used.
const LOOK: Duration = Duration::from_millis(20);
/// Hosts of hostile scripts are forked, run, and were looked at by then.
const HEAD_START: Duration = Duration::from_secs(2);

/// The healthy run alone, then beside all hostile scripts.
pub async fn hostile(store: &Path) -> anyhow::Result<Sample> {
    let rig = warm_rig(store).await?;
    let alone = Healthy::measure(&rig).await?;
    let scripts = all();
    let begun = Instant::now();
    let hostile = futures::future::try_join_all(scripts.iter().map(|script| rig.run(spec(&script.body))));
    let beside = async {
        let at_once_ms = healthy(&rig, 0).await?;
        tokio::time::sleep(HEAD_START.saturating_sub(begun.elapsed())).await;
        anyhow::Ok((at_once_ms, Healthy::measure(&rig).await?))
    };
    let (hostile, beside) = futures::future::join(hostile, beside).await;
    let hostile_ms = begun.elapsed().as_secs_f64() * 1e3;
    let failed = hostile?.into_iter().filter(|view| view.status == RunStatus::Failed).count();
    let (at_once_ms, beside) = beside?;
    rig.stop().await;
    Ok(Sample::from([
        (String::from("alone_ms"), alone.without_work_ms),
        (String::from("at_once_ms"), at_once_ms),
        (String::from("beside_ms"), beside.without_work_ms),
        (String::from("ratio_without_work"), beside.without_work_ms / alone.without_work_ms),
        (String::from("alone_at_work_ms"), alone.at_work_ms),
        (String::from("beside_at_work_ms"), beside.at_work_ms),
        (String::from("ratio"), beside.at_work_ms / alone.at_work_ms),
        (String::from("hostile_ms"), hostile_ms),
        (String::from("hostile_failed"), failed as f64),
    ]))
}

/// How long a healthy run takes whose agents do nothing, and one whose agents take their time.
struct Healthy {
    without_work_ms: f64,
    at_work_ms: f64,
}

impl Healthy {
    async fn measure(rig: &Rig) -> anyhow::Result<Healthy> {
        Ok(Healthy { without_work_ms: median(rig, 0).await?, at_work_ms: median(rig, AGENT_MS).await? })
    }
}

/// One run is over within a few time slices, so a single one says little.
async fn median(rig: &Rig, agent_ms: u64) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..HEALTHY_RUNS {
        times.push(healthy(rig, agent_ms).await?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[HEALTHY_RUNS / 2])
}

async fn healthy(rig: &Rig, agent_ms: u64) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut spec = spec(&healthy_body());
    spec.simulation.latency_ms = agent_ms;
    let view = rig.run(spec).await?;
    anyhow::ensure!(view.agents.done as usize == HEALTHY_AGENTS, "an agent is missing: {:?}", view.error);
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// Many runs started in the same moment; the most memory they took together, with their hosts.
pub async fn many(store: &Path) -> anyhow::Result<Sample> {
    let rig = warm_rig(store).await?;
    let meter = Meter::start();
    let (right, peak_mb) = start_all(&rig).await?;
    let used = meter.stop();
    anyhow::ensure!(right == RUNS, "{right} of {RUNS} runs ended right");
    tokio::time::sleep(HEAD_START).await;
    let mut figures = sample(used, memory_mb());
    figures.insert(String::from("peak_mb"), peak_mb);
    rig.stop().await;
    Ok(figures)
}

/// How many ended right, and the most memory.
async fn start_all(rig: &Rig) -> anyhow::Result<(usize, f64)> {
    let body = parallel(AGENTS);
    let runs = (0..RUNS).map(|_| async {
        let run = rig.coordinator.submit(spec(&body)).await?;
        ended(rig.coordinator.run_to_its_end(run).await)
    });
    let mut peak_mb = memory_mb();
    let mut runs = std::pin::pin!(futures::future::try_join_all(runs));
    loop {
        tokio::select! {
            views = &mut runs => {
                let right = views?.iter().filter(|view| view.agents.done as usize == AGENTS).count();
                return Ok((right, peak_mb));
            }
            () = tokio::time::sleep(LOOK) => peak_mb = peak_mb.max(memory_mb()),
        }
    }
}
