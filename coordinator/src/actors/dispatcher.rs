//! Dispatcher: brings tasks on their way, beside the loop of their run, and says what became of those that nobody took.

use super::fleet::Fleet;
use super::inbox::Inbox;
use super::messages::Forget;
use actix::Addr;
use bytes::Bytes;
use futures::FutureExt as _;
use skein_common::agent::Cause;
use skein_common::ports::{Target, Tasks, TasksError};
use skein_common::wire::AttemptRef;
use skein_common::{AgentNumber, AttemptNumber, RunId};
use skein_engine::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a host whose worker was heard of lately may have none: a server that was restarted has its workers back by
/// then.
const SERVED_HOST_WAIT_MS: u64 = 10_000;
/// Between two looks for a worker of a host that nobody serves yet.
const HOST_AGAIN: Duration = Duration::from_millis(250);

/// A task to be brought to a worker.
pub(super) struct Dispatched {
    pub agent: AgentNumber,
    pub attempt: AttemptNumber,
    pub target: Target,
    pub task: Bytes,
    /// A worker is known that takes it.
    pub is_served: bool,
}

/// What dispatching needs, of one run.
#[derive(Clone)]
pub(super) struct Dispatcher {
    pub run: RunId,
    pub tasks: Arc<dyn Tasks>,
    pub inbox: Inbox,
    pub fleet: Addr<Fleet>,
    /// How long a task waits for a worker of its host.
    pub host_wait_ms: u64,
    /// Workers live and die apart from their owners.
    pub is_cluster: bool,
}

/// What a run is told of an attempt that is with nobody.
pub(super) fn rejection(agent: AgentNumber, attempt: AttemptNumber, error: &TasksError) -> Command {
    let (cause, detail) = match error {
        TasksError::NobodyServes { .. } => (Cause::Failed, "no_worker"),
        _ => (Cause::Lost, "not_dispatched"),
    };
    Command::Reject { agent, attempt, cause, detail: detail.to_owned(), message: error.to_string() }
}

impl Dispatcher {
    /// Sends the tasks. The loop of the run does not wait until a queue has stored them: they are in its journal, and
    /// expected.
    pub async fn dispatch(self, tasks: Vec<Dispatched>) {
        if tasks.is_empty() {
            return;
        }
        let mut sending = Box::pin(async move {
            let sent = tasks.iter().map(|task| self.tasks.dispatch(&task.target, task.task.clone()));
            let sent = futures::future::join_all(sent).await;
            for (task, sent) in tasks.into_iter().zip(sent) {
                if let Err(error) = sent {
                    self.not_dispatched(task, error).await;
                }
            }
        });
        // Where the workers are in this process nothing is waited for.
        if (&mut sending).now_or_never().is_none() {
            actix::spawn(sending);
        }
    }

    fn attempt_of(&self, task: &Dispatched) -> AttemptRef {
        AttemptRef { run: self.run.clone(), agent: task.agent, attempt: task.attempt }
    }

    async fn not_dispatched(&self, task: Dispatched, error: TasksError) {
        // A worker that was heard of a moment ago, and its connection, may come back.
        let wait_ms = if task.is_served { self.host_wait_ms.max(SERVED_HOST_WAIT_MS) } else { self.host_wait_ms };
        match error {
            TasksError::NobodyServes { .. } if wait_ms > 0 => {
                let waiting = self.clone().wait_for_host(task, Duration::from_millis(wait_ms));
                actix::spawn(waiting);
            }
            // It may be with a worker all the same. Nobody who claims it late is refused, and else it is dispatched
            // again: the bus is away, or its queue is full.
            TasksError::Unavailable { .. } | TasksError::Full { .. } if self.is_cluster => {
                tracing::warn!(run_id = %self.run, agent = task.agent, %error, "task not dispatched yet");
            }
            error => self.reject(&task, &error).await,
        }
    }

    /// The worker of a host may come yet.
    async fn wait_for_host(self, task: Dispatched, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            tokio::time::sleep(HOST_AGAIN).await;
            match self.tasks.dispatch(&task.target, task.task.clone()).await {
                Ok(()) => return,
                Err(TasksError::NobodyServes { .. } | TasksError::Unavailable { .. })
                    if Instant::now() < until && self.inbox.is_live() => {}
                Err(error) => return self.reject(&task, &error).await,
            }
        }
    }

    async fn reject(&self, task: &Dispatched, error: &TasksError) {
        if self.fleet.send(Forget { attempts: vec![self.attempt_of(task)] }).await.is_err() {
            tracing::error!(run_id = %self.run, "fleet is gone");
        }
        self.inbox.push(rejection(task.agent, task.attempt, error));
    }
}
