//! Blobs: large texts of a run, by digest.

use super::BoxError;
use crate::{Digest, RunId};
use async_trait::async_trait;
use bytes::Bytes;

/// Large texts of a run, by digest.
///
/// Contract:
/// - After `put` answers, `get` of the same run and digest gives the same bytes, also after a kill of this process.
/// - Putting the same bytes again succeeds and stores nothing new.
/// - `get` of what was never put answers `Missing`.
/// - `get` never answers bytes of another digest: where others can write to the store, they are `Damaged`.
/// - `remove_run` removes all blobs of the run and of no other run.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores the bytes under their digest.
    async fn put(&self, run: &RunId, bytes: Bytes) -> Result<Digest, BlobError>;
    /// The bytes of this digest.
    async fn get(&self, run: &RunId, digest: &Digest) -> Result<Bytes, BlobError>;
    /// Removes the run's blobs.
    async fn remove_run(&self, run: &RunId) -> Result<(), BlobError>;
}

/// What a caller of [`Blobs`] can do something about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    #[error("blob {digest} of {run} is missing")]
    Missing { run: RunId, digest: Digest },
    /// Asking again gives the same.
    #[error("the stored bytes of blob {digest} of {run} are not those that were put")]
    Damaged { run: RunId, digest: Digest },
    #[error("blobs unavailable: {source}")]
    Unavailable {
        #[source]
        source: BoxError,
    },
}
