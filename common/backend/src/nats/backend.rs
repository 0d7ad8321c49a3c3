//! The connected backend: what its parts share, and the ports made of them.

use super::config::NatsConfig;
use super::connection::Connection;
use super::error::NatsError;
use super::names::Names;
use skein_common::RunId;
use skein_common::config::NatsSettings;
use skein_common::ports::{Shard, shard_of};
use std::sync::Arc;

/// What the adapters of one process share.
#[derive(Debug)]
pub(super) struct Bus {
    pub connection: Connection,
    pub names: Names,
    pub settings: NatsSettings,
}

impl Bus {
    /// The shard that this run is of.
    pub fn shard(&self, run: &RunId) -> Shard {
        shard_of(run, self.settings.shards)
    }
}

/// A process that joined a cluster. Clones share it.
#[derive(Debug, Clone)]
pub struct NatsBackend {
    bus: Arc<Bus>,
    notes: Vec<String>,
}

impl NatsBackend {
    /// Joins the cluster.
    ///
    /// # Errors
    /// When no server answers, or what is on it is not what this process needs.
    pub async fn connect(config: NatsConfig) -> Result<NatsBackend, NatsError> {
        let names = Names::new(&config.settings.prefix)?;
        let connection = Connection::open(&config.settings).await?;
        let bus = Arc::new(Bus { connection, names, settings: config.settings });
        Ok(NatsBackend { bus, notes: Vec::new() })
    }

    /// What the server lacks that a cluster for production needs, in sentences.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}
