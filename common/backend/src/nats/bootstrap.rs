//! Joining: the settings make sense, the servers are new enough, and what lies on them is what this program needs.
//!
//! A server accepts options that it does not know without a word, so each stream is read back and compared.

use super::api::{ApiError, code};
use super::config::NatsConfig;
use super::connection::{Connection, RequestError};
use super::directory::NatsDirectory;
use super::error::NatsError;
use super::layout::{Level, Wanted};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skein_common::config::NatsSettings;
use skein_common::ports::{Directory as _, DirectoryError};

const SHARDS_MAX: u16 = 1024;
/// What a record of the journal and a part of a blob fit into; the default of servers.
const PAYLOAD_BYTES_MIN: usize = 1024 * 1024;
const CLUSTER_TABLE: &str = "cluster";
const LAYOUT_KEY: &str = "layout";

/// What every process of a cluster has to agree on. Stored: grows by optional fields only.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Layout {
    shards: u16,
}

#[derive(Deserialize)]
struct StreamInfo {
    config: Map<String, Value>,
}

/// Refuses settings that cannot be.
pub fn check_settings(settings: &NatsSettings) -> Result<(), NatsError> {
    let bad = |name, reason: &str| Err(NatsError::BadSetting { name, reason: reason.to_owned() });
    if !(1..=SHARDS_MAX).contains(&settings.shards) {
        return bad("nats.shards", "expected 1 to 1024");
    }
    if ![1, 3, 5].contains(&settings.replicas) {
        return bad("nats.replicas", "expected 1, 3 or 5");
    }
    if settings.lease_ms < 1_000 || !settings.lease_ms.is_multiple_of(1_000) {
        return bad("nats.lease_ms", "expected whole seconds, which servers count in, and at least one");
    }
    if settings.ack_wait_ms < 1_000 {
        return bad("nats.ack_wait_ms", "expected at least 1000");
    }
    Ok(())
}

/// What the servers can do.
///
/// # Errors
/// When they are too old, or take smaller messages than we send.
pub fn level(connection: &Connection, settings: &NatsSettings) -> Result<Level, NatsError> {
    let server = connection.client().server_info();
    if server.max_payload < PAYLOAD_BYTES_MIN {
        return Err(NatsError::Differs {
            name: String::from("the NATS server"),
            field: String::from("max_payload"),
            found: server.max_payload.to_string(),
            wanted: format!("at least {PAYLOAD_BYTES_MIN}"),
            advice: "set it in the server's configuration",
        });
    }
    if is_at_least(&server.version, (2, 12)) {
        return Ok(Level::Production);
    }
    let too_old = |needed| Err(NatsError::TooOld { found: server.version.clone(), needed });
    if server.cluster.is_some() || settings.replicas > 1 {
        return too_old("2.12"); // Conditional publishes to replicated streams were not safe before.
    }
    if is_at_least(&server.version, (2, 9)) { Ok(Level::Development) } else { too_old("2.9") }
}

fn is_at_least(version: &str, needed: (u32, u32)) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) >= needed
}

/// What a person should know about a server that is for development only.
#[must_use]
pub fn notes(connection: &Connection, level: Level) -> Vec<String> {
    if level == Level::Production {
        return Vec::new();
    }
    let version = connection.client().server_info().version;
    vec![
        format!("the NATS server is version {version}, which is for development only: a cluster needs 2.12 or newer"),
        "leases end by the clocks of the machines instead of the server's, one second later; keep clocks together"
            .to_owned(),
        "nothing is replicated: when this server's disk is lost, everything is".to_owned(),
    ]
}

/// Makes the streams that are not there, if asked to, and compares each with what it has to be.
///
/// # Errors
/// When one is missing, or is not what it has to be.
pub async fn ensure(connection: &Connection, streams: &[Wanted], bootstrap: bool) -> Result<(), NatsError> {
    for wanted in streams {
        let found = match find(connection, wanted).await? {
            Some(found) => found,
            None if bootstrap => make(connection, wanted).await?,
            None => return Err(NatsError::Missing { name: format!("stream {}", wanted.stream) }),
        };
        compare(wanted, &found)?;
    }
    Ok(())
}

async fn find(connection: &Connection, wanted: &Wanted) -> Result<Option<Map<String, Value>>, NatsError> {
    let subject = format!("STREAM.INFO.{}", wanted.stream);
    match connection.ask::<StreamInfo>(&subject, &Map::new()).await {
        Ok(info) => Ok(Some(info.config)),
        Err(error) if error.number() == Some(code::STREAM_NOT_FOUND) => Ok(None),
        Err(error) => Err(not_done(connection, format!("look at stream {}", wanted.stream), error)),
    }
}

