//! What a coordinator is given to share runs with others.

use super::fenced_journal::{FenceCounters, FencedJournal};
use super::holdings::Holdings;
use super::shard_loop::{RunsOfShards, ShardLoop};
use super::sharded_leases::ShardedLeases;
use super::terms::Terms;
use skein_common::ports::{Leases, Ports, Shards};
use std::sync::Arc;
use std::time::Duration;

/// One process's part of the shards.
#[derive(Clone)]
pub(crate) struct ShardOwner {
    /// Those of the store.
    leases: Arc<dyn Leases>,
    shards: Arc<dyn Shards>,
    pub holdings: Arc<Holdings>,
    pub counters: Arc<FenceCounters>,
}

impl ShardOwner {
    /// The ports as the coordinator has to use them, and what keeps its part; `None` where each run is owned by itself.
    /// `node` names this process among others, `lease` is the time after which the store lets others have what it held.
    pub fn share(ports: Ports, node: String, lease: Duration) -> (Ports, Option<ShardOwner>) {
        let Some(shards) = ports.shards.clone() else { return (ports, None) };
        let holdings = Arc::new(Holdings::new(shards.count(), Terms::new(lease), node));
        let journal = FencedJournal::new(ports.journal.clone(), holdings.clone());
        let owner = ShardOwner {
            leases: ports.leases.clone(),
            shards,
            holdings: holdings.clone(),
            counters: journal.counters(),
        };
        let leases = Arc::new(ShardedLeases::new(ports.leases.clone(), holdings));
        (Ports { journal: Arc::new(journal), leases, ..ports }, Some(owner))
    }

    /// The loop that keeps it.
    pub fn shard_loop<R: RunsOfShards>(&self, runs: R) -> ShardLoop<R> {
        ShardLoop::new(self.leases.clone(), self.shards.clone(), self.holdings.clone(), runs)
    }
}
