//! The ports that carry messages, as one process has them.

use super::backend::Bus;
use super::control::{Asker, NatsControl};
use super::feed::NatsFeed;
use super::results::NatsResults;
use super::shards::NatsShards;
use super::tasks::NatsTasks;
use std::sync::Arc;

/// They work together: a shard that is attached has results and questions.
#[derive(Debug, Clone)]
pub(super) struct Messaging {
    pub tasks: Arc<NatsTasks>,
    pub results: Arc<NatsResults>,
    pub control: Arc<NatsControl>,
    pub steering: Arc<NatsControl>,
    pub feed: Arc<NatsFeed>,
    pub shards: Arc<NatsShards>,
}

impl Messaging {
    pub fn new(bus: &Arc<Bus>) -> Messaging {
        let feed = NatsFeed::new(bus.clone());
        let control = Arc::new(NatsControl::new(bus.clone(), Asker::Workers, feed.clone()));
        let steering = Arc::new(NatsControl::new(bus.clone(), Asker::Owners, feed.clone()));
        let results = Arc::new(NatsResults::new(bus.clone()));
        let shards = NatsShards::new(bus.clone(), results.clone(), control.clone(), steering.clone());
        Messaging {
            tasks: Arc::new(NatsTasks::new(bus.clone())),
            results,
            control,
            steering,
            feed: Arc::new(feed),
            shards: Arc::new(shards),
        }
    }
}
