//! Tasks for one host: they go straight to the worker that serves it, or nowhere.

use super::background::Background;
use super::connection::{Connection, RequestError};
use async_nats::{Client, HeaderMap, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use skein_common::ports::{TaskDelivery, TasksError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Tasks that wait at a host for a pull. Beyond it a worker answers that it is full.
const WAITING_MAX: usize = 1024;
/// Workers of one host share its tasks.
const GROUP: &str = "workers";
const TAKEN: Bytes = Bytes::from_static(b"ok");
const FULL: Bytes = Bytes::from_static(b"full");
/// A worker answers as soon as it has the task in its memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// These tasks are not in a stream: there is nothing to acknowledge, and streams count from 1.
const NO_DELIVERY: u64 = 0;

#[derive(Debug, thiserror::Error)]
#[error("the worker answered something that is no answer")]
struct Nonsense;

/// Asks the worker that serves this subject to take the task.
pub(super) async fn dispatch(
    connection: &Connection,
    subject: &str,
    host: &str,
    task: Bytes,
) -> Result<(), TasksError> {
    match connection.request_within(subject, HeaderMap::new(), task, ANSWER_WITHIN).await {
        Ok(answer) if answer.payload == TAKEN => Ok(()),
        Ok(answer) if answer.payload == FULL => Err(TasksError::Full { bound: WAITING_MAX }),
        Ok(_) => Err(TasksError::Unavailable { source: Nonsense.into() }),
        Err(RequestError::NoResponders { .. }) => Err(TasksError::NobodyServes { host: host.to_owned() }),
        Err(error) => Err(TasksError::Unavailable { source: error.into() }),
    }
}

/// A host that this process serves, for as long as this lives.
#[derive(Debug)]
pub(super) struct Host {
    waiting: Arc<Waiting>,
    _listener: Background,
}

#[derive(Debug, Default)]
struct Waiting {
    tasks: Mutex<VecDeque<Bytes>>,
    arrived: Notify,
}

impl Host {
    pub async fn serve(client: &Client, subject: String) -> Result<Host, async_nats::SubscribeError> {
        let messages = client.queue_subscribe(subject, GROUP.to_owned()).await?;
        let waiting = Arc::new(Waiting::default());
        let listener = Background::start(listen(client.clone(), messages, waiting.clone()));
        Ok(Host { waiting, _listener: listener })
    }

    /// Waits for 1 to `max` tasks.
    pub async fn take(&self, max: usize) -> Vec<TaskDelivery> {
        loop {
            let taken = self.waiting.take_now(max.max(1));
            if !taken.is_empty() {
                return taken;
            }
            self.waiting.arrived.notified().await;
        }
    }
}

impl Waiting {
    fn tasks(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_now(&self, max: usize) -> Vec<TaskDelivery> {
        let mut tasks = self.tasks();
        let count = tasks.len().min(max);
        let taken = tasks.drain(..count).map(|task| TaskDelivery { delivery: NO_DELIVERY, task }).collect();
        if !tasks.is_empty() {
            self.arrived.notify_one(); // Notifications do not add up: the next pull is woken by this one.
        }
        taken
    }

    fn put(&self, task: Bytes) -> Bytes {
        let mut tasks = self.tasks();
        if tasks.len() >= WAITING_MAX {
            return FULL;
        }
        tasks.push_back(task);
        drop(tasks);
        self.arrived.notify_one();
        TAKEN
    }
}

async fn listen(client: Client, mut messages: Subscriber, waiting: Arc<Waiting>) {
    while let Some(message) = messages.next().await {
        // Who does not wait for the answer would not know what became of the task.
        let Some(reply) = message.reply else { continue };
        let answer = waiting.put(message.payload);
        if client.publish(reply, answer).await.is_err() {
            return;
        }
    }
}
