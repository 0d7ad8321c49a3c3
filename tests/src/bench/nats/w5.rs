//! W5 on a cluster: `kill -9` in the middle of a run, started again at once in the same folder.

use super::observer::{Heard, drain};
use super::site::{Flushes, PREFIX, Site};
use crate::bench::figures::Sample;
use crate::bench::workloads::{w1_expected, w1_spec};
use anyhow::Context as _;
use skein_common::RunId;
use skein_common::agent::Simulation;
use skein_common::run::RunSpec;
use skein_common::wire::{WorkerRequest, decode};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const KILL_AFTER: usize = 500;
const AGENT_MS: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Worker,
    Coordinator,
    Both,
    Broker,
}

const VICTIMS: [(Victim, &str); 4] = [
    (Victim::Worker, "worker"),
    (Victim::Coordinator, "coordinator"),
    (Victim::Both, "both"),
    (Victim::Broker, "broker"),
];

/// Each in a cluster of its own.
pub async fn kill_each(dir: &Path, flushes: Flushes) -> anyhow::Result<Sample> {
    let mut figures = Sample::new();
    for (victim, name) in VICTIMS {
        let (recovered, twice) = kill_one(&dir.join(name), flushes, victim).await.with_context(|| name.to_owned())?;
        figures.insert(format!("{name}_ms"), recovered.as_secs_f64() * 1e3);
        figures.insert(format!("{name}_run_twice"), twice as f64);
    }
    Ok(figures)
}

/// The time from the kill to the complete and right result, and how many agents began more than once.
async fn kill_one(dir: &Path, flushes: Flushes, victim: Victim) -> anyhow::Result<(Duration, usize)> {
    let mut site = Site::start_warm(dir, flushes).await?;
    let mut claims = site.observer.listen_to_questions(format!("{PREFIX}.c.*")).await?;
    let mut results = site.observer.listen_to_questions(format!("{PREFIX}.e.*")).await?;
    let simulation = Simulation { latency_ms: AGENT_MS, ..Simulation::default() };
    let run = site.submit(0, &RunSpec { simulation, ..w1_spec() }).await?;
    wait_for(&mut results, KILL_AFTER).await?;
    let killed = Instant::now();
    kill_and_restart(&mut site, victim).await?;
    let ended = site.ended(0, &run).await?;
    let texts = read_result(&site, &run).await?;
    let recovered = ended.max(killed) - killed;
    anyhow::ensure!(texts == w1_expected(), "the result is wrong");
    let twice = begun_twice(&drain(&mut claims), &run).union(&tried_again(&site, &run).await?).count();
    Ok((recovered, twice))
}

/// The process that answers may be the one that was killed, which is not back yet.
async fn read_result(site: &Site, run: &RunId) -> anyhow::Result<Vec<String>> {
    let begun = Instant::now();
    loop {
        match site.texts(run).await {
            Ok(texts) => return Ok(texts),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            Err(_not_yet) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn wait_for(results: &mut mpsc::UnboundedReceiver<Heard>, count: usize) -> anyhow::Result<()> {
    for _ in 0..count {
        let result = tokio::time::timeout(PATIENCE, results.recv()).await;
        result.context("the run does not come so far")?.context("the observer is gone")?;
    }
    Ok(())
}

async fn kill_and_restart(site: &mut Site, victim: Victim) -> anyhow::Result<()> {
    let (workers, coordinators) = match victim {
        Victim::Worker => (true, false),
        Victim::Coordinator => (false, true),
        Victim::Both => (true, true),
        Victim::Broker => {
            site.server.kill();
            let started = site.server.restart().await;
            return started.map_err(|error| anyhow::anyhow!("the server does not come back: {error}"));
        }
    };
    let mut victims: Vec<_> = site
        .workers
        .iter_mut()
        .filter(|_| workers)
        .chain(site.coordinators.iter_mut().filter(|_| coordinators))
        .collect();
    victims.iter_mut().for_each(|process| process.kill());
    victims.iter_mut().try_for_each(|process| process.restart())
}

/// Agents that several workers, or one for several attempts, asked to begin. A claim that was heard need not have been
/// granted, so it is at most so many.
fn begun_twice(claims: &[Heard], run: &RunId) -> BTreeSet<u32> {
    let mut asked: BTreeMap<u32, BTreeSet<(u32, String)>> = BTreeMap::new();
    for heard in claims {
        if let Ok(WorkerRequest::Claim(claim)) = decode(&heard.message.payload)
            && claim.attempt.run == *run
        {
            asked.entry(claim.attempt.agent).or_default().insert((claim.attempt.attempt, claim.worker.0));
        }
    }
    asked.into_iter().filter(|(_, asked)| asked.len() > 1).map(|(agent, _)| agent).collect()
}

/// Agents of which the journal has several attempts.
async fn tried_again(site: &Site, run: &RunId) -> anyhow::Result<BTreeSet<u32>> {
    let stored = site.stored(run).await?;
    let agents = stored.run.state().agents.iter();
    let numbered = (1..).zip(agents);
    Ok(numbered.filter(|(_, agent)| agent.attempts > 1).map(|(number, _)| number).collect())
}
