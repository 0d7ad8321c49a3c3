//! Storing a message in a work queue: sent again until the stream says that it has it.

use super::api::ApiError;
use super::connection::{Connection, RequestError};
use async_nats::HeaderMap;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// A stream without a leader has one again within a few seconds.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LAST: Duration = Duration::from_secs(1);
/// What a server says while it starts or has no leader: JetStream or a peer is not available now.
const NOT_NOW: [u32; 4] = [10008, 10009, 10074, 503];

/// Stores it at least once; after an error it may be stored, unless the server refused it.
pub(super) async fn store(
    connection: &Connection,
    subject: &str,
    headers: &HeaderMap,
    payload: Bytes,
) -> Result<(), ApiError> {
    let give_up = Instant::now() + GIVE_UP_AFTER;
    let mut pause = PAUSE_FIRST;
    loop {
        match connection.store(subject, headers.clone(), payload.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if !may_pass(&error) || Instant::now() > give_up => return Err(error),
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

fn may_pass(error: &ApiError) -> bool {
    match error {
        ApiError::Unanswered(RequestError::TooLarge { .. }) => false,
        ApiError::Unanswered(_) => true,
        ApiError::Refused { number, .. } => NOT_NOW.contains(number),
        ApiError::Unreadable { .. } => false,
    }
}
