//! The feed and broadcasts between processes, and without a server.

use super::cluster::numbered;
use crate::conformance::{Checked, within_deadline};
use crate::nats::server::{TestServer, Version};
use crate::nats::tests::world::{NatsWorld, new_cluster, shared};
use skein_common::ports::{Control as _, Feed as _, FeedItem, FeedSubscription};

/// More than is kept for a watcher.
const FLOOD: u32 = 20_000;

/// What a watcher sees up to this item, and how many it is told it missed.
async fn read_to(watcher: &mut dyn FeedSubscription, last: u32) -> (u64, u64) {
    let (mut seen, mut missed) = (0, 0);
    while let Some(item) = watcher.next().await {
        match item {
            FeedItem::Missed(count) => missed += count,
            FeedItem::Item(item) => {
                seen += 1;
                if item == numbered(last) {
                    break;
                }
            }
        }
    }
    (seen, missed)
}

#[tokio::test]
async fn a_slow_watcher_of_another_process_is_told_what_it_missed() -> Checked {
    within_deadline(async {
        for version in [Version::New, Version::Old] {
            let cluster = NatsWorld::with(new_cluster(shared(version).await?));
            let (publisher, watching) = (cluster.backend().await?, cluster.backend().await?);
            let mut watcher = watching.messaging.feed.subscribe("run-1");
            // Its subscription is on its way; from the first item on it is there.
            let mut first = None;
            let mut shown = 0;
            while first.is_none() {
                publisher.messaging.feed.publish("run-1", numbered(shown));
                shown += 1;
                first = tokio::select! {
                    biased;
                    item = watcher.next() => item,
                    () = tokio::task::yield_now() => None,
                };
            }
            for n in shown..shown + FLOOD {
                publisher.messaging.feed.publish("run-1", numbered(n));
            }
            let Some(FeedItem::Item(first)) = first else { unreachable!("{first:?}") };
            let first = (0..shown).find(|n| numbered(*n) == first).expect("one of those shown");
            let (seen, missed) = read_to(&mut *watcher, shown + FLOOD - 1).await;
            assert_eq!(seen + missed, u64::from(shown + FLOOD - 1 - first));
            assert!(missed > 0, "it was slow");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_a_server_nobody_waits_and_watchers_are_told_afterwards() -> Checked {
    within_deadline(async {
        let mut server = TestServer::start().await?;
        let cluster = NatsWorld::with(new_cluster(server.url()));
        let process = cluster.backend().await?;
        let mut watcher = process.messaging.feed.subscribe("run-1");
        let mut worker = process.messaging.control.subscribe().await?;
        process.messaging.feed.publish("run-1", numbered(0));
        assert_eq!(watcher.next().await, Some(FeedItem::Item(numbered(0))));
        process.messaging.control.broadcast(numbered(0)).await?;
        assert_eq!(worker.next().await, Some(FeedItem::Item(numbered(0))));
        server.kill();
        for n in 1..FLOOD {
            process.messaging.feed.publish("run-1", numbered(n));
            process.messaging.control.broadcast(numbered(n)).await?;
        }
        server.restart().await?;
        for watcher in [&mut *watcher, &mut *worker] {
            let (seen, missed) = read_to(watcher, FLOOD - 1).await;
            assert_eq!(seen + missed, u64::from(FLOOD - 1));
            assert!(missed > 0, "not all can be kept");
        }
        Ok(())
    })
    .await
}
