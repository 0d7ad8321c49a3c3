//! A feed that counts what its watchers missed.

use crate::metrics::Metrics;
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{Feed, FeedItem, FeedSubscription};
use std::sync::Arc;

/// The feed of a coordinator.
pub(crate) struct CountedFeed {
    inner: Arc<dyn Feed>,
    metrics: Arc<Metrics>,
}

struct CountedSubscription {
    inner: Box<dyn FeedSubscription>,
    metrics: Arc<Metrics>,
}

impl CountedFeed {
    pub fn new(inner: Arc<dyn Feed>, metrics: Arc<Metrics>) -> CountedFeed {
        CountedFeed { inner, metrics }
    }
}

impl Feed for CountedFeed {
    fn publish(&self, topic: &str, item: Bytes) {
        self.inner.publish(topic, item);
    }

    fn subscribe(&self, topic: &str) -> Box<dyn FeedSubscription> {
        Box::new(CountedSubscription { inner: self.inner.subscribe(topic), metrics: self.metrics.clone() })
    }
}

#[async_trait]
impl FeedSubscription for CountedSubscription {
    async fn next(&mut self) -> Option<FeedItem> {
        let item = self.inner.next().await;
        if let Some(FeedItem::Missed(items)) = &item {
            self.metrics.dropped(*items);
        }
        item
    }
}
