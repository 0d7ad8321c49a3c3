//! Results in this process: those that wait to be consumed, and those that are consumed and not done.

use super::bundle::PartAnswer;
use super::delivered::Delivered;
use super::intake::Intake;
use super::names;
use async_nats::{Client, Subject};
use bytes::Bytes;
use futures::FutureExt as _;
use skein_common::RunId;
use skein_common::ports::{ResultDelivery, Shard};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Results of one shard on their way to here or waiting here. A run has at most 16, and large texts of them are blobs.
const WAITING_PER_SHARD_MAX: usize = 128;
/// Results that are here and not done. Beyond them the queue has to hold what comes.
const OPEN_MAX: usize = 8192;
/// Deliveries from here on are offers: no stream has so many messages.
const FIRST_OFFER: u64 = 1 << 63;
/// Ends a message that nobody can use.
const TERM: Bytes = Bytes::from_static(b"+TERM");

/// The results of all attached shards, in the order in which they were stored.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By delivery: what the stream delivers by its sequence there, offers by a number from [`FIRST_OFFER`] on.
    open: BTreeMap<u64, Open>,
    offers: u64,
    waiting: BTreeSet<u64>,
    shards: BTreeMap<Shard, ShardState>,
}

#[derive(Debug)]
struct Open {
    run: RunId,
    shard: Shard,
    result: Bytes,
    ack: Ack,
    /// An offer whose sender has given up, and which comes by way of the stream from then on.
    until: Option<Instant>,
}

/// How its sender is told that a result is done.
#[derive(Debug)]
pub(super) enum Ack {
    /// The stream keeps it until this subject is told.
    Stream(Subject),
    /// The worker waits. Dropped, it sends the result to the stream.
    Offer(PartAnswer),
}

#[derive(Debug)]
struct ShardState {
    waiting: usize,
    changed: Arc<Notify>,
}

/// The part of the inbox that one puller fills.
#[derive(Debug)]
pub(super) struct ShardIntake {
    shard: Shard,
    inbox: Arc<Inbox>,
    changed: Arc<Notify>,
    client: Client,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for 1 to `max` results.
    pub async fn take(&self, max: usize) -> Vec<ResultDelivery> {
        loop {
            let taken = self.take_now(max);
            if !taken.is_empty() {
                return taken;
            }
            self.arrived.notified().await;
        }
    }

    fn take_now(&self, max: usize) -> Vec<ResultDelivery> {
        let mut state = self.state();
        state.forget_late_offers();
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(delivery) = state.waiting.pop_first()
        {
            let Some(Open { run, shard, result, .. }) = state.open.get(&delivery) else { continue };
            taken.push(ResultDelivery { delivery, run: run.clone(), result: result.clone() });
            let shard = *shard;
            state.left(shard);
        }
        if !state.waiting.is_empty() {
            self.arrived.notify_one(); // Notifications do not add up: the next consumer is woken by this one.
        }
        taken
    }

    /// What was consumed of the run waits again.
    pub fn redeliver(&self, run: &RunId) {
        let mut state = self.state();
        state.forget_late_offers();
        let of_run: Vec<u64> = state.open.iter().filter(|(_, open)| open.run == *run).map(|(n, _)| *n).collect();
        for delivery in of_run {
            state.wait(delivery);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// How to acknowledge it; `None` when that was done, or the shard is not ours any more.
    pub fn done(&self, delivery: u64) -> Option<Ack> {
        let mut state = self.state();
        let open = state.open.remove(&delivery)?;
        if state.waiting.remove(&delivery) {
            state.left(open.shard);
        }
        Some(open.ack)
    }

    /// The shard's results are somebody else's from now on.
    pub fn forget(&self, shard: Shard) {
        let mut state = self.state();
        let of_shard: Vec<(u64, Open)> = state.open.extract_if(.., |_, open| open.shard == shard).collect();
        for (delivery, _) in &of_shard {
            state.waiting.remove(delivery);
        }
        state.shards.remove(&shard);
    }

    fn put(&self, shard: Shard, run: RunId, message: Delivered) {
        let mut state = self.state();
        if !state.shards.contains_key(&shard) {
            return; // Detached in this moment.
        }
        let delivery = message.sequence;
        state
            .open
            .insert(delivery, Open { run, shard, result: message.payload, ack: Ack::Stream(message.ack), until: None });
        state.wait(delivery);
        drop(state);
        self.arrived.notify_one();
    }
}

impl Inbox {
    /// A result whose sender waits for so long until it is done.
    pub fn put_offer(&self, shard: Shard, offer: (RunId, Bytes), answer: PartAnswer, wait: Duration) {
        let (run, result) = offer;
        let mut state = self.state();
        if !state.shards.contains_key(&shard) || state.open.len() >= OPEN_MAX {
            return;
        }
        let until = Some(Instant::now() + wait);
        let delivery = FIRST_OFFER + state.offers;
        state.offers += 1;
        state.open.insert(delivery, Open { run, shard, result, ack: Ack::Offer(answer), until });
        state.wait(delivery);
        drop(state);
        self.arrived.notify_one();
    }
}

impl State {
    fn wait(&mut self, delivery: u64) {
        let Some(open) = self.open.get(&delivery) else { return };
        if self.waiting.insert(delivery)
            && let Some(shard) = self.shards.get_mut(&open.shard)
        {
            shard.waiting += 1;
        }
    }

    /// Offers come in the order in which they end.
    fn forget_late_offers(&mut self) {
        let now = Instant::now();
        while let Some((&delivery, Open { shard, until: Some(until), .. })) = self.open.range(FIRST_OFFER..).next()
            && *until <= now
        {
            let shard = *shard;
            self.open.remove(&delivery);
            if self.waiting.remove(&delivery) {
                self.left(shard);
            }
        }
    }

    fn left(&mut self, shard: Shard) {
        if let Some(shard) = self.shards.get_mut(&shard) {
            shard.waiting = shard.waiting.saturating_sub(1);
            // Between these the puller asks for more whenever a message arrives.
            if shard.waiting == 0 || shard.waiting == WAITING_PER_SHARD_MAX / 2 {
                shard.changed.notify_one();
            }
        }
    }
}

impl ShardIntake {
    pub fn new(shard: Shard, inbox: Arc<Inbox>, client: Client) -> ShardIntake {
        let changed = Arc::new(Notify::new());
        inbox.state().shards.insert(shard, ShardState { waiting: 0, changed: changed.clone() });
        ShardIntake { shard, inbox, changed, client }
    }
}

impl Intake for ShardIntake {
    fn room(&self) -> usize {
        let state = self.inbox.state();
        let waiting = state.shards.get(&self.shard).map_or(WAITING_PER_SHARD_MAX, |shard| shard.waiting);
        WAITING_PER_SHARD_MAX.saturating_sub(waiting)
    }

    fn changed(&self) -> &Notify {
        &self.changed
    }

    fn arrived(&self, message: Delivered) {
        match names::run_of(&message.subject) {
            Some(run) => self.inbox.put(self.shard, run, message),
            None => {
                tracing::warn!(subject = %message.subject, "a result that names no run is thrown away");
                let _ = self.client.publish(message.ack, TERM).now_or_never();
            }
        }
    }
}
