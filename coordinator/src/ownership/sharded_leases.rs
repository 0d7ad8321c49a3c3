//! Leases of runs, taken inside the process under the leases of their shards.

use super::holdings::{Holdings, RunHolder};
use super::names::shard_name;
use async_trait::async_trait;
use skein_common::RunId;
use skein_common::ports::{Lease, LeaseError, Leases};
use std::sync::Arc;

/// Gives runs to this process while it owns their shard, without asking anybody. Leases of other names are those of the
/// store.
pub(crate) struct ShardedLeases {
    inner: Arc<dyn Leases>,
    holdings: Arc<Holdings>,
}

impl ShardedLeases {
    pub fn new(inner: Arc<dyn Leases>, holdings: Arc<Holdings>) -> ShardedLeases {
        ShardedLeases { inner, holdings }
    }
}

#[async_trait]
impl Leases for ShardedLeases {
    async fn acquire(&self, name: &str, owner: &str) -> Result<Lease, LeaseError> {
        match name.parse::<RunId>() {
            Ok(run) => self.holdings.take_run(&run, owner),
            Err(_not_a_run) => self.inner.acquire(name, owner).await,
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<(), LeaseError> {
        match lease.name.parse::<RunId>() {
            Ok(run) if self.holdings.holds_run(&run, lease) => Ok(()),
            Ok(_) => Err(LeaseError::Lost { name: lease.name.clone() }),
            Err(_not_a_run) => self.inner.renew(lease).await,
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        match lease.name.parse::<RunId>() {
            Ok(run) => {
                self.holdings.release_run(&run, lease);
                Ok(())
            }
            Err(_not_a_run) => self.inner.release(lease).await,
        }
    }

    async fn holder(&self, name: &str) -> Result<Option<String>, LeaseError> {
        let Ok(run) = name.parse::<RunId>() else { return self.inner.holder(name).await };
        match self.holdings.holder_of_run(&run) {
            RunHolder::Somebody(holder) => Ok(Some(holder)),
            RunHolder::Nobody => Ok(None),
            RunHolder::Unknown(shard) => {
                let holder = self.inner.holder(&shard_name(shard)).await?;
                Ok(holder.filter(|holder| holder != self.holdings.node()))
            }
        }
    }

    async fn holders(&self, prefix: &str) -> Result<Vec<(String, String)>, LeaseError> {
        self.inner.holders(prefix).await
    }
}
