//! The feed: what is published goes to the server in the order of the calls, as far as it keeps up.

use super::backend::Bus;
use super::background::Background;
use super::feed_queue::{Command, FeedQueue};
use super::watcher::{self, NatsWatcher, Ring};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use skein_common::ports::{Feed, FeedSubscription};
use std::sync::Arc;

/// Publisher and number of an item, by which watchers see what they missed.
pub(super) const ITEM: &str = "Sk-Item";

/// Publishes and watches. Clones share one order.
#[derive(Debug, Clone)]
pub(super) struct NatsFeed {
    bus: Arc<Bus>,
    queue: Arc<FeedQueue>,
    _sender: Arc<Background>,
}

impl NatsFeed {
    pub fn new(bus: Arc<Bus>) -> NatsFeed {
        let queue = Arc::new(FeedQueue::new());
        let sender = Background::start(send(bus.connection.client().clone(), queue.clone()));
        NatsFeed { bus, queue, _sender: Arc::new(sender) }
    }

    /// Shows an item to those who watch the subject.
    pub fn publish_to(&self, subject: String, item: Bytes) {
        self.queue.publish(subject, item);
    }

    /// Watches the subject.
    pub fn subscribe_to(&self, subject: String) -> NatsWatcher {
        let ring = Arc::new(Ring::new(self.queue.position(&subject)));
        let watcher = NatsWatcher::new(ring.clone());
        self.queue.subscribe(subject, ring);
        watcher
    }
}

impl Feed for NatsFeed {
    fn publish(&self, topic: &str, item: Bytes) {
        self.publish_to(self.bus.names.feed(topic), item);
    }

    fn subscribe(&self, topic: &str) -> Box<dyn FeedSubscription> {
        Box::new(self.subscribe_to(self.bus.names.feed(topic)))
    }
}

/// Carries out what is queued, for as long as the connection lives. Without a server it waits here, and the queue
/// loses its oldest items.
async fn send(client: Client, queue: Arc<FeedQueue>) {
    loop {
        let sent = match queue.next().await {
            Command::Publish(item) => {
                let mut headers = HeaderMap::new();
                headers.insert(ITEM, item.number.to_string());
                client.publish_with_headers(item.subject, headers, item.bytes).await.is_ok()
            }
            Command::Subscribe { subject, ring } => match client.subscribe(subject).await {
                Ok(messages) => {
                    watcher::fill(&ring, messages);
                    true
                }
                Err(_) => false,
            },
        };
        if !sent {
            tracing::debug!("an item for watchers was not sent");
        }
    }
}
