//! Clock: the only way time comes into a run.

use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time, ms since the Unix epoch. Tests give their own.
pub trait Clock: Send + Sync {
    fn now_ms(&self) -> i64;
}

/// The machine's clock. It may jump back; a run's own time never does, because the driver keeps the latest it saw.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .unwrap_or(0)
    }
}
