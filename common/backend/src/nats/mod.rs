//! The backend of a cluster: NATS for what must last, what waits, who owns what, and who asks whom.
//!
//! Every process of a cluster connects to the same servers. Journal, blobs, directory and leases lie in streams of the
//! server's store; what workers and owners say to each other passes through it.

mod answering;
mod api;
mod backend;
mod background;
mod batch;
mod blobs;
mod bootstrap;
mod bundle;
mod config;
mod connection;
mod consumers;
mod control;
mod delivered;
mod direct;
mod directory;
mod error;
mod feed;
mod feed_queue;
mod hosts;
mod inbox;
mod intake;
mod journal;
mod layout;
mod lease_watch;
mod leases;
mod marks;
mod messaging;
mod names;
mod patience;
mod pool;
mod pull_status;
mod puller;
mod results;
mod scan;
#[cfg(any(test, feature = "test-server"))]
pub mod server;
mod shards;
mod stored;
mod tasks;
mod watcher;

#[cfg(test)]
mod tests;

pub use backend::NatsBackend;
pub use bundle::questions_of;
pub use config::NatsConfig;
pub use error::NatsError;
