//! The backend of one machine: SQLite for what must last, locks on files for ownership, queues in memory for the rest.
//!
//! Any number of processes of one user share a store. Journal, blobs, directory and leases are common to them; tasks,
//! results, control and feed stay inside one process, because a run and its workers do.

mod blobs;
mod changes;
mod control;
mod database;
mod directory;
mod feed;
mod file_system;
mod journal;
mod leases;
pub(crate) mod lock_file;
mod open_error;
mod readers;
mod results;
mod store;
mod tasks;
mod writer;

#[cfg(test)]
mod tests;

pub use changes::Changes;
pub use file_system::network_file_system;
pub use open_error::OpenError;
#[cfg(test)]
pub(crate) use store::Settings;
pub use store::Store;
