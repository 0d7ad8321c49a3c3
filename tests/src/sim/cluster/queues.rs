//! The queues between a cluster's coordinators and its workers: work queues that keep what nobody acknowledged.

use super::world::{ACK_WAIT_MS, Life};
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{Target, TaskDelivery, Tasks, TasksError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tasks for a pool. One that was taken and is not done comes again.
#[derive(Debug, Default)]
pub(super) struct TaskQueue(Mutex<Queued>);

#[derive(Debug, Default)]
struct Queued {
    waiting: VecDeque<TaskDelivery>,
    /// With the time at which they come again.
    taken: BTreeMap<u64, (TaskDelivery, u64)>,
    total: u64,
}

impl TaskQueue {
    fn queued(&self) -> MutexGuard<'_, Queued> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(&self, now_ms: u64, max: usize) -> Vec<TaskDelivery> {
        let mut queued = self.queued();
        let is_due = |_: &u64, (_, again_ms): &mut (TaskDelivery, u64)| *again_ms <= now_ms;
        let again: Vec<TaskDelivery> = queued.taken.extract_if(.., is_due).map(|(_, (task, _))| task).collect();
        again.into_iter().rev().for_each(|task| queued.waiting.push_front(task));
        let count = queued.waiting.len().min(max);
        let tasks: Vec<TaskDelivery> = queued.waiting.drain(..count).collect();
        for task in &tasks {
            queued.taken.insert(task.delivery, (task.clone(), now_ms + ACK_WAIT_MS));
        }
        tasks
    }

    pub fn finish(&self, delivery: u64) {
        let mut queued = self.queued();
        queued.taken.remove(&delivery);
        queued.waiting.retain(|task| task.delivery != delivery);
    }

    pub fn put(&self, task: Bytes) {
        let mut queued = self.queued();
        queued.total += 1;
        let delivery = queued.total;
        queued.waiting.push_back(TaskDelivery { delivery, task });
    }
}

#[async_trait]
impl Tasks for TaskQueue {
    async fn dispatch(&self, _: &Target, task: Bytes) -> Result<(), TasksError> {
        self.put(task);
        Ok(())
    }

    async fn pull(&self, _: &Target, _: usize) -> Result<Vec<TaskDelivery>, TasksError> {
        // Simulated workers take what there is, see `take`.
        std::future::pending().await
    }

    async fn done(&self, delivery: u64) -> Result<(), TasksError> {
        self.finish(delivery);
        Ok(())
    }

    async fn leave(&self, _: &Target) {}
}

/// Results for the owner of a shard, whose consumer is made anew by each owner.
#[derive(Debug, Default)]
pub(super) struct ResultQueue {
    results: Vec<Stored>,
    /// Counts the consumers; only the newest gets anything.
    consumer: u64,
    total: u64,
}

#[derive(Debug)]
struct Stored {
    id: u64,
    result: Bytes,
    taken: bool,
}

/// How a result came to its owner.
#[derive(Debug, Clone, Copy)]
pub(super) enum Delivery {
    /// By the queue, to the consumer of this number.
    Queued { consumer: u64, id: u64 },
    /// Straight from its worker, who waits.
    Offered { by: Life, number: u64 },
}

impl ResultQueue {
    pub fn publish(&mut self, result: Bytes) {
        self.total += 1;
        self.results.push(Stored { id: self.total, result, taken: false });
    }

    /// A new owner; what was not acknowledged comes at once.
    pub fn attach(&mut self) -> u64 {
        self.consumer += 1;
        self.redeliver(self.consumer);
        self.consumer
    }

    pub fn redeliver(&mut self, consumer: u64) {
        if consumer == self.consumer {
            self.results.iter_mut().for_each(|stored| stored.taken = false);
        }
    }

    pub fn consume(&mut self, consumer: u64, max: usize) -> Vec<(Delivery, Bytes)> {
        let waiting = self.results.iter_mut().filter(|stored| consumer == self.consumer && !stored.taken);
        let take = |stored: &mut Stored| {
            stored.taken = true;
            (Delivery::Queued { consumer, id: stored.id }, stored.result.clone())
        };
        waiting.take(max).map(take).collect()
    }

    /// From a consumer that is gone it means nothing.
    pub fn finish(&mut self, consumer: u64, id: u64) {
        if consumer == self.consumer {
            self.results.retain(|stored| stored.id != id);
        }
    }
}
