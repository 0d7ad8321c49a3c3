//! Directory: small named records that everybody may list, such as the index of runs.

use super::BoxError;
use async_trait::async_trait;
use bytes::Bytes;

/// Small named records in named tables (`runs`, `workers`).
///
/// Contract:
/// - `put` replaces; `insert` stores only where nothing is, and gives what is there otherwise: of any number of
///   processes that insert under one key at once, one stores.
/// - `get` gives the newest; `list` gives all keys and values of a table in key order.
/// - A table or key nobody put is empty, not an error. `remove` of nothing succeeds.
#[async_trait]
pub trait Directory: Send + Sync {
    async fn put(&self, table: &str, key: &str, value: Bytes) -> Result<(), DirectoryError>;
    /// `None` when the value was stored, else the value that stays.
    async fn insert(&self, table: &str, key: &str, value: Bytes) -> Result<Option<Bytes>, DirectoryError>;
    async fn get(&self, table: &str, key: &str) -> Result<Option<Bytes>, DirectoryError>;
    async fn list(&self, table: &str) -> Result<Vec<(String, Bytes)>, DirectoryError>;
    async fn remove(&self, table: &str, key: &str) -> Result<(), DirectoryError>;
}

/// What a caller of [`Directory`] can do something about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    #[error("directory unavailable: {source}")]
    Unavailable {
        #[source]
        source: BoxError,
    },
}
