//! Tasks in memory: a queue per target.

use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{Target, TaskDelivery, Tasks, TasksError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Tasks that wait, of all targets together. A run has at most 16 dispatched, so this serves 1024 runs that all wait.
const TASKS_MAX: usize = 16 * 1024;

/// Queues of one process. A host counts as served from its first pull on, for as long as the process lives.
///
/// A task leaves its queue in the moment its pull answers: until then a dropped pull loses nothing, and from then on
/// it is the puller's, who is in the same process, so nothing is delivered twice and `done` has nothing to do.
#[derive(Debug, Default)]
pub struct LocalTasks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<Target, Queue>,
    /// Tasks in all queues.
    waiting: usize,
    deliveries: u64,
}

#[derive(Debug, Default)]
struct Queue {
    tasks: VecDeque<TaskDelivery>,
    /// Pulls that wait now.
    pulls: usize,
    arrived: Arc<Notify>,
}

impl LocalTasks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn queue_count(&self) -> usize {
        self.state().queues.len()
    }

    fn begin_pull<'a>(&'a self, target: &'a Target) -> Pull<'a> {
        let mut state = self.state();
        let queue = state.queues.entry(target.clone()).or_default();
        queue.pulls += 1;
        Pull { tasks: self, target, arrived: queue.arrived.clone() }
    }
}

#[async_trait]
impl Tasks for LocalTasks {
    async fn dispatch(&self, target: &Target, task: Bytes) -> Result<(), TasksError> {
        let mut state = self.state();
        let State { queues, waiting, deliveries } = &mut *state;
        if let Target::Host(host) = target
            && !queues.contains_key(target)
        {
            return Err(TasksError::NobodyServes { host: host.clone() });
        }
        if *waiting >= TASKS_MAX {
            return Err(TasksError::Full { bound: TASKS_MAX });
        }
        *waiting += 1;
        *deliveries += 1;
        let queue = queues.entry(target.clone()).or_default();
        queue.tasks.push_back(TaskDelivery { delivery: *deliveries, task });
        queue.arrived.notify_one();
        Ok(())
    }

    async fn pull(&self, target: &Target, max: usize) -> Result<Vec<TaskDelivery>, TasksError> {
        let pull = self.begin_pull(target);
        loop {
            let taken = pull.take(max);
            if !taken.is_empty() {
                return Ok(taken);
            }
            pull.arrived.notified().await;
        }
    }

    async fn leave(&self, target: &Target) {
        let mut state = self.state();
        if let (Target::Host(_), Some(queue)) = (target, state.queues.get(target))
            && queue.pulls == 0
        {
            let left = state.queues.remove(target).map_or(0, |queue| queue.tasks.len());
            state.waiting -= left;
        }
    }

    async fn done(&self, _delivery: u64) -> Result<(), TasksError> {
        Ok(())
    }
}

/// One waiting pull. Its end forgets a pool's queue that nobody uses.
struct Pull<'a> {
    tasks: &'a LocalTasks,
    target: &'a Target,
    arrived: Arc<Notify>,
}

impl Pull<'_> {
    fn take(&self, max: usize) -> Vec<TaskDelivery> {
        let mut state = self.tasks.state();
        let Some(queue) = state.queues.get_mut(self.target) else { return Vec::new() };
        let count = queue.tasks.len().min(max.max(1));
        let taken: Vec<_> = queue.tasks.drain(..count).collect();
        if !queue.tasks.is_empty() {
            queue.arrived.notify_one(); // Notifications do not add up: the next pull is woken by this one.
        }
        state.waiting -= taken.len();
        taken
    }
}

impl Drop for Pull<'_> {
    fn drop(&mut self) {
        let mut state = self.tasks.state();
        let Some(queue) = state.queues.get_mut(self.target) else { return };
        queue.pulls -= 1;
        if queue.pulls == 0 && queue.tasks.is_empty() && matches!(self.target, Target::Pool(_)) {
            state.queues.remove(self.target);
        }
    }
}
