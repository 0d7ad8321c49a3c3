//! Telemetry of this process: its metrics in one registry, and whether what it stands on lets it work.

use crate::exit::usage;
use crate::settings::Settings;
use actix_web::dev::ServerHandle;
use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use skein_backend::nats::NatsBackend;
use skein_common::metrics::{AllowedNames, Deliveries, Meters};
use skein_common::ports::Directory;
use skein_common::readiness::Readiness;
use skein_coordinator::api::{Gate, HostNames, Tokens, serve_watched};
use skein_coordinator::{Metrics, Telemetry, Watched};
use skein_worker::WorkerHandle;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Where a store is written to see whether it can be.
const PROBE: (&str, &str) = ("readiness", "probe");
/// A store that takes longer for one record is of no use to a run either. Shorter than SQLite waits for a lock.
const STORE_WAIT: Duration = Duration::from_secs(3);
/// Whoever asks more often gets the same answer: a stranger must not make a store write all the time.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The file of tokens of a worker's listener, in the node's folder.
const WORKER_TOKENS: &str = "metrics.token";

/// What all parts of a process count into.
pub struct Counting {
    meters: Meters,
    deliveries: Deliveries,
}

impl Counting {
    /// An empty registry, but for what the program is.
    ///
    /// # Errors
    /// None that is known.
    pub fn begin() -> anyhow::Result<Counting> {
        let meters = Meters::default();
        meters.say_build(env!("CARGO_PKG_VERSION"), env!("SKEIN_BUILD_COMMIT"))?;
        let deliveries = Deliveries::register(&meters)?;
        Ok(Counting { meters, deliveries })
    }

    /// With those of a coordinator.
    ///
    /// # Errors
    /// They are there already.
    pub fn of_coordinator(&self, settings: &Settings, readiness: Arc<dyn Readiness>) -> anyhow::Result<Telemetry> {
        let models = settings.metrics.models.iter().chain(&settings.runs.model).cloned();
        let metrics = Metrics::register(&self.meters, self.deliveries.clone(), AllowedNames::new(models))?;
        Ok(Telemetry { meters: self.meters.clone(), metrics: Arc::new(metrics), readiness })
    }

    /// With those of a worker.
    ///
    /// # Errors
    /// They are there already.
    pub fn of_worker(&self) -> anyhow::Result<skein_worker::Metrics> {
        Ok(skein_worker::Metrics::register(&self.meters, self.deliveries.clone())?)
    }

    /// For who watches a process that has no API.
    #[must_use]
    pub fn watched(&self, readiness: Arc<dyn Readiness>) -> Watched {
        Watched { meters: self.meters.clone(), readiness }
    }
}

/// A store on this machine: it can be written.
pub struct StoreReadiness {
    directory: Arc<dyn Directory>,
    last: Mutex<Option<(Instant, Vec<String>)>>,
}

impl StoreReadiness {
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>) -> StoreReadiness {
        StoreReadiness { directory, last: Mutex::default() }
    }

    async fn look(&self) -> Vec<String> {
        let (table, key) = PROBE;
        match timeout(STORE_WAIT, self.directory.put(table, key, Bytes::new())).await {
            Ok(Ok(())) => Vec::new(),
            Ok(Err(error)) => {
                tracing::warn!(%error, "not ready: the store cannot be written");
                vec![String::from("the store cannot be written")]
            }
            Err(_elapsed) => vec![String::from("the store takes too long to write one record")],
        }
    }
}

#[async_trait]
impl Readiness for StoreReadiness {
    async fn obstacles(&self) -> Vec<String> {
        let mut last = self.last.lock().await;
        if let Some((at, obstacles)) = last.as_ref()
            && at.elapsed() < LOOK_EVERY
        {
            return obstacles.clone();
        }
        let obstacles = self.look().await;
        *last = Some((Instant::now(), obstacles.clone()));
        obstacles
    }
}

/// A cluster's servers are connected.
pub struct BusReadiness(pub NatsBackend);

#[async_trait]
impl Readiness for BusReadiness {
    async fn obstacles(&self) -> Vec<String> {
        if self.0.is_connected() { Vec::new() } else { vec![String::from("no NATS server is connected")] }
    }
}

/// And the worker takes new tasks.
pub struct WorkerReadiness {
    pub bus: BusReadiness,
    pub worker: WorkerHandle,
}

#[async_trait]
impl Readiness for WorkerReadiness {
    async fn obstacles(&self) -> Vec<String> {
        let mut obstacles = self.bus.obstacles().await;
        if !self.worker.takes_tasks() {
            obstacles.push(String::from("this worker drains: it takes nothing new"));
        }
        obstacles
    }
}

/// The open listener of a worker.
pub struct WatchDoor {
    server: ServerHandle,
    /// What a person needs to know to come in.
    pub description: String,
}

impl WatchDoor {
    /// Serves metrics, health and readiness on the address; makes a file of tokens when metrics need one and there is
    /// none.
    ///
    /// # Errors
    /// The address is taken, the tokens cannot be used, or the system refuses.
    pub fn open(watched: Watched, settings: &Settings, address: SocketAddr) -> anyhow::Result<WatchDoor> {
        let metrics_open = settings.api.metrics_open;
        let (tokens, how) = if metrics_open {
            (Tokens::default(), String::from("to everybody"))
        } else {
            let file = settings.node_dir()?.join(WORKER_TOKENS);
            let tokens = Tokens::open_or_create(&file).map_err(|error| usage(error.to_string()))?;
            (tokens, format!("with the tokens of {}", file.display()))
        };
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let gate = Gate { tokens, hosts: HostNames::new(&settings.api.hosts, address), metrics_open };
        let description = format!("metrics on http://{address}/metrics, {how}");
        Ok(WatchDoor { server: serve_watched(watched, gate, listener)?, description })
    }

    /// Lets what is being answered be answered, and nobody else in.
    pub async fn close(self) {
        self.server.stop(true).await;
    }
}
