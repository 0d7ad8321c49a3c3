//! Results: ends of attempts on their way to the owner of the run.

use super::BoxError;
use crate::RunId;
use async_trait::async_trait;
use bytes::Bytes;

/// Ends of attempts on their way to the owner of the run.
///
/// Contract:
/// - A published result is delivered to the consumer of its run at least once, in the order of publication of one
///   publisher, until it is marked done.
/// - What is queued is delivered after every result of its run whose publication had ended before, whoever published it.
/// - Results of different runs do not wait for each other's `done`.
/// - `consume` waits while there is none; dropping it loses nothing.
/// - After `redeliver`, the results of the run that were consumed but are not done are delivered again.
#[async_trait]
pub trait Results: Send + Sync {
    /// Hands a result over; `Ok` means it will be delivered unless all of the backend is lost.
    async fn publish(&self, run: &RunId, result: Bytes) -> Result<(), ResultsError>;
    /// The same for what has to come behind all that was published before.
    async fn queue(&self, run: &RunId, result: Bytes) -> Result<(), ResultsError> {
        self.publish(run, result).await
    }
    /// The next results, 1 to `max`, for any run that this process owns.
    async fn consume(&self, max: usize) -> Result<Vec<ResultDelivery>, ResultsError>;
    /// The consumer of this run is a new one: it needs what the one before did not mark done.
    async fn redeliver(&self, run: &RunId) -> Result<(), ResultsError>;
    /// The journal has it: no further delivery.
    async fn done(&self, delivery: u64) -> Result<(), ResultsError>;
}

/// A result as the owner gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultDelivery {
    /// For [`Results::done`].
    pub delivery: u64,
    pub run: RunId,
    pub result: Bytes,
}

/// What a caller of [`Results`] can do something about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultsError {
    #[error("results unavailable")]
    Unavailable {
        #[source]
        source: BoxError,
    },
}
