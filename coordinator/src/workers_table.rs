//! The table of workers: who may have attempts, for coordinators that have heard of nobody yet. Each worker puts itself
//! in; who falls silent is struck off. The pools that workers served have a table, too, and stay.

use bytes::Bytes;
use skein_common::ports::{Directory, DirectoryError};
use skein_common::wire::WorkerInfo;

/// The table of the directory; its keys are nodes.
pub const WORKERS_TABLE: &str = "workers";

/// Its keys are pools.
const POOLS_TABLE: &str = "pools";

/// The pools that were ever served.
///
/// # Errors
/// The directory does not answer.
pub async fn pools(directory: &dyn Directory) -> Result<Vec<String>, DirectoryError> {
    Ok(directory.list(POOLS_TABLE).await?.into_iter().map(|(pool, _)| pool).collect())
}

/// This pool is served.
///
/// # Errors
/// The directory does not answer.
pub async fn note_pool(directory: &dyn Directory, pool: &str) -> Result<(), DirectoryError> {
    directory.put(POOLS_TABLE, pool, Bytes::new()).await
}

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
