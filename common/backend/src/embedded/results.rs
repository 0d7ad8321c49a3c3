//! Results in memory, on their way from the workers of this process to the owners in it.

use async_trait::async_trait;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{ResultDelivery, Results, ResultsError};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, Semaphore};

/// Results that are not done. Beyond it `publish` waits: a worker keeps its result and its slot meanwhile. A run has
/// at most 16, so this serves 1024 runs at once.
const RESULTS_MAX: usize = 16 * 1024;

/// Results of one process. One that was consumed but is not done is kept, and delivered again only when
/// `redeliver` says that its consumer is gone.
#[derive(Debug)]
pub struct LocalResults {
    state: Mutex<State>,
    arrived: Notify,
    room: Semaphore,
}

/// Keys are deliveries, so both maps are in the order of publication.
#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<u64, (RunId, Bytes)>,
    consumed: BTreeMap<u64, (RunId, Bytes)>,
    deliveries: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the process is ending")]
struct Ending;

impl Default for LocalResults {
    fn default() -> LocalResults {
        LocalResults { state: Mutex::default(), arrived: Notify::new(), room: Semaphore::new(RESULTS_MAX) }
    }
}

impl LocalResults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, max: usize) -> Vec<ResultDelivery> {
        let mut state = self.state();
        let mut taken = Vec::new();
        while taken.len() < max.max(1)
            && let Some((delivery, (run, result))) = state.waiting.pop_first()
        {
            state.consumed.insert(delivery, (run.clone(), result.clone()));
            taken.push(ResultDelivery { delivery, run, result });
        }
        if !state.waiting.is_empty() {
            self.arrived.notify_one(); // Notifications do not add up: the next consumer is woken by this one.
        }
        taken
    }
}

#[async_trait]
impl Results for LocalResults {
    async fn publish(&self, run: &RunId, result: Bytes) -> Result<(), ResultsError> {
        let room = self.room.acquire().await.map_err(|_| ResultsError::Unavailable { source: Ending.into() })?;
        room.forget(); // `done` gives it back.
        let mut state = self.state();
        state.deliveries += 1;
        let delivery = state.deliveries;
        state.waiting.insert(delivery, (run.clone(), result));
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    async fn consume(&self, max: usize) -> Result<Vec<ResultDelivery>, ResultsError> {
        loop {
            let taken = self.take(max);
            if !taken.is_empty() {
                return Ok(taken);
            }
            self.arrived.notified().await;
        }
    }

    async fn redeliver(&self, run: &RunId) -> Result<(), ResultsError> {
        let mut state = self.state();
        let again: BTreeMap<_, _> = state.consumed.extract_if(.., |_, (of, _)| of == run).collect();
        state.waiting.extend(again);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    async fn done(&self, delivery: u64) -> Result<(), ResultsError> {
        let mut state = self.state();
        // It is among the waiting when it was done late, after a redelivery.
        if state.consumed.remove(&delivery).or_else(|| state.waiting.remove(&delivery)).is_some() {
            self.room.add_permits(1);
        }
        Ok(())
    }
}
