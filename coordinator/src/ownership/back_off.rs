//! Back-off: a process to which the store does not bring what comes for its shards tries ever more rarely, and takes no
//! part meanwhile, so that others have them.

use std::time::Duration;
use tokio::time::Instant;

/// Before shards are taken again; doubled for each time in a row that some could not be attached.
const FIRST: Duration = Duration::from_millis(500);
/// Whoever mends the store waits no longer for this process. Each time the others give it its part, and have it back
/// when it fails again.
const MOST: Duration = Duration::from_secs(300);
/// After so many times in a row it is no accident.
const TIMES_TO_LEAVE: u32 = 3;

/// How often it failed, and until when nothing is taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BackOff {
    times: u32,
    until: Option<Instant>,
}

impl BackOff {
    /// Shards were taken, and some were given back because they could not be attached, or none.
    pub(super) fn after(self, failed: bool, now: Instant) -> BackOff {
        if !failed {
            return BackOff::default();
        }
        let wait = FIRST.saturating_mul(2u32.saturating_pow(self.times)).min(MOST);
        BackOff { times: self.times.saturating_add(1), until: Some(now + wait) }
    }

    /// Nothing is to be taken now.
    pub(super) fn waits(self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Others shall have its part.
    pub(super) fn takes_no_part(self, now: Instant) -> bool {
        self.waits(now) && self.times >= TIMES_TO_LEAVE
    }
}
