//! The two loops beside Link: they wait at the ports and bring it what comes.

use crate::link::Link;
use crate::messages::{BroadcastsMissed, CancelHeard, NonsenseHeard, OrderHeard, TasksPulled};
use actix::Addr;
use skein_common::ports::{Control, FeedItem, Target, Tasks};
use skein_common::wire::{Broadcast, decode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::warn;

/// Before asking a port again that did not answer.
const PORT_AGAIN: Duration = Duration::from_millis(250);

/// Pulls as many tasks as slots are free, for as long as Link is there.
pub(crate) async fn pull_tasks(
    tasks: Arc<dyn Tasks>,
    target: Target,
    mut slots_free: watch::Receiver<usize>,
    link: Addr<Link>,
) {
    loop {
        let Ok(free) = slots_free.wait_for(|free| *free > 0).await.map(|free| *free) else { return };
        match tasks.pull(&target, free).await {
            Ok(deliveries) => {
                if link.send(TasksPulled { deliveries }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                warn!(?target, %error, "no tasks can be pulled");
                tokio::time::sleep(PORT_AGAIN).await;
            }
        }
    }
}

/// Listens to what owners tell all workers, for as long as Link is there.
pub(crate) async fn listen_to_broadcasts(control: Arc<dyn Control>, link: Addr<Link>) {
    while link.connected() {
        let mut subscription = match control.subscribe().await {
            Ok(subscription) => subscription,
            Err(error) => {
                warn!(%error, "broadcasts cannot be heard");
                tokio::time::sleep(PORT_AGAIN).await;
                continue;
            }
        };
        while let Some(item) = subscription.next().await {
            let heard = match item {
                FeedItem::Missed(_) => link.send(BroadcastsMissed).await,
                FeedItem::Item(bytes) => match decode(&bytes) {
                    Ok(Broadcast::Cancel(cancel)) => link.send(CancelHeard { cancel }).await,
                    Ok(Broadcast::Order(order)) => link.send(OrderHeard { order }).await,
                    Err(error) => {
                        warn!(%error, "a broadcast is no message of this version");
                        link.send(NonsenseHeard).await
                    }
                },
            };
            if heard.is_err() {
                return;
            }
        }
        tokio::time::sleep(PORT_AGAIN).await;
    }
}
