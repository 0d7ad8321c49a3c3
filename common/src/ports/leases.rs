//! Leases: who owns what, with a number that grows with each owner.

use super::BoxError;
use crate::Epoch;
use async_trait::async_trait;

/// Exclusive ownership of a named thing, such as a run or a shard.
///
/// Contract:
/// - While a lease is held, `acquire` of the same name answers `Held`.
/// - Each acquisition gets a higher epoch than every one before it, across restarts.
/// - A lease ends when it is released, when its holder's process dies, or when it is not renewed within its time. After
///   a death it may stay `Held` for a moment, while the system clears up: who takes over tries again briefly.
/// - `renew` of a lease that ended answers `Lost`.
/// - `holders` gives the held names that begin with a prefix, in their order, with their holders.
/// - A process that took over the node of a dead one (see `skein_backend::nats`) takes its leases without waiting.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes the lease for this owner, or says who has it.
    async fn acquire(&self, name: &str, owner: &str) -> Result<Lease, LeaseError>;
    /// Keeps it.
    async fn renew(&self, lease: &Lease) -> Result<(), LeaseError>;
    /// Gives it back; releasing what ended already succeeds.
    async fn release(&self, lease: &Lease) -> Result<(), LeaseError>;
    /// Waits until a lease, of whatever name, may have ended. It is a hint: not every end is told.
    async fn ended(&self) {
        std::future::pending().await
    }
    /// Who holds it now, if anybody does.
    async fn holder(&self, name: &str) -> Result<Option<String>, LeaseError>;
    /// Who holds which of the names that begin so.
    async fn holders(&self, prefix: &str) -> Result<Vec<(String, String)>, LeaseError>;
}

/// A lease that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub epoch: Epoch,
}

/// What a caller of [`Leases`] can do something about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Somebody holds it.
    #[error("{name} is held by {holder}")]
    Held { name: String, holder: String },
    /// It is not ours any more.
    #[error("the lease of {name} was lost")]
    Lost { name: String },
    /// The store did not answer.
    #[error("leases unavailable")]
    Unavailable {
        #[source]
        source: BoxError,
    },
}
