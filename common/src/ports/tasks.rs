//! Tasks: work waiting for a worker.

use super::BoxError;
use async_trait::async_trait;
use bytes::Bytes;

/// Where a task may be carried out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Any worker of the pool.
    Pool(String),
    /// The worker that serves this host name.
    Host(String),
}

/// Work waiting for a worker.
///
/// Contract:
/// - A dispatched task is delivered to one puller of its target at a time; first dispatched, first delivered.
/// - A pull answers with 1 to `max` tasks and waits while there is none. Dropping a pull loses no task.
/// - A task that is not marked done may be delivered again; one that is done is not, unless the queue died.
/// - `dispatch` to a host that no worker serves answers `NobodyServes` and stores nothing.
/// - After `leave` a puller gets nothing more of the target until it pulls again; a host that nobody else serves is
///   served by nobody then.
/// - The queue is bounded: beyond the bound `dispatch` answers `Full` and stores nothing.
#[async_trait]
pub trait Tasks: Send + Sync {
    /// Makes a task available.
    async fn dispatch(&self, target: &Target, task: Bytes) -> Result<(), TasksError>;
    /// Takes up to `max` tasks.
    async fn pull(&self, target: &Target, max: usize) -> Result<Vec<TaskDelivery>, TasksError>;
    /// This process will not pull from the target any more. What it was given and did not pull may be lost where
    /// nothing is stored; its owners dispatch that again.
    async fn leave(&self, target: &Target);
    /// Waits until the queue may have died and lost tasks that it had taken. Never where it ends with this process.
    async fn died(&self) {
        std::future::pending().await
    }
    /// The task needs no further delivery.
    async fn done(&self, delivery: u64) -> Result<(), TasksError>;
}

/// A task as a worker gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskDelivery {
    /// For [`Tasks::done`].
    pub delivery: u64,
    pub task: Bytes,
}

/// What a caller of [`Tasks`] can do something about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TasksError {
    #[error("no worker serves host {host}")]
    NobodyServes { host: String },
    #[error("the task queue is full at {bound}")]
    Full { bound: usize },
    #[error("tasks unavailable")]
    Unavailable {
        #[source]
        source: BoxError,
    },
}
