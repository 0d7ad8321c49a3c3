//! Reading many messages of a stream, by a consumer that lives as long as the reading.

use super::api::ApiError;
use super::connection::{Connection, RequestError};
use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Asked for at once: enough that the way to the server does not count, and few enough that the server does not run out
/// of room for a reader that is behind.
const BATCH: u64 = 128;
const BATCH_WITHIN: Duration = Duration::from_secs(5);
/// The server removes the consumer of a reader that died.
const INACTIVE_AFTER: Duration = Duration::from_secs(30);

/// Which messages of the subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    All,
    /// From this place in the stream on.
    From(u64),
    LastOfEachSubject,
}

/// A message as it lies in the stream.
#[derive(Debug)]
pub struct Found {
    pub sequence: u64,
    pub message: Message,
}

#[derive(Deserialize)]
struct Created {
    name: String,
    num_pending: u64,
}

/// The messages of a stream whose subjects fit, in their order, as far as they were there at the beginning. A replica
/// that is behind may answer.
///
/// # Errors
/// When the server refuses or does not answer.
pub async fn scan(connection: &Connection, stream: &str, filter: &str, which: Which) -> Result<Vec<Found>, ApiError> {
    let created = create(connection, stream, filter, which).await?;
    let read = read_all(connection, stream, &created).await;
    let delete = format!("$JS.API.CONSUMER.DELETE.{stream}.{}", created.name);
    // Nobody waits for the answer: the server removes it anyway when nobody reads from it.
    let _ = connection.client().publish(delete, Bytes::new()).await;
    read
}

async fn create(connection: &Connection, stream: &str, filter: &str, which: Which) -> Result<Created, ApiError> {
    let (policy, start) = match which {
        Which::All => ("all", None),
        Which::From(place) => ("by_start_sequence", Some(place)),
        Which::LastOfEachSubject => ("last_per_subject", None),
    };
    let mut config = json!({
        "deliver_policy": policy,
        "ack_policy": "none",
        "replay_policy": "instant",
        "filter_subject": filter,
        "inactive_threshold": nanoseconds(INACTIVE_AFTER),
        "mem_storage": true,
        "num_replicas": 1,
    });
    if let Some(start) = start {
        config["opt_start_seq"] = json!(start);
    }
    let body = json!({ "stream_name": stream, "config": config });
    connection.ask(&format!("CONSUMER.CREATE.{stream}"), &body).await
}

async fn read_all(connection: &Connection, stream: &str, created: &Created) -> Result<Vec<Found>, ApiError> {
    let mut found = Vec::new();
    if created.num_pending == 0 {
        return Ok(found);
    }
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{}", created.name);
    let inbox = connection.client().new_inbox();
    let failed = |source: async_nats::Error| RequestError::Other { subject: subject.clone(), source };
    let mut messages = connection.client().subscribe(inbox.clone()).await.map_err(|error| failed(error.into()))?;
    let mut rest = created.num_pending;
    while rest > 0 {
        let batch = rest.min(BATCH);
        let body = json!({ "batch": batch, "expires": nanoseconds(BATCH_WITHIN) }).to_string();
        let asked = connection.client().publish_with_reply(subject.clone(), inbox.clone(), body.into()).await;
        asked.map_err(|error| failed(error.into()))?;
        for _ in 0..batch {
            found.push(next(connection, &mut messages, &subject).await?);
        }
        rest -= batch;
    }
    Ok(found)
}

async fn next(connection: &Connection, messages: &mut Subscriber, subject: &str) -> Result<Found, ApiError> {
    let waiting = tokio::time::timeout(BATCH_WITHIN * 2, messages.next());
    let timed_out = || RequestError::TimedOut { subject: subject.to_owned() };
    let message = connection.unbroken(subject, waiting).await?.ok().flatten().ok_or_else(timed_out)?;
    match message.status {
        None | Some(StatusCode::OK) => {}
        Some(status) => {
            let description = message.description.unwrap_or_default();
            return Err(ApiError::Refused { number: u32::from(status.as_u16()), description });
        }
    }
    let sequence = message.reply.as_deref().and_then(stream_sequence);
    Ok(Found { sequence: sequence.ok_or_else(timed_out)?, message })
}

/// The place in the stream that the reply subject of a delivered message tells:
/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<place>…`, with a domain and an account after `ACK` where there are some.
#[must_use]
pub fn stream_sequence(reply: &str) -> Option<u64> {
    let parts: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let place = if parts.len() > 7 { 5 } else { 3 };
    parts.get(place)?.parse().ok()
}

/// Times are nanoseconds in the server's interface.
#[must_use]
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_message_is_read_with_and_without_a_domain() {
        assert_eq!(stream_sequence("$JS.ACK.S.c.1.42.7.1700000000000000000.0"), Some(42));
        assert_eq!(stream_sequence("$JS.ACK.hub.ACCT.S.c.1.42.7.1700000000000000000.0.x"), Some(42));
        for none in ["", "_INBOX.a", "$JS.ACK.S.c.1", "$JS.ACK.S.c.1.x.7.0.0"] {
            assert_eq!(stream_sequence(none), None, "{none}");
        }
    }
}
