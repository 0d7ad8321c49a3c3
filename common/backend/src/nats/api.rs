//! Requests to the server's own store, JetStream. Only what we use is read from its answers, and all of it is there in
//! every version since 2.9, which is not so for the client's own types.

use super::connection::{Connection, RequestError};
use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageError};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Error numbers of the server that something depends on.
pub mod code {
    /// An expected sequence was another.
    pub const WRONG_LAST_SEQUENCE: u32 = 10071;
    /// A replicated stream is still storing the message before (2.11 and newer).
    pub const PENDING_LAST_SEQUENCE: u32 = 10164;
    /// A limit of the stream: messages, bytes, or messages of the subject.
    pub const LIMIT_EXCEEDED: u32 = 10077;
    pub const STREAM_NOT_FOUND: u32 = 10059;
    pub const CONSUMER_NOT_FOUND: u32 = 10014;
    /// A consumer of this name is there with another configuration.
    pub const CONSUMER_EXISTS: u32 = 10148;
    pub const MESSAGE_TOO_LARGE: u32 = 10054;
    pub const NO_ROOM: [u32; 3] = [10023, 10047, 10028];
    /// The cluster has no leader at the moment, the stream is not there yet, a reader ended.
    pub const NOT_NOW: [u32; 6] = [10008, 10118, 404, 408, 409, 503];
    /// A stream of this name is there with another configuration.
    pub const STREAM_EXISTS: u32 = 10058;
    pub const JETSTREAM_NOT_ENABLED: [u32; 2] = [10039, 10076];
}

/// Why a request to the store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The server says no.
    #[error("{description} (error {number})")]
    Refused { number: u32, description: String },
    #[error(transparent)]
    Unanswered(#[from] RequestError),
    #[error("the answer of {subject} cannot be read")]
    Unreadable {
        subject: String,
        #[source]
        source: serde_json::Error,
    },
}

impl ApiError {
    /// Whether the same may succeed later without anybody changing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            ApiError::Refused { number, .. } => code::NOT_NOW.contains(number),
            ApiError::Unanswered(RequestError::TooLarge { .. }) | ApiError::Unreadable { .. } => false,
            ApiError::Unanswered(_) => true,
        }
    }

    /// The number of the server's refusal.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        match self {
            ApiError::Refused { number, .. } => Some(*number),
            _ => None,
        }
    }
}

/// Where a stored message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Stored {
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// Another message with the same `Nats-Msg-Id` was there.
    #[serde(default)]
    pub duplicate: bool,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    error: Option<Refusal<'a>>,
}

#[derive(Deserialize)]
struct Refusal<'a> {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    err_code: u32,
    #[serde(default, borrow)]
    description: std::borrow::Cow<'a, str>,
}

impl Connection {
    /// Asks the store, as `$JS.API.<what>`.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn ask<T: DeserializeOwned>(&self, what: &str, body: &impl Serialize) -> Result<T, ApiError> {
        let subject = format!("$JS.API.{what}");
        let unreadable = |source| ApiError::Unreadable { subject: subject.clone(), source };
        let payload = Bytes::from(serde_json::to_vec(body).map_err(unreadable)?);
        let answer = self.request(&subject, HeaderMap::new(), payload).await?;
        read(&subject, &answer.payload)
    }

    /// Stores a message in the stream that has the subject, and waits until it is stored.
    ///
    /// # Errors
    /// When the server refuses or does not answer; then it may be stored, unless it refused.
    pub async fn store(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<Stored, ApiError> {
        let answer = self.request(subject, headers, payload).await?;
        read(subject, &answer.payload)
    }

    /// The same with a time of its own for the acknowledgement.
    ///
    /// # Errors
    /// As [`Connection::store`].
    pub async fn store_within(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: &Bytes,
        timeout: Duration,
    ) -> Result<Stored, ApiError> {
        let answer = self.request_within(subject, headers, payload.clone(), timeout).await?;
        read(subject, &answer.payload)
    }
}

impl Connection {
    /// The last message of a subject, as the leader of the stream knows it: no other server may know it yet.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn last(&self, stream: &str, subject: &str) -> Result<Option<StreamMessage>, ApiError> {
        let stream = self.stream(stream).await?;
        let asked = self.unbroken(subject, stream.get_last_raw_message_by_subject(subject)).await?;
        found(subject, asked)
    }

    /// The first message of a subject from a place of the stream on, as the leader knows it.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn first_from(&self, stream: &str, subject: &str, place: u64) -> Result<Option<StreamMessage>, ApiError> {
        let stream = self.stream(stream).await?;
        let asked = self.unbroken(subject, stream.get_first_raw_message_by_subject(subject, place)).await?;
        found(subject, asked)
    }

    async fn stream(&self, name: &str) -> Result<async_nats::jetstream::stream::Stream<()>, ApiError> {
        let other = |source: async_nats::Error| RequestError::Other { subject: name.to_owned(), source };
        Ok(self.jetstream().get_stream_no_info(name).await.map_err(|error| other(error.into()))?)
    }
}

fn found(subject: &str, asked: Result<StreamMessage, RawMessageError>) -> Result<Option<StreamMessage>, ApiError> {
    let error = match asked {
        Ok(message) => return Ok(Some(message)),
        Err(error) => error,
    };
    match error.kind() {
        LastRawMessageErrorKind::NoMessageFound => Ok(None),
        LastRawMessageErrorKind::JetStream(refusal) => {
            let number = u32::try_from(refusal.error_code().0).unwrap_or_default();
            Err(ApiError::Refused { number, description: refusal.to_string() })
        }
        _ => Err(RequestError::Other { subject: subject.to_owned(), source: error.into() }.into()),
    }
}

fn read<T: DeserializeOwned>(subject: &str, payload: &[u8]) -> Result<T, ApiError> {
    let unreadable = |source| ApiError::Unreadable { subject: subject.to_owned(), source };
    let answer: Answer<'_> = serde_json::from_slice(payload).map_err(unreadable)?;
    if let Some(refusal) = answer.error {
        let number = if refusal.err_code == 0 { refusal.code } else { refusal.err_code };
        return Err(ApiError::Refused { number, description: refusal.description.into_owned() });
    }
    serde_json::from_slice(payload).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_error_or_what_was_asked_for() {
        let stored: Stored = read("s", br#"{"stream":"S","seq":7}"#).expect("stored");
        assert_eq!(stored, Stored { sequence: 7, duplicate: false });
        let refusal = br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"seq":0}"#;
        let refused = read::<Stored>("s", refusal).expect_err("refused");
        assert_eq!(refused.number(), Some(code::WRONG_LAST_SEQUENCE));
        assert!(matches!(read::<Stored>("s", b"junk"), Err(ApiError::Unreadable { .. })));
    }
}
