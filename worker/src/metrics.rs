//! Metrics of a worker.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use skein_common::metrics::{Deliveries, Meters, MetricsError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The metrics of one worker. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    slots: Slots,
    pub(crate) deliveries: Deliveries,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(meters: &Meters, deliveries: Deliveries) -> Result<Metrics, MetricsError> {
        Ok(Metrics { slots: meters.register(Slots::new()?)?, deliveries })
    }

    /// Of a worker that nobody watches.
    ///
    /// # Errors
    /// None that is known.
    pub fn unwatched() -> Result<Metrics, MetricsError> {
        let meters = Meters::default();
        Metrics::register(&meters, Deliveries::register(&meters)?)
    }

    /// The slots as they are now.
    pub(crate) fn show_slots(&self, free: usize, all: usize) {
        *self.slots.counts() = Counts { free, all };
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    free: usize,
    all: usize,
}

/// Shows the slots of the moment in which it is asked.
#[derive(Debug, Clone)]
struct Slots {
    counts: Arc<Mutex<Counts>>,
    gauge: IntGaugeVec,
}

impl Slots {
    fn new() -> Result<Slots, MetricsError> {
        let opts =
            Opts::new("skein_worker_slots", "Attempts that this worker can have at a time: free, and busy ones.");
        Ok(Slots { counts: Arc::default(), gauge: IntGaugeVec::new(opts, &["state"])? })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Slots {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Held until both are read: two who ask at once must not mix their numbers.
        let counts = self.counts();
        for (state, count) in [("free", counts.free), ("busy", counts.all.saturating_sub(counts.free))] {
            self.gauge.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.gauge.collect()
    }
}
