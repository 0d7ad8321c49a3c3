//! The connected backend: what its parts share, and the ports made of them.

use super::blobs::NatsBlobs;
use super::config::NatsConfig;
use super::connection::{Connection, RequestError};
use super::directory::NatsDirectory;
use super::error::NatsError;
use super::journal::NatsJournal;
use super::layout::Level;
use super::leases::NatsLeases;
use super::messaging::Messaging;
use super::names::Names;
use super::{bootstrap, layout};
use skein_common::RunId;
use skein_common::config::NatsSettings;
use skein_common::ports::{Ports, Shard, shard_of};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// What the adapters of one process share.
#[derive(Debug)]
pub(super) struct Bus {
    pub connection: Connection,
    /// For what is large, so that it does not delay what is urgent; made when it is needed first.
    bulk: OnceCell<Connection>,
    /// To which the answers of both come.
    inbox: Option<String>,
    pub names: Names,
    pub settings: NatsSettings,
    /// The node whose lock this process holds.
    pub node: Option<String>,
    pub level: Level,
}

impl Bus {
    /// The shard that this run is of.
    pub fn shard(&self, run: &RunId) -> Shard {
        shard_of(run, self.settings.shards)
    }

    /// A message that is not marked done for so long is delivered again.
    pub fn ack_wait(&self) -> Duration {
        Duration::from_millis(self.settings.ack_wait_ms)
    }

    /// The connection for what is large.
    pub async fn bulk(&self) -> Result<&Connection, RequestError> {
        let opening =
            self.bulk.get_or_try_init(|| Connection::open_with_inbox(&self.settings, self.inbox.as_deref())).await;
        opening.map_err(|error| RequestError::Other { subject: self.names.blobs_subjects(), source: error.into() })
    }
}

/// A process that joined a cluster. Clones share it.
#[derive(Debug, Clone)]
pub struct NatsBackend {
    pub(super) bus: Arc<Bus>,
    pub(super) storage: Storage,
    pub(super) messaging: Messaging,
    notes: Vec<String>,
}

/// The ports to what lies in streams.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    pub journal: Arc<NatsJournal>,
    pub leases: Arc<NatsLeases>,
    pub blobs: Arc<NatsBlobs>,
    pub directory: Arc<NatsDirectory>,
}

impl NatsBackend {
    /// Joins the cluster.
    ///
    /// # Errors
    /// When no server answers, or what is on it is not what this process needs.
    pub async fn connect(config: NatsConfig) -> Result<NatsBackend, NatsError> {
        let settings = &config.settings;
        bootstrap::check_settings(settings)?;
        let names = Names::new(&settings.prefix)?;
        let inbox = config.role.as_deref().map(|role| names.inbox(role));
        let connection = Connection::open_with_inbox(settings, inbox.as_deref()).await?;
        let level = bootstrap::level(&connection, settings)?;
        bootstrap::ensure(&connection, &layout::streams(&names, settings, level), config.bootstrap).await?;
        let notes = bootstrap::notes(&connection, level);
        let (settings, node) = (settings.clone(), config.node.clone());
        let bus = Arc::new(Bus { connection, bulk: OnceCell::new(), inbox, names, settings, node, level });
        let storage = Storage {
            journal: Arc::new(NatsJournal::new(bus.clone())),
            leases: Arc::new(NatsLeases::new(bus.clone())),
            blobs: Arc::new(NatsBlobs::new(bus.clone())),
            directory: Arc::new(NatsDirectory::new(bus.clone())),
        };
        bootstrap::agree(&storage.directory, &config).await?;
        let messaging = Messaging::new(&bus);
        Ok(NatsBackend { bus, storage, messaging, notes })
    }

    /// The ports of this process. They share what is behind them: shards are attached to the process.
    #[must_use]
    pub fn ports(&self) -> Ports {
        let (storage, messaging) = (self.storage.clone(), self.messaging.clone());
        Ports {
            journal: storage.journal,
            leases: storage.leases,
            tasks: messaging.tasks,
            results: messaging.results,
            control: messaging.control,
            steering: messaging.steering,
            feed: messaging.feed,
            blobs: storage.blobs,
            directory: storage.directory,
            shards: Some(messaging.shards),
        }
    }

    /// Whether a server is connected now. What needs one waits meanwhile, or fails after a while.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.bus.connection.client().connection_state() == async_nats::connection::State::Connected
    }

    /// What the server lacks that a cluster for production needs, in sentences.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}
