//! The watching side of the feed: a ring of the newest items, which knows how many are missing between them.

use super::background::Background;
use super::feed::ITEM;
use super::feed_queue::ItemNumber;
use async_nats::{Message, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use skein_common::ports::{FeedItem, FeedSubscription};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// Items that a watcher may be behind before it loses the oldest: about a second of a busy run.
const ITEMS_MAX: usize = 1024;
/// Publishers whose items are counted. A subject has few; whoever sends as many of other names is not counted.
const PUBLISHERS_MAX: usize = 1024;

/// One who watches.
#[derive(Debug)]
pub(super) struct NatsWatcher {
    ring: Arc<Ring>,
}

/// What a watcher has still to see.
#[derive(Debug)]
pub(super) struct Ring {
    state: Mutex<State>,
    arrived: Notify,
    filling: Mutex<Option<Background>>,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Waiting>,
    /// By publisher, the number that is expected next.
    expected: BTreeMap<u64, u64>,
    /// Lost before the first of the items.
    missed: u64,
    /// Nothing more can come.
    ended: bool,
}

#[derive(Debug)]
struct Waiting {
    /// Lost between the item before and this one.
    missed: u64,
    item: Bytes,
}

/// Puts what comes into the ring, until its watcher is gone.
pub(super) fn fill(ring: &Arc<Ring>, messages: Subscriber) {
    let filling = Background::start(pump(Arc::downgrade(ring), messages));
    *ring.filling.lock().unwrap_or_else(PoisonError::into_inner) = Some(filling);
}

async fn pump(ring: Weak<Ring>, mut messages: Subscriber) {
    while let Some(message) = messages.next().await {
        let Some(ring) = ring.upgrade() else { return };
        ring.put(message);
    }
    if let Some(ring) = ring.upgrade() {
        ring.state().ended = true;
        ring.arrived.notify_one();
    }
}

impl Ring {
    /// For a watcher before whom a publisher of this process showed so many items.
    pub fn new(position: ItemNumber) -> Ring {
        let expected = BTreeMap::from([(position.publisher, position.number)]);
        let state = State { expected, ..State::default() };
        Ring { state: Mutex::new(state), arrived: Notify::new(), filling: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, message: Message) {
        let number = message.headers.as_ref().and_then(|headers| headers.get(ITEM));
        let number = number.and_then(|text| text.as_str().parse().ok());
        self.state().put(number, message.payload);
        self.arrived.notify_one();
    }
}

impl State {
    fn put(&mut self, number: Option<ItemNumber>, item: Bytes) {
        let missed = number.map_or(0, |number| self.missing(number));
        self.items.push_back(Waiting { missed, item });
        if self.items.len() > ITEMS_MAX
            && let Some(lost) = self.items.pop_front()
        {
            self.missed = self.missed.saturating_add(lost.missed).saturating_add(1);
        }
    }

    /// How many items of this publisher did not come before this one.
    fn missing(&mut self, number: ItemNumber) -> u64 {
        let known = self.expected.contains_key(&number.publisher);
        if !known && self.expected.len() >= PUBLISHERS_MAX {
            return 0;
        }
        let expected = self.expected.insert(number.publisher, number.number.saturating_add(1));
        expected.map_or(0, |expected| number.number.saturating_sub(expected))
    }

    fn take(&mut self) -> Option<FeedItem> {
        let first = self.items.front_mut()?;
        let missed = std::mem::take(&mut self.missed).saturating_add(std::mem::take(&mut first.missed));
        if missed > 0 {
            return Some(FeedItem::Missed(missed));
        }
        self.items.pop_front().map(|first| FeedItem::Item(first.item))
    }
}

impl NatsWatcher {
    pub fn new(ring: Arc<Ring>) -> NatsWatcher {
        NatsWatcher { ring }
    }
}

#[async_trait]
impl FeedSubscription for NatsWatcher {
    async fn next(&mut self) -> Option<FeedItem> {
        loop {
            {
                let mut state = self.ring.state();
                if let Some(item) = state.take() {
                    return Some(item);
                }
                if state.ended {
                    return None;
                }
            }
            self.ring.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(n: u64) -> Bytes {
        Bytes::from(n.to_string())
    }

    fn number(publisher: u64, number: u64) -> Option<ItemNumber> {
        Some(ItemNumber { publisher, number })
    }

    fn ring() -> Ring {
        Ring::new(ItemNumber { publisher: 7, number: 100 })
    }

    #[test]
    fn what_is_missing_is_told_before_the_next_item() {
        let ring = ring();
        let mut state = ring.state();
        state.put(number(7, 102), item(102));
        state.put(number(8, 50), item(50));
        state.put(number(8, 51), item(51));
        state.put(None, item(0));
        state.put(number(8, 53), item(53));
        let seen: Vec<_> = std::iter::from_fn(|| state.take()).collect();
        let (item, missed) = (|n| FeedItem::Item(item(n)), FeedItem::Missed);
        assert_eq!(seen, [missed(2), item(102), item(50), item(51), item(0), missed(1), item(53)]);
    }

    #[test]
    fn a_full_ring_loses_the_oldest_and_counts_them() {
        let ring = ring();
        let mut state = ring.state();
        let count = ITEMS_MAX as u64 + 5;
        for n in 0..count {
            state.put(number(7, 100 + n + u64::from(n > 2)), item(n)); // The fourth is lost on the way.
        }
        assert_eq!(state.take(), Some(FeedItem::Missed(6)));
        assert_eq!(state.take(), Some(FeedItem::Item(item(5))));
    }

    #[test]
    fn numbers_that_cannot_be_do_no_harm() {
        let ring = ring();
        let mut state = ring.state();
        state.put(number(7, u64::MAX), item(0));
        state.put(number(7, 0), item(1));
        for publisher in 0..PUBLISHERS_MAX as u64 * 2 {
            state.put(number(publisher + 1000, 5), item(publisher));
        }
        assert!(state.expected.len() <= PUBLISHERS_MAX);
    }
}
