//! The table of workers: who may have attempts, for coordinators that have heard of nobody yet. Each worker puts itself
//! in; who falls silent is struck off.

use skein_common::ports::{Directory, DirectoryError};
use skein_common::wire::WorkerInfo;

/// The table of the directory; its keys are nodes.
pub const WORKERS_TABLE: &str = "workers";

/// Puts a worker in, or replaces an earlier life of it.
///
/// # Errors
/// The directory does not answer.
pub async fn put(directory: &dyn Directory, info: &WorkerInfo) -> Result<(), DirectoryError> {
    let json = serde_json::to_vec(info).map_err(|error| DirectoryError::Unavailable { source: Box::new(error) })?;
    directory.put(WORKERS_TABLE, &info.node, json.into()).await
}

/// All workers that may live, in the order of their nodes.
///
/// # Errors
/// The directory does not answer.
pub async fn list(directory: &dyn Directory) -> Result<Vec<WorkerInfo>, DirectoryError> {
    let entries = directory.list(WORKERS_TABLE).await?;
    Ok(entries
        .into_iter()
        .filter_map(|(node, bytes)| {
            serde_json::from_slice(&bytes)
                .inspect_err(|error| tracing::warn!(%error, node, "an entry of the table of workers is none"))
                .ok()
        })
        .collect())
}

/// Strikes this life of a worker off.
///
/// # Errors
/// The directory does not answer.
pub async fn remove(directory: &dyn Directory, worker: &WorkerInfo) -> Result<(), DirectoryError> {
    let there = directory.get(WORKERS_TABLE, &worker.node).await?;
    let there: Option<WorkerInfo> = there.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    // It may have come back meanwhile.
    if there.is_some_and(|there| there.id == worker.id) {
        directory.remove(WORKERS_TABLE, &worker.node).await?;
    }
    Ok(())
}
