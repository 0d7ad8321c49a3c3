//! Checks of the contract of `Feed`.

use super::world::{Checked, World};
use bytes::Bytes;
use skein_common::ports::{FeedItem, FeedSubscription};

/// More than any backend keeps for a watcher.
const FLOOD: u32 = 20_000;

pub async fn a_watcher_gets_items_in_order_each_once_from_its_subscription_on(world: &dyn World) -> Checked {
    let feed = world.process().await?.feed;
    let mut first = feed.subscribe("run-1");
    feed.publish("run-1", numbered(0));
    assert_eq!(first.next().await, Some(FeedItem::Item(numbered(0))));
    let mut second = feed.subscribe("run-1");
    for n in 1..=100 {
        feed.publish("run-1", numbered(n));
    }
    for watcher in [&mut first, &mut second] {
        let (seen, missed) = read_to(&mut **watcher, 100).await;
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
        assert_eq!(seen.len() as u64 + missed, 100, "seen and missed");
        assert!(seen[0] >= numbered(1));
    }
    Ok(())
}

pub async fn a_topic_is_its_own(world: &dyn World) -> Checked {
    let feed = world.process().await?.feed;
    let mut watcher = feed.subscribe("run-1");
    feed.publish("run-2", Bytes::from_static(b"of another"));
    feed.publish("run-1", Bytes::from_static(b"ours"));
    assert_eq!(watcher.next().await, Some(FeedItem::Item(Bytes::from_static(b"ours"))));
    Ok(())
}

pub async fn publish_never_waits_for_a_slow_watcher(world: &dyn World) -> Checked {
    let feed = world.process().await?.feed;
    let slow = feed.subscribe("run-1");
    for n in 0..FLOOD {
        feed.publish("run-1", numbered(n)); // This is the check: it returns, though nobody reads.
    }
    drop(slow);
    Ok(())
}

pub async fn a_watcher_that_lost_items_is_told_how_many_before_the_next(world: &dyn World) -> Checked {
    let feed = world.process().await?.feed;
    let mut slow = feed.subscribe("run-1");
    for n in 0..FLOOD {
        feed.publish("run-1", numbered(n));
    }
    let (seen, missed) = read_to(&mut *slow, FLOOD - 1).await;
    assert_eq!(seen.len() as u64 + missed, u64::from(FLOOD), "seen and missed");
    Ok(())
}

pub async fn publish_without_a_watcher_succeeds(world: &dyn World) -> Checked {
    let feed = world.process().await?.feed;
    feed.publish("run-1", numbered(0));
    drop(feed.subscribe("run-1"));
    feed.publish("run-1", numbered(1));
    let mut watcher = feed.subscribe("run-1");
    feed.publish("run-1", numbered(2));
    assert_eq!(watcher.next().await, Some(FeedItem::Item(numbered(2))));
    Ok(())
}

/// What a watcher sees up to the item of this number, and how much it is told it missed before that.
async fn read_to(watcher: &mut dyn FeedSubscription, last: u32) -> (Vec<Bytes>, u64) {
    let (mut seen, mut missed) = (Vec::new(), 0);
    while seen.last() != Some(&numbered(last)) {
        match watcher.next().await {
            Some(FeedItem::Item(item)) => seen.push(item),
            Some(FeedItem::Missed(count)) => missed += count,
            None => break,
        }
    }
    (seen, missed)
}

fn numbered(n: u32) -> Bytes {
    Bytes::from(format!("item {n:05}"))
}
