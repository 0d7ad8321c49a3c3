//! The workers that made themselves known, and telling one to drain (A8).

use skein_common::ports::{ControlError, DirectoryError, Ports};
use skein_common::wire::{Broadcast, WireError, WorkerInfo, WorkerOrder, encode};

/// The table of the Directory port in which workers stand, as JSON of [`WorkerInfo`] under their node.
pub const WORKERS_TABLE: &str = "workers";

/// Why workers cannot be listed or told something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkersError {
    #[error("there is no worker {name}; `skein workers` lists them")]
    NotFound { name: String },
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// All workers, by their node.
///
/// # Errors
/// The store does not answer.
pub async fn workers(ports: &Ports) -> Result<Vec<WorkerInfo>, WorkersError> {
    let mut known = Vec::new();
    for (node, entry) in ports.directory.list(WORKERS_TABLE).await? {
        match serde_json::from_slice(&entry) {
            Ok(info) => known.push(info),
            Err(error) => tracing::warn!(node, %error, "worker not listed: its entry is of another version"),
        }
    }
    Ok(known)
}

/// Tells a worker, named by its id or its node, to take nothing new, finish what it runs, and end. Gives how it stood.
///
/// # Errors
/// There is no such worker, or it cannot be told.
pub async fn drain_worker(ports: &Ports, name: &str) -> Result<WorkerInfo, WorkersError> {
    let is_meant = |info: &WorkerInfo| info.id.0 == name || info.node == name;
    let found = workers(ports).await?.into_iter().find(is_meant);
    let info = found.ok_or_else(|| WorkersError::NotFound { name: name.to_owned() })?;
    // By its id: another life of the node, begun meanwhile, is not meant.
    let order = WorkerOrder::Drain { worker: info.id.0.clone() };
    ports.control.broadcast(encode(&Broadcast::Order(order))?).await?;
    Ok(info)
}
