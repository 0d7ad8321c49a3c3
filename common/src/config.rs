//! Settings: one struct per area, units in the names, each default in one place.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a worker works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSettings {
    /// Attempts at the same time. Since: 0.1.
    pub slots: usize,
    /// Between two heartbeats. Since: 0.1.
    pub heartbeat_ms: u64,
    /// Standard output of a `command` agent. Since: 0.1.
    pub output_bytes_max: u64,
    /// An attempt without its own `timeout` ends after this. Since: 0.1.
    pub attempt_timeout_ms: u64,
    /// An attempt without its own `stallMs` ends after so long without progress; 0 is never. Since: 0.1.
    pub stall_ms: u64,
    /// How long a new owner waits for the processes of the one before to be gone. Since: 0.1.
    pub attempts_lock_wait_ms: u64,
    /// Between asking the processes of an attempt to end and killing them. Since: 0.1.
    pub kill_grace_ms: u64,
}

impl Default for WorkerSettings {
    fn default() -> WorkerSettings {
        WorkerSettings {
            slots: 64,
            heartbeat_ms: 5_000,
            output_bytes_max: 1024 * 1024,
            attempt_timeout_ms: 30 * 60 * 1000,
            stall_ms: 180_000,
            attempts_lock_wait_ms: 10_000,
            kill_grace_ms: 2_000,
        }
    }
}

/// How a coordinator works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoordinatorSettings {
    /// A claimed attempt without a heartbeat for so long is lost. Since: 0.1.
    pub attempt_deadline_ms: u64,
    /// A dispatched task that nobody claims for so long is dispatched again. Since: 0.1.
    pub claim_wait_ms: u64,
    /// How long a task waits for a worker of its host before its agent fails; 0: it fails at once. Since: 0.1.
    pub host_wait_ms: u64,
    /// How long agents that the script never awaited may still run after it returned (C28). Since: 0.1.
    pub grace_ms: u64,
    /// A script that has waited for so long may lose its host. Since: 0.1.
    pub hibernate_after_ms: u64,
    /// It does when there are more script hosts than this. Since: 0.1.
    pub hosts_max: usize,
}

impl Default for CoordinatorSettings {
    fn default() -> CoordinatorSettings {
        CoordinatorSettings {
            attempt_deadline_ms: 20_000,
            claim_wait_ms: 30_000,
            host_wait_ms: 0,
            grace_ms: 2_000,
            hibernate_after_ms: 60_000,
            hosts_max: 1024,
        }
    }
}

/// How to reach the cluster's NATS servers, and how the cluster lies on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsSettings {
    /// Addresses of servers, with commas between them. Since: 0.2.
    pub url: String,
    /// Begins the name of everything of this cluster, so that clusters can share a server. Since: 0.2.
    pub prefix: String,
    /// A file with a user's token and key. Since: 0.2.
    pub creds_file: Option<PathBuf>,
    /// A file with the seed of a user's key. Since: 0.2.
    pub nkey_file: Option<PathBuf>,
    /// With `password_file`. Since: 0.2.
    pub user: Option<String>,
    /// A file whose first line is the password. Since: 0.2.
    pub password_file: Option<PathBuf>,
    /// Certificates of the authorities that a server may have its own from. Since: 0.2.
    pub tls_ca: Option<PathBuf>,
    /// Our own certificate, with `tls_key`. Since: 0.2.
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// Parts of all runs that coordinators share out; never changes in the life of a cluster. Since: 0.2.
    pub shards: u16,
    /// Servers that keep each record: 1, 3 or 5. Since: 0.2.
    pub replicas: u8,
    /// A lease that is not renewed for so long ends; whole seconds. Since: 0.2.
    pub lease_ms: u64,
    /// A message that is not marked done for so long is delivered again. Since: 0.2.
    pub ack_wait_ms: u64,
}

impl Default for NatsSettings {
    fn default() -> NatsSettings {
        NatsSettings {
            url: String::from("nats://127.0.0.1:4222"),
            prefix: String::from("skein"),
            creds_file: None,
            nkey_file: None,
            user: None,
            password_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            shards: 16,
            replicas: 1,
            lease_ms: 3_000,
            ack_wait_ms: 25_000,
        }
    }
}

/// Reads `90s`, `5m`, `2h`, `250ms` or plain milliseconds.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c23_durations_are_read_in_words_or_milliseconds() {
        assert_eq!(parse_duration_ms("90s"), Some(90_000));
        assert_eq!(parse_duration_ms("5m"), Some(300_000));
        assert_eq!(parse_duration_ms("1500"), Some(1500));
        for bad in ["", "s", "-5", "1.5s", "5 parsecs", "99999999999999999999h"] {
            assert_eq!(parse_duration_ms(bad), None, "{bad}");
        }
    }
}
