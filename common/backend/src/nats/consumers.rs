//! Durable pull consumers of the work queues.

use super::api::{ApiError, code};
use super::connection::Connection;
use super::scan::nanoseconds;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Messages that one consumer has delivered and nobody marked done.
const ACK_PENDING_MAX: u32 = 20_000;
/// Pull requests that stand at one consumer: those of the workers of a pool. The server's own bound is 512.
const WAITING_MAX: u32 = 16_384;
/// What servers before 2.10 say instead of `CONSUMER_EXISTS`.
const NAME_IN_USE: u32 = 10013;
/// Another consumer of the work queue has some of the same subjects.
const FILTER_OVERLAPS: [u32; 2] = [10100, 10099];

/// A consumer of a work queue: gives each message of one subject to one puller, again when it is not marked done.
#[derive(Debug, Clone)]
pub(super) struct Consumer {
    pub stream: String,
    pub name: String,
    /// The subject, perhaps with wildcards.
    pub filter: String,
    /// A message that is not marked done for so long is delivered again.
    pub ack_wait: Duration,
    /// Not on the server's disk: who pulls makes it again when a server has lost it, and what was acknowledged is not in
    /// the queue any more.
    pub in_memory: bool,
}

/// How an attempt to make a consumer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Ready,
    /// Another consumer has its subjects.
    Taken,
}

#[derive(Deserialize)]
struct Echo {
    config: EchoedConfig,
}

#[derive(Deserialize)]
struct EchoedConfig {
    #[serde(default)]
    filter_subject: String,
    #[serde(default)]
    ack_policy: String,
}

#[derive(Deserialize)]
struct NamesPage {
    #[serde(default)]
    total: usize,
    #[serde(default)]
    consumers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Deleted {}

impl Consumer {
    /// Makes it unless it is there. Any number of processes may do so at once, as a consumer that is there with other
    /// settings stays as it is.
    pub async fn make(&self, connection: &Connection) -> Result<Made, ApiError> {
        let what = format!("CONSUMER.CREATE.{}.{}.{}", self.stream, self.name, self.filter);
        match connection.ask::<Echo>(&what, &self.request()).await {
            Ok(echo) => self.check(&echo.config),
            Err(error) => match error.number() {
                Some(code::CONSUMER_EXISTS | NAME_IN_USE) => self.check_existing(connection).await,
                Some(number) if FILTER_OVERLAPS.contains(&number) => Ok(Made::Taken),
                _ => Err(error),
            },
        }
    }

    pub async fn delete(&self, connection: &Connection) -> Result<(), ApiError> {
        delete(connection, &self.stream, &self.name).await
    }

    async fn check_existing(&self, connection: &Connection) -> Result<Made, ApiError> {
        let echo: Echo = connection.ask(&format!("CONSUMER.INFO.{}.{}", self.stream, self.name), &json!({})).await?;
        self.check(&echo.config)
    }

    /// Servers ignore what they do not know, so what was made is compared with what was asked for.
    fn check(&self, made: &EchoedConfig) -> Result<Made, ApiError> {
        if made.filter_subject == self.filter && made.ack_policy == "explicit" {
            return Ok(Made::Ready);
        }
        let description = format!("the consumer {} of {} has other settings than it needs", self.name, self.stream);
        Err(ApiError::Refused { number: code::CONSUMER_EXISTS, description })
    }

    fn request(&self) -> serde_json::Value {
        json!({
            "stream_name": self.stream,
            "action": "create",
            "config": {
                "name": self.name,
                "durable_name": self.name,
                "filter_subject": self.filter,
                "deliver_policy": "all",
                "replay_policy": "instant",
                "ack_policy": "explicit",
                "ack_wait": nanoseconds(self.ack_wait),
                "max_deliver": -1,
                "max_ack_pending": ACK_PENDING_MAX,
                "max_waiting": WAITING_MAX,
                "mem_storage": self.in_memory,
            },
        })
    }
}

/// Deletes a consumer; what it delivered and nobody marked done stays in the queue, for the next one. Deleting what is
/// not there succeeds.
pub(super) async fn delete(connection: &Connection, stream: &str, name: &str) -> Result<(), ApiError> {
    match connection.ask::<Deleted>(&format!("CONSUMER.DELETE.{stream}.{name}"), &json!({})).await {
        Err(error) if error.number() == Some(code::CONSUMER_NOT_FOUND) => Ok(()),
        answer => answer.map(|_| ()),
    }
}

/// The names of a stream's consumers.
pub(super) async fn names(connection: &Connection, stream: &str) -> Result<Vec<String>, ApiError> {
    let mut names = Vec::new();
    loop {
        let what = format!("CONSUMER.NAMES.{stream}");
        let page: NamesPage = connection.ask(&what, &json!({ "offset": names.len() })).await?;
        let some = page.consumers.unwrap_or_default();
        let was_last = some.is_empty();
        names.extend(some);
        if was_last || names.len() >= page.total {
            return Ok(names);
        }
    }
}
