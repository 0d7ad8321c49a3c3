//! Timers: what a run is told when a time has come. One queue a run, gone with its loop.

use skein_engine::Command;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Commands by the moment at which they are due; the number keeps those of one moment apart and in order.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeMap<(Instant, u64), Command>,
    started: u64,
}

impl Timers {
    /// The command comes after this time.
    pub fn start(&mut self, wait_ms: u64, command: Command) {
        self.started += 1;
        let at = Instant::now() + Duration::from_millis(wait_ms);
        self.due.insert((at, self.started), command);
    }

    /// The commands whose time has come.
    pub fn take_due(&mut self) -> Vec<Command> {
        let later = self.due.split_off(&(Instant::now(), u64::MAX));
        std::mem::replace(&mut self.due, later).into_values().collect()
    }

    /// Waits for the next one; for ever when there is none.
    pub async fn next(&self) {
        match self.due.keys().next() {
            Some((at, _)) => tokio::time::sleep_until((*at).into()).await,
            None => std::future::pending().await,
        }
    }
}
