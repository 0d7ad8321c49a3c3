//! What watchers of a run see, and how a watcher reads it.

use serde::{Deserialize, Serialize};
use skein_common::RunId;
use skein_common::ports::{Feed, FeedItem, FeedSubscription};
use skein_common::wire::decode;
use skein_engine::Event;

/// The feed topic of a run.
#[must_use]
pub fn topic(run: &RunId) -> String {
    format!("run.{run}")
}

/// One thing a watcher sees.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "snake_case")]
pub enum WatchItem {
    /// An event that is in the journal.
    Event { at_ms: i64, event: Box<Event> },
    /// The run as it stands, as the JSON of a `RunView`.
    View { json: String },
    /// So many items were lost here. The next view makes up for what stands in views; lines are in the journal.
    Missed { items: u64 },
}

/// Reads the items of one run.
pub struct Watcher {
    subscription: Box<dyn FeedSubscription>,
}

impl Watcher {
    /// Watches from now on.
    #[must_use]
    pub fn new(feed: &dyn Feed, run: &RunId) -> Watcher {
        Watcher { subscription: feed.subscribe(&topic(run)) }
    }

    /// The next item; `None` when nothing can come any more. What is no item of this version is passed over.
    pub async fn next(&mut self) -> Option<WatchItem> {
        loop {
            match self.subscription.next().await? {
                FeedItem::Missed(items) => return Some(WatchItem::Missed { items }),
                FeedItem::Item(bytes) => match decode(&bytes) {
                    Ok(item) => return Some(item),
                    Err(error) => tracing::debug!(%error, "feed item passed over"),
                },
            }
        }
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watcher")
    }
}
