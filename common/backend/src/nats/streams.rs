//! The work queues of a cluster: the configuration of their streams, as the server's store takes it.

use super::names::Names;
use serde_json::{Value, json};
use skein_common::config::NatsSettings;
use std::time::Duration;

/// Tasks of one pool that wait. A run has at most 16 dispatched, so this serves 1024 runs that all wait.
pub(super) const TASKS_PER_POOL_MAX: usize = 16 * 1024;
/// A result that is sent again within this time is stored once.
const RESULTS_SENT_AGAIN_WITHIN: Duration = Duration::from_secs(300);
/// Pools and shards have a consumer each. Without a bound of its own a stream of a server since 2.15 has 1000.
const CONSUMERS_MAX: u32 = 100_000;

/// The stream of tasks that wait for workers, a subject per pool. A full pool refuses more, and other pools do not
/// notice.
pub(super) fn tasks(names: &Names, settings: &NatsSettings) -> Value {
    json!({
        "name": names.tasks_stream(),
        "subjects": [names.tasks_subjects()],
        "retention": "workqueue",
        "storage": "file",
        "num_replicas": settings.replicas,
        "discard": "new",
        "discard_new_per_subject": true,
        "max_msgs_per_subject": TASKS_PER_POOL_MAX,
        "max_consumers": CONSUMERS_MAX,
    })
}

/// The stream of results that wait for the owners of their runs. Nothing of it ends by age.
pub(super) fn results(names: &Names, settings: &NatsSettings) -> Value {
    json!({
        "name": names.results_stream(),
        "subjects": [names.results_subjects()],
        "retention": "workqueue",
        "storage": "file",
        "num_replicas": settings.replicas,
        "discard": "new",
        "duplicate_window": u64::try_from(RESULTS_SENT_AGAIN_WITHIN.as_nanos()).unwrap_or(u64::MAX),
        "max_consumers": CONSUMERS_MAX,
    })
}
