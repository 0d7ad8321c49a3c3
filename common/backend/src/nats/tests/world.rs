//! Clusters for tests: each has a prefix of its own on a server that all tests of this program share.

use crate::conformance::World;
use crate::faulty::{Faults, Plan, faulty};
use crate::nats::api::ApiError;
use crate::nats::connection::Connection;
use crate::nats::names::Names;
use crate::nats::server::{TestServer, Version};
use crate::nats::{NatsBackend, NatsConfig};
use async_trait::async_trait;
use serde_json::{Value, json};
use skein_common::config::NatsSettings;
use skein_common::ports::{BoxError, Lease, Ports, Shards as _};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Enough for some records of 1 KiB.
const CRAMPED_BYTES: u64 = 200_000;

/// Few, as most processes of tests attach them all.
pub const SHARDS: u16 = 4;

/// Longer than a test takes that does not wait for its end, on a machine that has much else to do.
const LEASE_MS: u64 = 8_000;
const LOOK_EVERY: Duration = Duration::from_millis(10);

static NEW: OnceCell<TestServer> = OnceCell::const_new();
static OLD: OnceCell<TestServer> = OnceCell::const_new();

/// The address of the server of this version that tests share.
pub async fn shared(version: Version) -> Result<String, BoxError> {
    let server = match version {
        Version::New => &NEW,
        Version::Old => &OLD,
    };
    Ok(server.get_or_try_init(|| TestServer::start_with(version, "")).await?.url())
}

/// Settings of a cluster that no other test uses.
pub fn new_cluster(url: String) -> NatsSettings {
    let prefix = format!("t{:016x}", rand::random::<u64>());
    NatsSettings { url, prefix, shards: SHARDS, lease_ms: LEASE_MS, ..NatsSettings::default() }
}

/// One cluster; each process is a connected backend of its own.
pub struct NatsWorld {
    pub settings: NatsSettings,
    faults: Option<u64>,
}

impl NatsWorld {
    pub async fn fresh() -> Result<NatsWorld, BoxError> {
        NatsWorld::on(Version::New).await
    }

    pub async fn fresh_on_old() -> Result<NatsWorld, BoxError> {
        NatsWorld::on(Version::Old).await
    }

    pub async fn fresh_with_faults() -> Result<NatsWorld, BoxError> {
        let seed = std::process::id().into();
        eprintln!("seed {seed}");
        Ok(NatsWorld { faults: Some(seed), ..NatsWorld::fresh().await? })
    }

    async fn on(version: Version) -> Result<NatsWorld, BoxError> {
        Ok(NatsWorld::with(new_cluster(shared(version).await?)))
    }

    pub fn with(settings: NatsSettings) -> NatsWorld {
        NatsWorld { settings, faults: None }
    }

    /// A process that joined.
    pub async fn backend(&self) -> Result<NatsBackend, BoxError> {
        Ok(NatsBackend::connect(NatsConfig::new(self.settings.clone())).await?)
    }

    /// A process that owns all shards.
    pub async fn owner(&self) -> Result<NatsBackend, BoxError> {
        let backend = self.backend().await?;
        for shard in 0..self.settings.shards {
            backend.messaging.shards.attach(shard).await?;
        }
        Ok(backend)
    }

    pub fn names(&self) -> Result<Names, BoxError> {
        Ok(Names::new(&self.settings.prefix)?)
    }

    /// A plain connection, to look at what lies on the server.
    pub async fn connection(&self) -> Result<Connection, BoxError> {
        Ok(Connection::open(&self.settings).await?)
    }
}

/// Changes one option of a stream behind everybody's back.
pub async fn change_stream(connection: &Connection, stream: &str, field: &str, value: Value) -> Result<(), ApiError> {
    let info: Value = connection.ask(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
    let mut config = info["config"].clone();
    config[field] = value;
    let _updated: Value = connection.ask(&format!("STREAM.UPDATE.{stream}"), &config).await?;
    Ok(())
}

#[async_trait]
impl World for NatsWorld {
    async fn process(&self) -> Result<Ports, BoxError> {
        let ports = self.owner().await?.ports();
        let plan = |seed| Plan { seed, faults: Faults::unnoticed(), crash: None };
        Ok(match self.faults {
            Some(seed) => faulty(ports, plan(seed)),
            None => ports,
        })
    }

    async fn cramped_process(&self) -> Result<Option<Ports>, BoxError> {
        let ports = self.process().await?;
        let stream = self.names()?.journal_stream();
        change_stream(&self.connection().await?, &stream, "max_bytes", json!(CRAMPED_BYTES)).await?;
        Ok(Some(ports))
    }

    async fn let_expire(&self, lease: &Lease) -> Result<bool, BoxError> {
        let other = self.process().await?.leases;
        while other.holder(&lease.name).await?.is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(true)
    }
}
