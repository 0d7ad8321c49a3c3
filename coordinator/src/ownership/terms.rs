//! Terms: how long a lease lasts here, and how often it is renewed.

use std::time::Duration;
use tokio::time::Instant;

/// A lease is renewed at least so often, so that a lost request does not cost it.
const RENEW_EVERY_MAX: Duration = Duration::from_secs(1);

/// The time of leases, as the holder counts it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    lease: Duration,
}

impl Terms {
    /// For a store in which a lease ends so long after it was taken or renewed.
    pub fn new(lease: Duration) -> Terms {
        Terms { lease }
    }

    /// How long the store waits for the holder.
    pub fn lease(self) -> Duration {
        self.lease
    }

    /// Between two renewals, and how long one may take.
    pub fn renew_every(self) -> Duration {
        (self.lease / 3).min(RENEW_EVERY_MAX)
    }

    /// Until when the holder may act on a lease that it asked for at this moment. Counted from the sending, by a clock
    /// that does not jump, and shorter than the store counts: what is on its way then arrives before the next owner.
    pub fn deadline(self, sent_at: Instant) -> Instant {
        sent_at + self.lease.saturating_sub(self.renew_every())
    }
}
