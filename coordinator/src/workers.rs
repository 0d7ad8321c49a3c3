//! The workers that made themselves known, and telling one to drain (A8).

use crate::workers_table;
use skein_common::ports::{ControlError, DirectoryError, Ports};
use skein_common::wire::{Broadcast, WireError, WorkerInfo, WorkerOrder, encode};

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
    Ok(workers_table::list(ports.directory.as_ref()).await?)
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
