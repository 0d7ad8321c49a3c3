//! Feed: what watchers see while it happens.

use async_trait::async_trait;
use bytes::Bytes;

/// Lossy items to watchers of a topic.
///
/// Contract:
/// - `publish` never waits and never fails: a slow watcher loses items, not the publisher time.
/// - A watcher gets items in the order of publication, each at most once, from its subscription on.
/// - A watcher that lost items is told how many before the next item.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Shows an item to those who watch `topic` now.
    fn publish(&self, topic: &str, item: Bytes);
    /// Watches `topic` from now on.
    fn subscribe(&self, topic: &str) -> Box<dyn FeedSubscription>;
}

/// The watching side of [`Feed`].
#[async_trait]
pub trait FeedSubscription: Send {
    /// The next item; `None` when nothing can come any more.
    async fn next(&mut self) -> Option<FeedItem>;
}

/// What a watcher gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    Item(Bytes),
    /// So many items were lost here.
    Missed(u64),
}
