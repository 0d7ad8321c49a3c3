//! Workloads W1 to W4 on a cluster of processes, and the memory after them.

use super::observer::drain;
use super::site::{Flushes, PREFIX, Site};
use crate::bench::figures::{Sample, quantile};
use crate::bench::measure::{Meter, Used};
use crate::bench::workloads::{
    W2_AGENTS, W3_AGENTS, W3_RUNS, W4_AGENTS, W4_TEXT_BYTES, parallel, sample, w1_expected, w1_spec, w2_spec, w4_spec,
};
use crate::system::spec;
use skein_common::RunId;
use skein_common::run::RunSpec;
use std::path::Path;
use std::time::{Duration, Instant};

/// Hosts that were killed are gone then.
const REST: Duration = Duration::from_millis(500);

/// A run as it was measured.
struct Measured {
    run: RunId,
    used: Used,
}

/// From the submission until the end was seen.
async fn measure(site: &mut Site, spec: &RunSpec) -> anyhow::Result<Measured> {
    let meter = Meter::start_below();
    let begun = Instant::now();
    let run = site.submit(0, spec).await?;
    let ended = site.ended(0, &run).await?;
    let used = Used { elapsed_ms: (ended - begun).as_secs_f64() * 1e3, ..meter.stop() };
    Ok(Measured { run, used })
}

pub async fn w1(dir: &Path, flushes: Flushes) -> anyhow::Result<Sample> {
    let mut site = Site::start_warm(dir, flushes).await?;
    let used = do_w1(&mut site).await?;
    Ok(sample(used, site.memory_mb()))
}

async fn do_w1(site: &mut Site) -> anyhow::Result<Used> {
    let Measured { run, used } = measure(site, &w1_spec()).await?;
    anyhow::ensure!(site.texts(&run).await? == w1_expected(), "the result is not in order");
    Ok(used)
}

/// Both ways of the server, one after the other.
pub async fn w2(dir: &Path, flushes: Flushes) -> anyhow::Result<Sample> {
    let mut figures = Sample::new();
    for (kind, prefix) in [(flushes, ""), (Flushes::Sometimes, "unflushed_")] {
        let mut site = Site::start_warm(&dir.join(format!("{prefix}site")), kind).await?;
        let (used, steps_ms) = do_w2(&mut site).await?;
        if prefix.is_empty() {
            figures.extend(sample(used, site.memory_mb()));
        }
        figures.insert(format!("{prefix}step_p50_ms"), quantile(&steps_ms, 0.5));
        figures.insert(format!("{prefix}step_p99_ms"), quantile(&steps_ms, 0.99));
    }
    Ok(figures)
}

/// With the sorted times from the dispatch of an agent to that of the next.
pub async fn do_w2(site: &mut Site) -> anyhow::Result<(Used, Vec<f64>)> {
    let mut tasks = site.observer.listen(format!("{PREFIX}.t.default")).await?;
    let Measured { run, used } = measure(site, &w2_spec()).await?;
    anyhow::ensure!(site.texts(&run).await?.len() == 1, "an agent is missing");
    let moments: Vec<Instant> = drain(&mut tasks).into_iter().map(|task| task.at).collect();
    anyhow::ensure!(moments.len() == W2_AGENTS, "{} dispatches instead of {W2_AGENTS}", moments.len());
    let mut steps_ms: Vec<f64> = moments.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3).collect();
    steps_ms.sort_by(f64::total_cmp);
    Ok((used, steps_ms))
}

pub async fn w3(dir: &Path, flushes: Flushes) -> anyhow::Result<Sample> {
    let mut site = Site::start_warm(dir, flushes).await?;
    let used = do_w3(&mut site).await?;
    Ok(sample(used, site.memory_mb()))
}

async fn do_w3(site: &mut Site) -> anyhow::Result<Used> {
    let spec = spec(&parallel(W3_AGENTS));
    let meter = Meter::start_below();
    let begun = Instant::now();
    let runs = futures::future::try_join_all((0..W3_RUNS).map(|_| site.submit(0, &spec))).await?;
    let mut ended = begun;
    for run in &runs {
        ended = ended.max(site.ended(0, run).await?);
    }
    let used = Used { elapsed_ms: (ended - begun).as_secs_f64() * 1e3, ..meter.stop() };
    for run in &runs {
        anyhow::ensure!(site.texts(run).await?.len() == W3_AGENTS, "an agent is missing");
    }
    Ok(used)
}

pub async fn w4(dir: &Path, flushes: Flushes) -> anyhow::Result<Sample> {
    let mut site = Site::start_warm(dir, flushes).await?;
    let used = do_w4(&mut site).await?;
    Ok(sample(used, site.memory_mb()))
}

async fn do_w4(site: &mut Site) -> anyhow::Result<Used> {
    let Measured { run, used } = measure(site, &w4_spec()).await?;
    let texts = site.texts(&run).await?;
    let are_whole = texts.len() == W4_AGENTS && texts.iter().all(|text| text.len() as u64 == W4_TEXT_BYTES);
    anyhow::ensure!(are_whole, "a text is missing or cut");
    Ok(used)
}

/// Of coordinator and worker, without the server.
pub async fn memory(dir: &Path, flushes: Flushes) -> anyhow::Result<Sample> {
    let mut site = Site::start(dir, flushes, 1, 1).await?;
    tokio::time::sleep(REST).await;
    let idle_mb = site.memory_mb();
    do_w1(&mut site).await?;
    do_w2(&mut site).await?;
    do_w3(&mut site).await?;
    do_w4(&mut site).await?;
    tokio::time::sleep(REST).await;
    Ok(Sample::from([(String::from("idle_mb"), idle_mb), (String::from("after_w1_to_w4_mb"), site.memory_mb())]))
}
