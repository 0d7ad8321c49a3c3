//! Workloads W1 to W4, and how they are carried out in this process.

use super::figures::{Sample, quantile};
use super::measure::{Meter, Used, memory_mb};
use super::rig::{Rig, ended, texts};
use crate::system::spec;
use skein_common::Digest;
use skein_common::agent::Simulation;
use skein_common::run::{RunLimits, RunSpec};
use std::path::Path;

const W1_AGENTS: usize = 1000;
pub const W2_AGENTS: usize = 200;
pub const W3_RUNS: usize = 100;
pub const W3_AGENTS: usize = 10;
pub const W4_AGENTS: usize = 200;
pub const W4_TEXT_BYTES: u64 = 64 * 1024;

/// A rig in which each part has worked once, as it has in a process that people use.
pub async fn warm_rig(store: &Path) -> anyhow::Result<Rig> {
    let rig = Rig::start(store).await?;
    rig.run(spec(&parallel(1))).await?;
    Ok(rig)
}

/// So many agents, as many at once as the run's limit lets.
pub fn parallel(agents: usize) -> String {
    format!("return await parallel(Array.from({{length: {agents}}}, (_, i) => () => agent('agent-' + i)))")
}

pub fn w1_spec() -> RunSpec {
    RunSpec { limits: RunLimits { concurrency: 16, ..RunLimits::default() }, ..spec(&parallel(W1_AGENTS)) }
}

/// What W1 gives back.
pub fn w1_expected() -> Vec<String> {
    let answer = |agent| {
        let digest = Digest::of(format!("agent-{agent}").as_bytes()).0;
        format!("simulated answer {}", &digest[..12])
    };
    (0..W1_AGENTS).map(answer).collect()
}

pub fn w2_spec() -> RunSpec {
    spec(&format!(
        "let last = ''; for (let i = 0; i < {W2_AGENTS}; i++) last = await agent(i + ' ' + last); return [last]"
    ))
}

pub fn w4_spec() -> RunSpec {
    let simulation = Simulation { text_bytes: Some(W4_TEXT_BYTES), ..Simulation::default() };
    RunSpec { simulation, ..spec(&parallel(W4_AGENTS)) }
}

pub async fn w1(store: &Path) -> anyhow::Result<Sample> {
    let rig = warm_rig(store).await?;
    let (used, memory_mb) = do_w1(&rig).await?;
    rig.stop().await;
    Ok(sample(used, memory_mb))
}

pub async fn do_w1(rig: &Rig) -> anyhow::Result<(Used, f64)> {
    let meter = Meter::start();
    let view = rig.run(w1_spec()).await?;
    let used = meter.stop();
    anyhow::ensure!(texts(&view)? == w1_expected(), "the result is not in order");
    Ok((used, memory_mb()))
}

pub async fn w2(store: &Path) -> anyhow::Result<Sample> {
    let rig = warm_rig(store).await?;
    let (used, steps_ms) = do_w2(&rig).await?;
    let mut sample = sample(used, memory_mb());
    sample.insert(String::from("step_p50_ms"), quantile(&steps_ms, 0.5));
    sample.insert(String::from("step_p99_ms"), quantile(&steps_ms, 0.99));
    rig.stop().await;
    Ok(sample)
}

/// With the sorted times from the dispatch of an agent to that of the next.
pub async fn do_w2(rig: &Rig) -> anyhow::Result<(Used, Vec<f64>)> {
    let before = rig.dispatches.moments().len();
    let meter = Meter::start();
    let view = rig.run(w2_spec()).await?;
    let used = meter.stop();
    anyhow::ensure!(texts(&view)?.len() == 1 && view.agents.done as usize == W2_AGENTS, "an agent is missing");
    let moments = rig.dispatches.moments().split_off(before);
    let mut steps_ms: Vec<f64> = moments.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3).collect();
    steps_ms.sort_by(f64::total_cmp);
    Ok((used, steps_ms))
}

pub async fn w3(store: &Path) -> anyhow::Result<Sample> {
    let rig = warm_rig(store).await?;
    let used = do_w3(&rig).await?;
    let sample = sample(used, memory_mb());
    rig.stop().await;
    Ok(sample)
}

pub async fn do_w3(rig: &Rig) -> anyhow::Result<Used> {
    let body = parallel(W3_AGENTS);
    let meter = Meter::start();
    let runs = (0..W3_RUNS).map(|_| async {
        let run = rig.coordinator.submit(spec(&body)).await?;
        ended(rig.coordinator.run_to_its_end(run).await)
    });
    let views = futures::future::try_join_all(runs).await?;
    let used = meter.stop();
    for view in &views {
        anyhow::ensure!(
            texts(view)?.len() == W3_AGENTS && view.agents.done as usize == W3_AGENTS,
            "an agent is missing"
        );
    }
    Ok(used)
}

pub async fn w4(store: &Path) -> anyhow::Result<Sample> {
    let rig = warm_rig(store).await?;
    let used = do_w4(&rig).await?;
    let sample = sample(used, memory_mb());
    rig.stop().await;
    Ok(sample)
}

pub async fn do_w4(rig: &Rig) -> anyhow::Result<Used> {
    let meter = Meter::start();
    let view = rig.run(w4_spec()).await?;
    let used = meter.stop();
    let texts = texts(&view)?;
    let are_whole = texts.len() == W4_AGENTS && texts.iter().all(|text| text.len() as u64 == W4_TEXT_BYTES);
    anyhow::ensure!(are_whole, "a text is missing or cut");
    Ok(used)
}

pub fn sample(used: Used, memory_mb: f64) -> Sample {
    Sample::from([
        (String::from("elapsed_ms"), used.elapsed_ms),
        (String::from("cpu_ms"), used.cpu_ms),
        (String::from("memory_mb"), memory_mb),
        (String::from("written_mb"), used.written_bytes / 1e6),
    ])
}
