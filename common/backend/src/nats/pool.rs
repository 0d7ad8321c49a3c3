//! Tasks of one pool on their way from its consumer to the pulls that wait for them.

use super::delivered::Delivered;
use super::intake::Intake;
use async_nats::{Client, Subject};
use bytes::Bytes;
use futures::FutureExt as _;
use skein_common::ports::TaskDelivery;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const ACK: Bytes = Bytes::from_static(b"+ACK");
/// Gives a message back: it is delivered again at once.
const NAK: Bytes = Bytes::from_static(b"-NAK");
/// A task that came when its pull was gone waits here for the next one, but not long: another worker may be free.
const UNWANTED_MAX: Duration = Duration::from_secs(1);

/// Where the delivered tasks of this process are acknowledged, by delivery.
#[derive(Debug)]
pub(super) struct Acks {
    client: Client,
    /// After this time a task is delivered again anyway.
    ack_wait: Duration,
    open: Mutex<BTreeMap<u64, (Subject, Instant)>>,
}

/// The buffer of one pool. A task leaves it in the moment its pull answers, so a dropped pull loses nothing.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    /// Tells pulls.
    arrived: Notify,
    /// Tells the puller.
    changed: Notify,
    client: Client,
    ack_wait: Duration,
}

#[derive(Debug, Default)]
struct State {
    tasks: VecDeque<(Delivered, Instant)>,
    /// What the pulls that wait now would take together.
    wanted: usize,
}

impl Acks {
    pub fn new(client: Client, ack_wait: Duration) -> Acks {
        Acks { client, ack_wait, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, (Subject, Instant)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task was handed over. Those that nobody marked done and that came again elsewhere are forgotten.
    pub fn expect(&self, delivered: Delivered) -> TaskDelivery {
        let mut open = self.open();
        let now = Instant::now();
        while let Some(oldest) = open.first_entry()
            && now.duration_since(oldest.get().1) > self.ack_wait * 4
        {
            oldest.remove();
        }
        open.insert(delivered.sequence, (delivered.ack, now));
        TaskDelivery { delivery: delivered.sequence, task: delivered.payload }
    }

    pub async fn done(&self, delivery: u64) -> Result<(), async_nats::PublishError> {
        let ack = self.open().remove(&delivery);
        match ack {
            Some((ack, _)) => self.client.publish(ack, ACK).await,
            None => Ok(()),
        }
    }
}

impl Pool {
    pub fn new(client: Client, ack_wait: Duration) -> Pool {
        Pool { state: Mutex::default(), arrived: Notify::new(), changed: Notify::new(), client, ack_wait }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.state().tasks.len()
    }

    /// Waits for 1 to `max` tasks.
    pub async fn take(&self, max: usize, acks: &Acks) -> Vec<TaskDelivery> {
        let wanted = Wanted::new(self, max.max(1));
        loop {
            let taken = self.take_now(max.max(1));
            if !taken.is_empty() {
                drop(wanted);
                return taken.into_iter().map(|delivered| acks.expect(delivered)).collect();
            }
            self.arrived.notified().await;
        }
    }

    fn take_now(&self, max: usize) -> Vec<Delivered> {
        let mut state = self.state();
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some((task, since)) = state.tasks.pop_front()
        {
            // Soon it is delivered again, perhaps to somebody else.
            if since.elapsed() > self.ack_wait / 2 { self.give_back(task) } else { taken.push(task) }
        }
        if !state.tasks.is_empty() {
            self.arrived.notify_one(); // Notifications do not add up: the next pull is woken by this one.
        }
        taken
    }

    /// Tells the server that somebody else may have it. If this is lost, it will see when the time is over.
    fn give_back(&self, task: Delivered) {
        let _ = self.client.publish(task.ack, NAK).now_or_never();
    }
}

impl Intake for Pool {
    fn room(&self) -> usize {
        let state = self.state();
        state.wanted.saturating_sub(state.tasks.len())
    }

    fn changed(&self) -> &Notify {
        &self.changed
    }

    fn arrived(&self, message: Delivered) {
        let mut state = self.state();
        // A later delivery of what is here already: only the later one can be acknowledged for sure.
        match state.tasks.iter_mut().find(|(task, _)| task.sequence == message.sequence) {
            Some(task) => *task = (message, Instant::now()),
            None => state.tasks.push_back((message, Instant::now())),
        }
        drop(state);
        self.arrived.notify_one();
    }

    fn beat(&self) {
        let mut state = self.state();
        if state.wanted > 0 {
            return;
        }
        while let Some((task, _)) = state.tasks.pop_front_if(|(_, since)| since.elapsed() > UNWANTED_MAX) {
            self.give_back(task);
        }
    }
}

impl Drop for Pool {
    /// The connection may be about to close, and would close before it has sent this, so it is kept until then.
    fn drop(&mut self) {
        let acks: Vec<Subject> = self.state().tasks.drain(..).map(|(task, _)| task.ack).collect();
        let client = self.client.clone();
        let giving_back = async move {
            for ack in acks {
                let _ = client.publish(ack, NAK).await;
            }
            let _ = client.flush().await;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(giving_back);
        }
    }
}

/// One waiting pull.
struct Wanted<'a> {
    pool: &'a Pool,
    count: usize,
}

impl Wanted<'_> {
    fn new(pool: &Pool, count: usize) -> Wanted<'_> {
        pool.state().wanted += count;
        pool.changed.notify_one();
        Wanted { pool, count }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.pool.state().wanted -= self.count;
    }
}
