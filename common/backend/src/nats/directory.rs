//! The directory: a subject per key, whose last message is the value.

use super::api::{ApiError, code};
use super::backend::Bus;
use super::layout::Level;
use super::marks::{self, is_marker};
use super::names::{has_readable_token, last_part};
use super::patience::Patience;
use super::scan::{Which, scan};
use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use skein_common::ports::{BoxError, Directory, DirectoryError};
use std::sync::Arc;
use std::time::Duration;

/// A server that restarts, or a cluster that elects, is back in this time.
const TRY_WITHIN: Duration = Duration::from_secs(10);

/// How long it is said that a key is deleted.
const DELETED_MARKER: Duration = Duration::from_secs(60);

/// Records in the bucket `directory`.
#[derive(Debug)]
pub struct NatsDirectory {
    bus: Arc<Bus>,
    stream: String,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is too long for the name of a table or key")]
struct TooLong(String);

#[derive(Deserialize)]
struct Purged {}

impl NatsDirectory {
    pub fn new(bus: Arc<Bus>) -> NatsDirectory {
        let stream = bus.names.directory_stream();
        NatsDirectory { bus, stream }
    }

    fn subject(&self, table: &str, key: &str) -> Result<String, DirectoryError> {
        for name in [table, key] {
            if !has_readable_token(name) {
                return Err(unavailable(TooLong(name.chars().take(80).collect())));
            }
        }
        Ok(self.bus.names.directory_subject(table, key))
    }

    /// The value of a subject and its place, or the place of the message that says it was deleted.
    async fn newest(&self, subject: &str) -> Result<Newest, ApiError> {
        Ok(match self.bus.connection.last(&self.stream, subject).await? {
            None => Newest::Nothing { place: 0 },
            Some(message) if is_marker(&message.headers) => Newest::Nothing { place: message.sequence },
            Some(message) => Newest::Value(message),
        })
    }

    /// Puts a message in the value's place that says so and removes itself. Unlike a purge it may be allowed for some
    /// keys only, such as a worker's own.
    async fn say_deleted(&self, subject: &str) -> Result<(), ApiError> {
        loop {
            let Newest::Value(there) = self.newest(subject).await? else { return Ok(()) };
            let mut headers = marks::conditional(there.sequence, &marks::new_id());
            marks::say_deleted(&mut headers);
            marks::live_for(&mut headers, DELETED_MARKER.as_secs());
            match self.bus.connection.store(subject, headers, Bytes::new()).await {
                Err(error) if is_taken(&error) => {} // Somebody put another value meanwhile.
                outcome => return outcome.map(|_| ()),
            }
        }
    }

    /// For servers whose messages cannot remove themselves.
    async fn purge(&self, subject: &str) -> Result<(), ApiError> {
        let (what, body) = (format!("STREAM.PURGE.{}", self.stream), json!({ "filter": subject }));
        let Purged {} = self.bus.connection.ask(&what, &body).await?;
        Ok(())
    }

    /// Stores where nothing is; gives what is there otherwise.
    async fn try_insert(&self, subject: &str, id: &str, value: &Bytes) -> Result<Option<Bytes>, ApiError> {
        let mut place = 0;
        loop {
            let headers = marks::conditional(place, id);
            let refusal = match self.bus.connection.store(subject, headers, value.clone()).await {
                Ok(_) => return Ok(None),
                Err(error) if is_taken(&error) => error,
                Err(error) => return Err(error),
            };
            match self.newest(subject).await? {
                // An earlier try of ours whose acknowledgement was lost.
                Newest::Value(there) if marks::is_of(&there.headers, id) => return Ok(None),
                Newest::Value(there) => return Ok(Some(there.payload)),
                Newest::Nothing { place: there } if there != place => place = there,
                Newest::Nothing { .. } => return Err(refusal),
            }
        }
    }
}

enum Newest {
    Nothing { place: u64 },
    Value(StreamMessage),
}

fn is_taken(error: &ApiError) -> bool {
    matches!(error.number(), Some(code::WRONG_LAST_SEQUENCE | code::PENDING_LAST_SEQUENCE))
}

#[async_trait]
impl Directory for NatsDirectory {
    async fn put(&self, table: &str, key: &str, value: Bytes) -> Result<(), DirectoryError> {
        let subject = self.subject(table, key)?;
        let storing = || self.bus.connection.store(&subject, HeaderMap::new(), value.clone());
        patiently(storing).await?;
        Ok(())
    }

    async fn insert(&self, table: &str, key: &str, value: Bytes) -> Result<Option<Bytes>, DirectoryError> {
        let (subject, id) = (self.subject(table, key)?, marks::new_id());
        patiently(|| self.try_insert(&subject, &id, &value)).await
    }

    async fn get(&self, table: &str, key: &str) -> Result<Option<Bytes>, DirectoryError> {
        let subject = self.subject(table, key)?;
        Ok(match patiently(|| self.newest(&subject)).await? {
            Newest::Nothing { .. } => None,
            Newest::Value(message) => Some(message.payload),
        })
    }

    async fn list(&self, table: &str) -> Result<Vec<(String, Bytes)>, DirectoryError> {
        let filter = self.bus.names.directory_table(table);
        let scanning = || scan(&self.bus.connection, &self.stream, &filter, Which::LastOfEachSubject);
        let mut entries = Vec::new();
        for found in patiently(scanning).await? {
            let is_value = !found.message.headers.as_ref().is_some_and(is_marker);
            if let Some(key) = last_part(&found.message.subject).filter(|_| is_value) {
                entries.push((key, found.message.payload));
            }
        }
        entries.sort();
        Ok(entries)
    }

    async fn remove(&self, table: &str, key: &str) -> Result<(), DirectoryError> {
        let subject = self.subject(table, key)?;
        match self.bus.level {
            Level::Production => patiently(|| self.say_deleted(&subject)).await,
            Level::Development => patiently(|| self.purge(&subject)).await,
        }
    }
}

/// Tries what may be done twice until it is done.
async fn patiently<T, F>(trying: impl Fn() -> F) -> Result<T, DirectoryError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut patience = Patience::of(TRY_WITHIN);
    patience.until_done(trying).await.map_err(unavailable)
}

fn unavailable(error: impl Into<BoxError>) -> DirectoryError {
    DirectoryError::Unavailable { source: error.into() }
}
