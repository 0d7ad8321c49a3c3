//! What lies on the server: the streams of a cluster and how each has to be.

use super::names::Names;
use super::scan::nanoseconds;
use serde_json::{Map, Value, json};
use skein_common::config::NatsSettings;
use std::time::Duration;

/// Servers since 2.15 allow 1000 unless a stream says otherwise; pools, shards and readers each need one.
const CONSUMERS_MAX: u32 = 100_000;
/// Tasks that wait for workers of one pool. A run has at most 16 dispatched, so this serves 1024 runs that all wait.
pub const POOL_TASKS_MAX: usize = 16_384;
/// A task that no worker took for so long is for a pool that nobody serves.
const TASK_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// A result that is published again within this time is stored once.
const RESULT_TWICE_WITHIN: Duration = Duration::from_secs(5 * 60);
/// How long the server says that a lease ended, to those who watch.
pub const LEASE_MARKER: Duration = Duration::from_secs(60);

/// What the servers can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// A single server before 2.12: leases end by the clocks of those who look, not by the server's.
    Development,
    /// Messages end by themselves, and conditional publishes to replicated streams are safe.
    Production,
}

/// A stream, and the part of its configuration that something depends on. What an operator may choose, such as a bound
/// on its size, is not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub stream: String,
    pub config: Map<String, Value>,
}

/// All streams of a cluster. Journal and results have no age: what a run has goes when the run is removed.
#[must_use]
pub fn streams(names: &Names, settings: &NatsSettings, level: Level) -> Vec<Wanted> {
    let wanted = |stream: String, subjects: String, more: Value| {
        let mut config = Map::new();
        config.insert("name".to_owned(), json!(stream));
        config.insert("subjects".to_owned(), json!([subjects]));
        config.insert("storage".to_owned(), json!("file"));
        config.insert("num_replicas".to_owned(), json!(settings.replicas));
        config.insert("discard".to_owned(), json!("new"));
        config.insert("max_age".to_owned(), json!(0));
        config.insert("max_consumers".to_owned(), json!(CONSUMERS_MAX));
        if let Value::Object(more) = more {
            config.extend(more);
        }
        Wanted { stream, config }
    };
    let newest_of_each_subject = json!({ "retention": "limits", "max_msgs_per_subject": 1 });
    vec![
        wanted(names.journal_stream(), names.journal_subjects(), json!({ "retention": "limits", "deny_delete": true })),
        wanted(names.blobs_stream(), names.blobs_subjects(), newest_of_each_subject),
        wanted(names.directory_stream(), names.directory_subjects(), directory(level)),
        wanted(names.leases_stream(), names.leases_subjects(), leases(level)),
        wanted(names.tasks_stream(), names.tasks_subjects(), tasks(settings, level)),
        wanted(names.results_stream(), names.results_subjects(), results()),
    ]
}

fn directory(level: Level) -> Value {
    let mut config = json!({ "retention": "limits", "max_msgs_per_subject": 1 });
    if level == Level::Production {
        config["allow_msg_ttl"] = json!(true);
    }
    config
}

fn leases(level: Level) -> Value {
    let mut config = json!({ "retention": "limits", "max_msgs_per_subject": 1, "allow_rollup_hdrs": true });
    if level == Level::Production {
        config["allow_msg_ttl"] = json!(true);
        config["subject_delete_marker_ttl"] = json!(nanoseconds(LEASE_MARKER));
    }
    config
}

/// Tasks need no flush of their own: the journal has them too, and owners dispatch again what a server lost that died.
/// Servers that replicate do not lose them, and do not take the option.
fn tasks(settings: &NatsSettings, level: Level) -> Value {
    let mut config = json!({
        "retention": "workqueue",
        "max_msgs_per_subject": POOL_TASKS_MAX,
        "discard_new_per_subject": true,
        "max_age": nanoseconds(TASK_AGE_MAX),
    });
    if level == Level::Production && settings.replicas == 1 {
        config["persist_mode"] = json!("async");
    }
    config
}

fn results() -> Value {
    json!({ "retention": "workqueue", "duplicate_window": nanoseconds(RESULT_TWICE_WITHIN) })
}
