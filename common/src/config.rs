//! Settings: one struct per area, units in the names, each default in one place.

use serde::{Deserialize, Serialize};

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
