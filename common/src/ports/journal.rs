//! Journal: durable, ordered records of one run.

use super::BoxError;
use crate::RunId;
use async_trait::async_trait;
use bytes::Bytes;

/// Durable, ordered records of one run.
///
/// Contract:
/// - `append` succeeds only if exactly `expected` records of the run are stored, so two writers cannot both extend it.
/// - Records of one append are stored in order. After `Conflict` or `Refused` none of them is stored; after `Unknown`
///   any number of them may be, always the first ones.
/// - What an append acknowledged is durable: it is read back after a kill of this process or a loss of power.
/// - `read` gives the records from position `from` on (the first is 0), in order, each byte for byte.
/// - A run without records reads as empty. `remove` removes all records; removing nothing succeeds.
///
/// After `Conflict` or `Unknown` a caller reads the record at `expected`: if it is byte for byte its own, its append
/// succeeded.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Stores the records after the `expected` that are there; gives the new number of records.
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError>;
    /// The records from position `from` on.
    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError>;
    /// The runs that have records, in the order of their first append.
    async fn list(&self) -> Result<Vec<RunId>, JournalError>;
    /// Removes the run's records.
    async fn remove(&self, run: &RunId) -> Result<(), JournalError>;
    /// What an acknowledged append survives, for the start-up log.
    fn durability(&self) -> String;
}

/// What a caller of [`Journal`] can do something about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Someone else wrote first; nothing was stored.
    #[error("expected {expected} records but the journal holds {actual}")]
    Conflict { expected: u64, actual: u64 },
    /// Certainly not stored: disk full, read-only store.
    #[error("journal refused the records: {reason}")]
    Refused { reason: String },
    /// May or may not be stored.
    #[error("journal outcome unknown")]
    Unknown {
        #[source]
        source: BoxError,
    },
    /// The records cannot be read.
    #[error("journal cannot be read: {reason}")]
    Unreadable { reason: String },
}
