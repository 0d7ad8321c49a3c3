//! Sweep: while a process owns a store for writing, runs that were kept long enough are removed from it (R12).

use skein_coordinator::{Clock as _, Coordinator, Retention, SWEEP_EVERY_MS, SystemClock};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// After a coordinator got shards it looks whether their runs have ended, and does not remove them meanwhile: until the
/// next sweep, at first.
const AGAIN_FIRST: Duration = Duration::from_secs(1);

/// The sweeps of one process: one at once, then one an hour.
pub struct Sweeps {
    /// When the first step is done.
    first: oneshot::Receiver<()>,
    task: JoinHandle<()>,
}

impl Sweeps {
    /// Starts beside whatever the process does.
    #[must_use]
    pub fn start(retention: Retention, days: u32) -> Sweeps {
        let (done, first) = oneshot::channel();
        let task = actix::spawn(async move {
            tell(retention.sweep_if_due(SystemClock.now_ms(), days).await, days);
            let _nobody_waits = done.send(());
            sweep_on(&retention, days).await;
        });
        Sweeps { first, task }
    }

    /// The same for a coordinator, which removes its own: as soon as it has shards, whenever it gets more, and then less
    /// and less often, every hour at least.
    #[must_use]
    pub fn start_of(coordinator: Coordinator, days: u32) -> Sweeps {
        let (done, first) = oneshot::channel();
        // Ended in the middle, a sweep is gone on with by the next owner: there is nothing to wait for.
        let _nobody_waits = done.send(());
        let task = actix::spawn(async move {
            // Runs have nothing beside the ports here; what their agents left is on the workers.
            let retention = coordinator.retention(Box::new(|_| Ok(())));
            let (mut swept, mut pause) = (BTreeSet::new(), AGAIN_FIRST);
            loop {
                match timeout(pause, coordinator.more_shards(&swept)).await {
                    Ok(owned) => (swept, pause) = (owned, AGAIN_FIRST),
                    Err(_nothing_new) => pause = every().min(pause * 2),
                }
                tell(retention.sweep_all(SystemClock.now_ms(), days).await, days);
            }
        });
        Sweeps { first, task }
    }

    /// Lets the first step end, which a short command would otherwise never do; the rest goes on at the next start.
    pub async fn stop(self) {
        let _it_died = self.first.await;
        self.task.abort();
        let _aborted = self.task.await;
    }
}

async fn sweep_on(retention: &Retention, days: u32) {
    loop {
        tell(retention.sweep_all_if_due(SystemClock.now_ms(), days).await, days);
        tokio::time::sleep(every()).await;
    }
}

fn every() -> Duration {
    Duration::from_millis(SWEEP_EVERY_MS.unsigned_abs())
}

fn tell(swept: Result<usize, skein_coordinator::RemoveError>, days: u32) {
    match swept {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, days, "runs that were kept long enough are removed"),
        Err(error) => tracing::warn!(%error, "the store was not swept"),
    }
}
