//! The feed in memory: a ring per watched topic.

use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{Feed, FeedItem, FeedSubscription};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::{self, error::RecvError};

/// Items that a watcher may be behind before it loses the oldest: about a second of a busy run.
const ITEMS_MAX: usize = 1024;

/// The watched topics of one process. A topic that nobody watches costs nothing.
#[derive(Debug, Clone, Default)]
pub struct LocalFeed {
    topics: Arc<Mutex<BTreeMap<String, broadcast::Sender<Bytes>>>>,
}

struct LocalSubscription {
    feed: LocalFeed,
    topic: String,
    items: broadcast::Receiver<Bytes>,
}

impl LocalFeed {
    fn topics(&self) -> MutexGuard<'_, BTreeMap<String, broadcast::Sender<Bytes>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed for LocalFeed {
    fn publish(&self, topic: &str, item: Bytes) {
        if let Some(watchers) = self.topics().get(topic) {
            // It fails when the last watcher is just leaving.
            let _ = watchers.send(item);
        }
    }

    fn subscribe(&self, topic: &str) -> Box<dyn FeedSubscription> {
        let mut topics = self.topics();
        let items = topics.entry(topic.to_owned()).or_insert_with(|| broadcast::Sender::new(ITEMS_MAX)).subscribe();
        drop(topics);
        Box::new(LocalSubscription { feed: self.clone(), topic: topic.to_owned(), items })
    }
}

#[async_trait]
impl FeedSubscription for LocalSubscription {
    async fn next(&mut self) -> Option<FeedItem> {
        match self.items.recv().await {
            Ok(item) => Some(FeedItem::Item(item)),
            Err(RecvError::Lagged(missed)) => Some(FeedItem::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
        let mut topics = self.feed.topics();
        if topics.get(&self.topic).is_some_and(|watchers| watchers.receiver_count() <= 1) {
            topics.remove(&self.topic);
        }
    }
}
