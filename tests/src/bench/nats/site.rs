//! Site: a NATS server, coordinators and workers as people start them, each a process of its own with every setting at
//! its default.

use super::observer::Observer;
use super::process::Process;
use anyhow::Context as _;
use serde_json::{Value, json};
use skein_backend::nats::server::{TestServer, Version};
use skein_backend::nats::{NatsBackend, NatsConfig};
use skein_common::RunId;
use skein_common::config::NatsSettings;
use skein_common::run::RunSpec;
use skein_coordinator::StoredRun;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Begins the names of everything on the server.
pub const PREFIX: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// When the server flushes what it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushes {
    /// First, as `deploy/nats` has it.
    Always,
    /// Within two minutes, as the server comes.
    Sometimes,
}

impl Flushes {
    /// Beside the port; `{dir}` is the server's folder.
    fn lines(self) -> &'static str {
        match self {
            Flushes::Always => "jetstream { store_dir: \"{dir}/store\", sync_interval: always }\nmax_payload: 8MB",
            Flushes::Sometimes => "jetstream { store_dir: \"{dir}/store\" }\nmax_payload: 8MB",
        }
    }
}

/// Processes of one cluster, and who watches them.
pub struct Site {
    pub server: TestServer,
    pub observer: Observer,
    pub coordinators: Vec<Process>,
    pub workers: Vec<Process>,
    dir: PathBuf,
}

impl Site {
    /// A server of its own, and so many processes, which are ready. Each part has not worked yet.
    pub async fn start(dir: &Path, flushes: Flushes, coordinators: usize, workers: usize) -> anyhow::Result<Site> {
        let mut site = Site::empty(dir, flushes).await?;
        for _ in 0..coordinators {
            site.add_coordinator()?;
        }
        for _ in 0..workers {
            site.add_worker(&[])?;
        }
        site.ready().await?;
        Ok(site)
    }

    /// The same after a small run.
    pub async fn start_warm(dir: &Path, flushes: Flushes) -> anyhow::Result<Site> {
        let mut site = Site::start(dir, flushes, 1, 1).await?;
        let spec = crate::system::spec(&crate::bench::workloads::parallel(1));
        let run = site.submit(0, &spec).await?;
        site.ended(0, &run).await?;
        Ok(site)
    }

    pub async fn empty(dir: &Path, flushes: Flushes) -> anyhow::Result<Site> {
        std::fs::create_dir_all(dir.join("home"))?;
        let store = tempfile::Builder::new().prefix("nats-").tempdir_in(dir)?;
        let server = TestServer::start_in(Version::New, store, flushes.lines()).await;
        let server = server.map_err(|error| anyhow::anyhow!("no NATS server: {error}"))?;
        let observer = Observer::start(&server.url()).await?;
        Ok(Site { server, observer, coordinators: Vec::new(), workers: Vec::new(), dir: dir.to_owned() })
    }

    pub fn add_coordinator(&mut self) -> anyhow::Result<()> {
        let name = format!("coordinator-{}", self.coordinators.len());
        self.coordinators.push(Process::coordinator(&self.dir, &name, &self.server.url())?);
        Ok(())
    }

    pub fn add_worker(&mut self, args: &[&str]) -> anyhow::Result<()> {
        let name = format!("worker-{}", self.workers.len());
        self.workers.push(Process::worker(&self.dir, &name, &self.server.url(), args)?);
        Ok(())
    }

    /// Waits until the coordinators share all shards and know all workers.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.is_ready().await {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the processes do not come together");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let mut owned = 0;
        let mut count = None;
        for coordinator in &self.coordinators {
            let Some(standing) = coordinator.get("/coordinator").await else { return false };
            let shards = standing["shards"]["owned"].as_array().map_or(0, Vec::len);
            if shards == 0 {
                return false;
            }
            owned += shards;
            count = standing["shards"]["count"].as_u64();
        }
        let known = match self.coordinators.first() {
            Some(coordinator) => coordinator.get("/workers").await,
            None => None,
        };
        let known = known.and_then(|workers| workers.as_array().map(Vec::len));
        known == Some(self.workers.len()) && count == u64::try_from(owned).ok()
    }

    /// Hands a run to this coordinator, as a client does.
    pub async fn submit(&self, coordinator: usize, spec: &RunSpec) -> anyhow::Result<RunId> {
        let coordinator = self.coordinators.get(coordinator).context("no such coordinator")?;
        let answer = coordinator.call("POST", "/runs", json!({ "spec": spec }).to_string()).await;
        let answer = answer.context("nobody takes the run")?;
        anyhow::ensure!(answer.status == 201, "the run is not taken: {}", answer.body);
        Ok(serde_json::from_value(answer.json()["run"].clone())?)
    }

    /// Waits until the run's end is announced, or can be read where nobody heard it.
    pub async fn ended(&mut self, coordinator: usize, run: &RunId) -> anyhow::Result<Instant> {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.observer.end_of(run).await {
                return Ok(at);
            }
            if self.result_of(coordinator, run).await.is_some() {
                return Ok(Instant::now());
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the run does not end");
        }
    }

    /// What the run gave back, once it has ended.
    pub async fn result_of(&self, coordinator: usize, run: &RunId) -> Option<Value> {
        self.coordinators.get(coordinator)?.get(&format!("/runs/{run}/result")).await
    }

    /// The texts that a run gave back.
    pub async fn texts(&self, run: &RunId) -> anyhow::Result<Vec<String>> {
        let result = self.result_of(0, run).await.context("the run has no result")?;
        Ok(serde_json::from_value(result)?)
    }

    /// The run as its journal tells it, read past all coordinators.
    pub async fn stored(&self, run: &RunId) -> anyhow::Result<StoredRun> {
        let settings = NatsSettings { url: self.server.url(), prefix: PREFIX.to_owned(), ..NatsSettings::default() };
        let backend = NatsBackend::connect(NatsConfig { settings, node: None, bootstrap: false, role: None }).await?;
        Ok(skein_coordinator::load_run(backend.ports().journal.as_ref(), run).await?)
    }

    /// Memory of coordinators and workers with what they started, without the server: MiB.
    pub fn memory_mb(&self) -> f64 {
        let pids = self.coordinators.iter().chain(&self.workers).filter_map(Process::pid);
        crate::bench::measure::memory_below_mb(&pids.collect::<Vec<_>>())
    }
}
