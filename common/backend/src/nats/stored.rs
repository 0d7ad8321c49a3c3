//! Storing a message in a work queue: sent again until the stream says that it has it.

use super::api::ApiError;
use super::connection::Connection;
use super::patience::Patience;
use async_nats::HeaderMap;
use bytes::Bytes;
use std::time::Duration;

/// A stream without a leader has one again within a few seconds.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// Stores it at least once; after an error it may be stored, unless the server refused it.
pub(super) async fn store(
    connection: &Connection,
    subject: &str,
    headers: &HeaderMap,
    payload: Bytes,
) -> Result<(), ApiError> {
    let storing = async || connection.store(subject, headers.clone(), payload.clone()).await;
    Patience::of(GIVE_UP_AFTER).until_done(storing).await.map(drop)
}
