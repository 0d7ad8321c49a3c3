//! Pools: which of them are served, also while none of their workers is there. A pool whose workers are away for a while
//! is waited for; one that nobody ever served is a mistake of who named it.
//!
//! A table of the directory has them, because who waited so far may have died.

use super::Attempts;
use skein_common::ports::Target;
use skein_common::wire::WorkerInfo;
use std::collections::BTreeSet;

/// More pools than a cluster has. Heartbeats name pools, and anybody may send them.
const POOLS_MAX: usize = 4096;
/// A longer name is none of a pool that anybody set up.
const NAME_BYTES_MAX: usize = 256;

/// The pools that were ever served.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// The table has been read.
    is_read: bool,
    known: BTreeSet<String>,
    /// Those that the table does not have yet.
    new: BTreeSet<String>,
}

impl Pools {
    /// A worker says which it serves.
    pub(super) fn hear(&mut self, info: &WorkerInfo) {
        for pool in info.pools.iter().filter(|pool| pool.len() <= NAME_BYTES_MAX) {
            if self.known.len() < POOLS_MAX && !self.known.contains(pool) {
                self.known.insert(pool.clone());
                self.new.insert(pool.clone());
            }
        }
    }

    /// Whether workers of this target may come back. Until the table is read, nobody knows.
    pub(super) fn may_be_served(&self, target: &Target) -> bool {
        match target {
            Target::Pool(pool) => !self.is_read || self.known.contains(pool),
            Target::Host(_) => false,
        }
    }
}

impl Attempts {
    /// What the table of pools has.
    pub fn know_pools(&mut self, pools: impl IntoIterator<Item = String>) {
        self.pools.is_read = true;
        let room = POOLS_MAX.saturating_sub(self.pools.known.len());
        for pool in pools.into_iter().take(room) {
            self.pools.new.remove(&pool);
            self.pools.known.insert(pool);
        }
    }

    /// What the table of pools lacks.
    #[must_use]
    pub fn new_pools(&self) -> Vec<String> {
        self.pools.new.iter().cloned().collect()
    }

    /// The table of pools has it.
    pub fn pool_is_noted(&mut self, pool: &str) {
        self.pools.new.remove(pool);
    }
}
