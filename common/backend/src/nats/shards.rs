//! Shards: attaching one brings its results and the questions about its runs to this process.

use super::backend::Bus;
use super::control::NatsControl;
use super::results::NatsResults;
use async_trait::async_trait;
use skein_common::ports::{BoxError, Shard, Shards, ShardsError};
use std::sync::Arc;

/// The shards of the cluster, as this process has them.
#[derive(Debug)]
pub(super) struct NatsShards {
    bus: Arc<Bus>,
    results: Arc<NatsResults>,
    control: Arc<NatsControl>,
    steering: Arc<NatsControl>,
}

#[derive(Debug, thiserror::Error)]
#[error("there are {count} shards, and no shard {shard}")]
struct NoShard {
    shard: Shard,
    count: Shard,
}

impl NatsShards {
    pub fn new(
        bus: Arc<Bus>,
        results: Arc<NatsResults>,
        control: Arc<NatsControl>,
        steering: Arc<NatsControl>,
    ) -> NatsShards {
        NatsShards { bus, results, control, steering }
    }

    async fn try_attach(&self, shard: Shard) -> Result<(), BoxError> {
        let count = self.count();
        if shard >= count {
            return Err(NoShard { shard, count }.into());
        }
        self.control.attach(shard).await?;
        self.steering.attach(shard).await?;
        self.results.attach(shard).await?;
        Ok(())
    }
}

#[async_trait]
impl Shards for NatsShards {
    fn count(&self) -> Shard {
        self.bus.settings.shards
    }

    async fn attach(&self, shard: Shard) -> Result<(), ShardsError> {
        self.try_attach(shard).await.map_err(|source| ShardsError::Unavailable { source })
    }

    async fn detach(&self, shard: Shard) {
        self.control.detach(shard);
        self.steering.detach(shard);
        self.results.detach(shard).await;
    }
}
