//! Sweep: while a process owns a store for writing, runs that were kept long enough are removed from it (R12).

use skein_coordinator::{Clock as _, Retention, SWEEP_EVERY_MS, SystemClock};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The sweeps of one process: one at once, then one an hour.
pub struct Sweeps {
    first: oneshot::Receiver<()>,
    task: JoinHandle<()>,
}

impl Sweeps {
    /// Starts beside whatever the process does.
    #[must_use]
    pub fn start(retention: Retention, days: u32) -> Sweeps {
        let (done, first) = oneshot::channel();
        let task = actix::spawn(async move {
            sweep(&retention, days).await;
            let _nobody_waits = done.send(());
            loop {
                tokio::time::sleep(Duration::from_millis(SWEEP_EVERY_MS.unsigned_abs())).await;
                sweep(&retention, days).await;
            }
        });
        Sweeps { first, task }
    }

    /// Lets the first sweep end, which a short command would otherwise never do; a later one goes on at the next start.
    pub async fn stop(self) {
        let _it_died = self.first.await;
        self.task.abort();
        let _aborted = self.task.await;
    }
}

async fn sweep(retention: &Retention, days: u32) {
    match retention.sweep_if_due(SystemClock.now_ms(), days).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, days, "runs that were kept long enough are removed"),
        Err(error) => tracing::warn!(%error, "the store was not swept"),
    }
}
