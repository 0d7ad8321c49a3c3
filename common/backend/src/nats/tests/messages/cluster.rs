//! Processes that share the work queues of a server.

use crate::nats::backend::Bus;
use crate::nats::connection::Connection;
use crate::nats::messaging::Messaging;
use crate::nats::names::Names;
use crate::nats::server::{TestServer, Version};
use crate::nats::streams;
use serde_json::Value;
use skein_common::config::NatsSettings;
use skein_common::ports::{BoxError, Shards as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::OnceCell;

/// Few, since each process attaches them all.
pub const SHARDS: u16 = 4;

static CLUSTERS: AtomicU64 = AtomicU64::new(0);

/// One cluster on a server.
pub struct Cluster {
    settings: NatsSettings,
}

/// One process of it.
pub struct Process {
    pub bus: Arc<Bus>,
    pub ports: Messaging,
}

/// The server that tests of this process share.
pub async fn shared(version: Version) -> Result<&'static TestServer, BoxError> {
    static NEW: OnceCell<TestServer> = OnceCell::const_new();
    static OLD: OnceCell<TestServer> = OnceCell::const_new();
    let server = if version == Version::New { &NEW } else { &OLD };
    server.get_or_try_init(|| TestServer::start_with(version, "")).await
}

impl Cluster {
    /// A new one on a server.
    pub async fn on(server: &TestServer) -> Result<Cluster, BoxError> {
        Cluster::with(server, |_| {}).await
    }

    /// The same with other settings.
    pub async fn with(server: &TestServer, change: impl FnOnce(&mut NatsSettings)) -> Result<Cluster, BoxError> {
        let prefix = format!("c{}", CLUSTERS.fetch_add(1, Ordering::Relaxed));
        let mut settings = NatsSettings { url: server.url(), prefix, shards: SHARDS, ..NatsSettings::default() };
        change(&mut settings);
        let cluster = Cluster { settings };
        let process = cluster.process().await?;
        let (names, settings) = (&process.bus.names, &process.bus.settings);
        for stream in [streams::tasks(names, settings), streams::results(names, settings)] {
            let name = stream["name"].as_str().unwrap_or_default();
            let _: Value = process.bus.connection.ask(&format!("STREAM.CREATE.{name}"), &stream).await?;
        }
        Ok(cluster)
    }

    /// A process that owns nothing.
    pub async fn process(&self) -> Result<Process, BoxError> {
        let connection = Connection::open(&self.settings).await?;
        let names = Names::new(&self.settings.prefix)?;
        let bus = Arc::new(Bus { connection, names, settings: self.settings.clone() });
        Ok(Process { ports: Messaging::new(&bus), bus })
    }

    /// A process that owns all shards.
    pub async fn owner(&self) -> Result<Process, BoxError> {
        let process = self.process().await?;
        for shard in 0..SHARDS {
            process.ports.shards.attach(shard).await?;
        }
        Ok(process)
    }
}
