//! Tells when leases end, so that those who want them need not wait for their next look. What is missed is found by
//! looking.

use super::backend::Bus;
use super::marks::is_marker;
use super::scan::nanoseconds;
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The server removes what watches for a process that is gone.
const INACTIVE_AFTER: Duration = Duration::from_secs(30);
/// Until the next try when the server does not let us watch.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Created {}

/// Watches until it is dropped, across lost connections.
pub(super) async fn watch(bus: Arc<Bus>, ended: Arc<Notify>) {
    loop {
        if let Err(error) = watch_once(&bus, &ended).await {
            tracing::debug!(%error, "the ends of leases are not watched now");
        }
        // Some may have ended meanwhile.
        ended.notify_one();
        tokio::time::sleep(AGAIN_AFTER.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
    }
}

/// Watches as long as the connection lasts.
async fn watch_once(bus: &Bus, ended: &Notify) -> Result<(), skein_common::ports::BoxError> {
    let (connection, stream) = (&bus.connection, bus.names.leases_stream());
    connection.connected().await;
    let mut connects = connection.connects();
    connects.mark_unchanged();
    let inbox = connection.client().new_inbox();
    let mut messages = connection.client().subscribe(inbox.clone()).await?;
    let config = json!({
        "deliver_subject": inbox,
        "deliver_policy": "new",
        "ack_policy": "none",
        "replay_policy": "instant",
        "headers_only": true,
        "filter_subject": bus.names.leases_subjects(),
        "inactive_threshold": nanoseconds(INACTIVE_AFTER),
        "mem_storage": true,
        "num_replicas": 1,
    });
    let body = json!({ "stream_name": stream, "config": config });
    let _created: Created = connection.ask(&format!("CONSUMER.CREATE.{stream}"), &body).await?;
    loop {
        tokio::select! {
            Ok(()) = connects.changed() => return Ok(()),
            message = messages.next() => {
                let Some(message) = message else { return Ok(()) };
                if message.headers.as_ref().is_some_and(is_marker) {
                    ended.notify_one();
                }
            }
        }
    }
}
