//! Shards: which part of the runs comes to this process, where several share them.

use super::BoxError;
use crate::RunId;
use async_trait::async_trait;

/// A part of all runs, from 0.
pub type Shard = u16;

/// The shard of a run, of so many: FNV-1a (64 bit, offset 0xcbf29ce484222325, prime 0x100000001b3) of its id. Every
/// process of a cluster has to agree, so this never changes.
#[must_use]
pub fn shard_of(run: &RunId, shards: Shard) -> Shard {
    let hash = run
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    u16::try_from(hash % u64::from(shards.max(1))).unwrap_or(0)
}

/// Which questions of workers and which results come to this process.
///
/// Contract:
/// - `count` never changes in the life of a cluster.
/// - After `attach`, questions about the runs of the shard and their results come to this process, also those results
///   that an earlier owner consumed and did not mark done.
/// - After `detach` they do not.
#[async_trait]
pub trait Shards: Send + Sync {
    fn count(&self) -> Shard;
    /// The process owns the shard from now on.
    async fn attach(&self, shard: Shard) -> Result<(), ShardsError>;
    /// It does no more.
    async fn detach(&self, shard: Shard);
}

/// What a caller of [`Shards`] can do something about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardsError {
    #[error("shards unavailable")]
    Unavailable {
        #[source]
        source: BoxError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_run_never_changes() {
        let run = |text: &str| text.parse::<RunId>().expect("an id");
        assert_eq!(shard_of(&run("wf_01kb3v9m5c7w8t3xq2r4y6z8a0"), 16), 4);
        let spread: std::collections::BTreeSet<Shard> =
            (0..200).map(|_| shard_of(&RunId::from_uuid(uuid::Uuid::now_v7()), 16)).collect();
        assert_eq!(spread.len(), 16, "every shard has runs");
    }
}