async fn make(connection: &Connection, wanted: &Wanted) -> Result<Map<String, Value>, NatsError> {
    let subject = format!("STREAM.CREATE.{}", wanted.stream);
    match connection.ask::<StreamInfo>(&subject, &wanted.config).await {
        Ok(info) => Ok(info.config),
        // Another process made it meanwhile; perhaps a newer one, otherwise.
        Err(error) if error.number() == Some(code::STREAM_EXISTS) => {
            let missing = || NatsError::Missing { name: format!("stream {}", wanted.stream) };
            find(connection, wanted).await?.ok_or_else(missing)
        }
        Err(error) => Err(not_done(connection, format!("make stream {}", wanted.stream), error)),
    }
}

fn compare(wanted: &Wanted, found: &Map<String, Value>) -> Result<(), NatsError> {
    for (field, value) in &wanted.config {
        let there = found.get(field).unwrap_or(&Value::Null);
        if there == value || (is_nothing(there) && is_nothing(value)) {
            continue;
        }
        return Err(NatsError::Differs {
            name: format!("stream {}", wanted.stream),
            field: field.clone(),
            found: if there.is_null() { String::from("nothing") } else { there.to_string() },
            wanted: value.to_string(),
            advice: advice(field, there),
        });
    }
    Ok(())
}

fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value.as_u64() == Some(0)
}

fn advice(field: &str, found: &Value) -> &'static str {
    match field {
        "num_replicas" => "set nats.replicas to what is there, or change the stream",
        _ if found.is_null() => "the server does not know this option: NATS 2.12 or newer does",
        _ => "somebody changed the stream, or another program made it: change it back, or set another nats.prefix",
    }
}

fn not_done(connection: &Connection, doing: String, error: ApiError) -> NatsError {
    let has_none = match &error {
        ApiError::Unanswered(RequestError::NoResponders { .. }) => true,
        other => other.number().is_some_and(|number| code::JETSTREAM_NOT_ENABLED.contains(&number)),
    };
    if has_none {
        let server = connection.client().server_info();
        return NatsError::NoJetStream { url: format!("{}:{}", server.host, server.port) };
    }
    NatsError::Failed { doing, source: error.into() }
}

/// Stores what every process of the cluster agrees on, or compares it with what is stored.
///
/// # Errors
/// When this process would not agree.
pub async fn agree(directory: &NatsDirectory, config: &NatsConfig) -> Result<(), NatsError> {
    let failed =
        |doing: &str, error: DirectoryError| NatsError::Failed { doing: doing.to_owned(), source: error.into() };
    let ours = Layout { shards: config.settings.shards };
    let stored = directory.get(CLUSTER_TABLE, LAYOUT_KEY).await.map_err(|error| failed("read the layout", error))?;
    let stored = match stored {
        Some(stored) => Some(stored),
        None if config.bootstrap => {
            let json = serde_json::to_vec(&ours).map_err(|error| unreadable(error.into()))?;
            let inserting = directory.insert(CLUSTER_TABLE, LAYOUT_KEY, Bytes::from(json)).await;
            inserting.map_err(|error| failed("store the layout", error))?
        }
        None => return Err(NatsError::Missing { name: String::from("the layout of the cluster") }),
    };
    let Some(stored) = stored else { return Ok(()) };
    let theirs: Layout = serde_json::from_slice(&stored).map_err(|error| unreadable(error.into()))?;
    if theirs == ours {
        return Ok(());
    }
    Err(NatsError::OtherShards { stored: theirs.shards, wanted: ours.shards })
}

fn unreadable(source: skein_common::ports::BoxError) -> NatsError {
    NatsError::Failed { doing: String::from("read the layout of the cluster"), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_at_least("2.12.0", (2, 12)) && is_at_least("2.15.1-dev", (2, 12)) && is_at_least("3.0", (2, 12)));
        for old in ["2.9.10", "2.11.11", "1.99.0", "", "junk"] {
            assert!(!is_at_least(old, (2, 12)), "{old}");
        }
    }

    #[test]
    fn settings_that_cannot_be_are_named() {
        let settings = NatsSettings::default;
        assert!(check_settings(&settings()).is_ok());
        for (bad, name) in [
            (NatsSettings { shards: 0, ..settings() }, "nats.shards"),
            (NatsSettings { replicas: 2, ..settings() }, "nats.replicas"),
            (NatsSettings { lease_ms: 1_500, ..settings() }, "nats.lease_ms"),
            (NatsSettings { lease_ms: 0, ..settings() }, "nats.lease_ms"),
            (NatsSettings { ack_wait_ms: 10, ..settings() }, "nats.ack_wait_ms"),
        ] {
            let refusal = check_settings(&bad).expect_err(name).to_string();
            assert!(refusal.starts_with(name), "{refusal}");
        }
    }
}
