//! The ports: what Skein needs from the world, in bytes and ids only.
//!
//! Each has at least two adapters in `skein-backend`, and each sentence of a contract here is a check of its
//! conformance suite. No type of a library leaks through.

mod blobs;
mod control;
mod directory;
mod feed;
mod journal;
mod leases;
mod results;
mod shards;
mod tasks;

pub use blobs::{BlobError, Blobs};
pub use control::{Answers, Control, ControlError, ControlRequest, ControlServer, Reply};
pub use directory::{Directory, DirectoryError};
pub use feed::{Feed, FeedItem, FeedSubscription};
pub use journal::{Journal, JournalError};
pub use leases::{Lease, LeaseError, Leases};
pub use results::{ResultDelivery, Results, ResultsError};
pub use shards::{Shard, Shards, ShardsError, shard_of};
pub use tasks::{Target, TaskDelivery, Tasks, TasksError};

use std::sync::Arc;

/// An error of a library below a port, kept for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// All ports of one process, as its backend gives them.
#[derive(Clone)]
pub struct Ports {
    pub journal: Arc<dyn Journal>,
    pub leases: Arc<dyn Leases>,
    pub tasks: Arc<dyn Tasks>,
    pub results: Arc<dyn Results>,
    /// Workers ask owners.
    pub control: Arc<dyn Control>,
    /// The same between owners, for what people ask: no worker may use it.
    pub steering: Arc<dyn Control>,
    pub feed: Arc<dyn Feed>,
    pub blobs: Arc<dyn Blobs>,
    pub directory: Arc<dyn Directory>,
    /// `None` where each run is owned by itself.
    pub shards: Option<Arc<dyn Shards>>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}
