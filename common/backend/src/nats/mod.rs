//! The backend of a cluster: NATS for what must last, what waits, who owns what, and who asks whom.
//!
//! Every process of a cluster connects to the same servers. Journal, blobs, directory and leases lie in streams of the
//! server's store; what workers and owners say to each other passes through it.

mod api;
mod backend;
mod config;
mod connection;
mod error;
mod names;
#[cfg(any(test, feature = "test-server"))]
pub mod server;
#[cfg(test)]
mod tests;

pub use backend::NatsBackend;
pub use config::NatsConfig;
pub use error::NatsError;
