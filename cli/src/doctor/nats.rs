//! The NATS servers of the cluster that this machine is set up for: whether a process could join.

use super::Check;
use crate::args::Global;
use crate::cluster::join_at_once;
use std::time::Duration;

/// A server that is well answers in milliseconds.
const DEADLINE: Duration = Duration::from_secs(15);
const READ: &str = "docs/cluster.md says how to set one up";

/// Nothing where no cluster is set up.
pub async fn nats(global: &Global) -> Option<Check> {
    if !global.settings.is_set("nats.url") {
        return None;
    }
    // Looking makes nothing.
    let joined = tokio::time::timeout(DEADLINE, join_at_once(&global.settings, false, "doctor")).await;
    Some(match joined {
        Ok(Ok(backend)) => {
            let text = format!("{}: {}", global.settings.nats.url, backend.ports().journal.durability());
            match backend.notes().as_slice() {
                [] => Check::ok("nats", text),
                notes => Check::warn("nats", text, notes.join("; ")),
            }
        }
        Ok(Err(error)) => Check::fail("nats", error.to_string(), READ),
        Err(_) => Check::fail("nats", format!("{} does not answer in time", global.settings.nats.url), READ),
    })
}
