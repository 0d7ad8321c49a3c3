//! Link: the worker's session. Knows its slots and its attempts, keeps owners informed, ends what they disown.

use crate::attempt::{Attempt, NewAttempt, Shared};
use crate::listen::{listen_to_broadcasts, pull_tasks};
use crate::messages::{
    AttemptClaimed, AttemptGone, BroadcastsMissed, CancelHeard, EndAttempt, EndReason, NonsenseHeard, Observe,
    Observed, Phase, ReleaseRun, Serial, TasksPulled, Verdict,
};
use crate::metrics::Metrics;
use crate::outbox::Letter;
use crate::process::{Keeper, Moment};
use crate::runner::Ended;
use actix::{Actor, Addr, AsyncContext as _, Context, Handler, ResponseFuture, WrapFuture as _};
use skein_common::metrics::Stale;
use skein_common::ports::{Target, TaskDelivery};
use skein_common::wire::{AttemptRef, AttemptReport, Task, decode};
use skein_common::{AttemptToken, Epoch, RunId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// Messages that wait beside the two that each attempt may send and the one of each target: of the listeners and of the
/// handle. All of them but the end of an attempt are sent with `send`, so a full mailbox makes senders wait.
const MAILBOX_BESIDE_ATTEMPTS: usize = 64;
/// Runs whose newest owner is remembered after their last attempt here.
const EPOCHS_MAX: usize = 4096;

/// The session of one worker.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) config: LinkConfig,
    pub(crate) attempts: BTreeMap<Serial, Entry>,
    /// Guards against a second delivery of what is being carried out.
    pub(crate) serials: BTreeMap<AttemptRef, Serial>,
    last_serial: Serial,
    /// Pulled, not claimed, waiting for a slot.
    pub(crate) backlog: VecDeque<TaskDelivery>,
    slots_free: watch::Sender<usize>,
    /// Closes when Link is gone.
    alive: watch::Sender<()>,
    newest_epochs: BTreeMap<RunId, Epoch>,
    pub(crate) pulls: Vec<LoopTask>,
    listening: Option<LoopTask>,
    /// It takes nothing new.
    pub(crate) closed: bool,
    pub(crate) heartbeat_is_near: bool,
    /// What owners asked to report for since the last heartbeat.
    pub(crate) rounds: BTreeSet<u64>,
    pub(crate) idle: Vec<oneshot::Sender<()>>,
    pub(crate) observed: Observed,
    /// Dropped with Link, which tells the one that restarts it.
    _died: oneshot::Sender<()>,
}

/// What a Link is made of, again after it died.
#[derive(Debug, Clone)]
pub(crate) struct LinkConfig {
    pub shared: Rc<Shared>,
    pub keeper: Rc<Keeper>,
    pub targets: Vec<Target>,
    pub slots: usize,
    pub heartbeat: Duration,
    /// Owners are processes of their own: when this one is stopped or hangs, they give its attempts to others. Where
    /// owner and worker are one process nobody does, and what the keeper has of it goes on with it.
    pub is_apart: bool,
    pub phase: watch::Sender<Phase>,
    pub metrics: Metrics,
}

/// An attempt as Link knows it.
#[derive(Debug)]
pub(crate) struct Entry {
    addr: Addr<Attempt>,
    pub attempt: AttemptRef,
    pub claimed: Option<Claimed>,
}

/// What the owner's `go` said, and when an owner last vouched for the attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimed {
    pub token: AttemptToken,
    pub deadline: Duration,
    pub extended_at: Instant,
}

/// Ends with its Link.
#[derive(Debug)]
pub(crate) struct LoopTask(JoinHandle<()>);

impl Drop for LoopTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Begins to pull. `died` closes when the Link is gone without having been stopped.
    pub(crate) fn begin(config: LinkConfig, died: oneshot::Sender<()>) -> Addr<Link> {
        Link::create(|context| {
            context.set_mailbox_capacity(2 * config.slots + config.targets.len() + MAILBOX_BESIDE_ATTEMPTS);
            Link {
                slots_free: watch::Sender::new(config.slots),
                config,
                attempts: BTreeMap::new(),
                serials: BTreeMap::new(),
                last_serial: 0,
                backlog: VecDeque::new(),
                alive: watch::Sender::new(()),
                newest_epochs: BTreeMap::new(),
                pulls: Vec::new(),
                listening: None,
                closed: false,
                heartbeat_is_near: false,
                rounds: BTreeSet::new(),
                idle: Vec::new(),
                observed: Observed::default(),
                _died: died,
            }
        })
    }

    /// What is being carried out here of the task of this delivery.
    fn begun(&self, delivery: &TaskDelivery) -> Option<&Entry> {
        let task: Task = decode(&delivery.task).ok()?;
        self.attempts.get(self.serials.get(&task.attempt)?)
    }

    fn take_on(&mut self, delivery: TaskDelivery, context: &mut Context<Link>) {
        let task: Task = match decode(&delivery.task) {
            Ok(task) => task,
            Err(error) => {
                self.observed.bad_messages_total += 1;
                warn!(%error, bytes = delivery.task.len(), "what was pulled is no task");
                return self.drop_task(delivery.delivery, context);
            }
        };
        if self.is_stale(&task.attempt.run, task.epoch) {
            return self.drop_task(delivery.delivery, context);
        }
        if self.serials.contains_key(&task.attempt) {
            self.config.metrics.deliveries.again();
            return self.drop_task(delivery.delivery, context);
        }
        self.last_serial += 1;
        let serial = self.last_serial;
        let attempt = task.attempt.clone();
        let addr = Attempt::begin(NewAttempt {
            shared: Rc::clone(&self.config.shared),
            link: context.address(),
            serial,
            task,
            delivery: delivery.delivery,
            link_alive: self.alive.subscribe(),
        });
        self.serials.insert(attempt.clone(), serial);
        self.attempts.insert(serial, Entry { addr, attempt, claimed: None });
        self.observed.attempts_begun_total += 1;
        self.change_free_slots(|free| free.saturating_sub(1));
    }

    fn change_free_slots(&self, change: impl FnOnce(usize) -> usize) {
        self.slots_free.send_modify(|free| *free = change(*free));
        self.config.metrics.show_slots(*self.slots_free.borrow(), self.config.slots);
    }

    fn drop_task(&self, delivery: u64, context: &mut Context<Link>) {
        let shared = Rc::clone(&self.config.shared);
        let done = async move { drop(shared.ports.tasks.done(delivery).await) };
        context.spawn(done.into_actor(self));
    }

    /// Whether a newer owner of the run has been heard of; remembers this one if not.
    fn is_stale(&mut self, run: &RunId, epoch: Epoch) -> bool {
        match self.newest_epochs.get_mut(run) {
            Some(newest) if epoch < *newest => {
                self.observed.stale_owners_total += 1;
                self.config.metrics.deliveries.stale(Stale::Owner, 1);
                return true;
            }
            Some(newest) => *newest = epoch,
            None => {
                self.newest_epochs.insert(run.clone(), epoch);
                while self.newest_epochs.len() > EPOCHS_MAX {
                    // The oldest run: their ids sort by time.
                    self.newest_epochs.pop_first();
                }
            }
        }
        false
    }

    pub(crate) fn end(&self, serial: Serial, reason: EndReason) {
        if let Some(entry) = self.attempts.get(&serial) {
            // Full means that it was told already, closed that it is over.
            let _ = entry.addr.try_send(EndAttempt { reason });
        }
    }

    /// Lets the keeper know until when owners answer for these.
    pub(crate) fn vouch_for<'a>(&self, attempts: impl IntoIterator<Item = (&'a AttemptRef, Moment, Duration)>) {
        if self.config.is_apart {
            self.config.keeper.vouch_for(attempts);
        }
    }

    fn fill_slots(&mut self, context: &mut Context<Link>) {
        while *self.slots_free.borrow() > 0 && !self.closed {
            let Some(delivery) = self.backlog.pop_front() else { return };
            self.take_on(delivery, context);
        }
    }

    fn report_lost(&self, entry: &Entry) {
        let Some(Claimed { token, .. }) = entry.claimed else { return };
        let shared = &self.config.shared;
        let lost = Ended::lost(Some("worker_fault"), "the attempt died of a fault in the worker");
        let report = AttemptReport {
            attempt: entry.attempt.clone(),
            token,
            worker: shared.info.id.clone(),
            end: lost.end,
            usage: lost.usage,
            notes: lost.notes,
            elapsed_ms: 0,
        };
        if let Some(letter) = Letter::of(&report) {
            shared.outbox.send_beside(letter, || {});
        }
    }
}

impl Actor for Link {
    type Context = Context<Link>;

    fn started(&mut self, context: &mut Context<Link>) {
        self.change_free_slots(|free| free);
        let ports = &self.config.shared.ports;
        let listening = listen_to_broadcasts(ports.control.clone(), context.address());
        self.listening = Some(LoopTask(actix_rt::spawn(listening)));
        if self.phase() == Phase::Working {
            for target in self.config.targets.clone() {
                let pulling = pull_tasks(ports.tasks.clone(), target, self.slots_free.subscribe(), context.address());
                self.pulls.push(LoopTask(actix_rt::spawn(pulling)));
            }
        } else {
            // The session before this one was draining, and died.
            self.close();
        }
        self.heartbeat(context);
        context.run_interval(self.config.heartbeat, |link, context| link.heartbeat(context));
    }

    fn stopped(&mut self, _: &mut Context<Link>) {
        info!("worker stopped");
    }
}

impl Handler<TasksPulled> for Link {
    type Result = ();

    fn handle(&mut self, message: TasksPulled, context: &mut Context<Link>) {
        if !self.closed {
            for delivery in message.deliveries {
                if let Some(begun) = self.begun(&delivery) {
                    self.config.metrics.deliveries.again();
                    // Delivered again before it was done: it must not be carried out again when the first one has
                    // ended. While nobody has answered the claim it must not be marked done either.
                    if begun.claimed.is_some() {
                        self.drop_task(delivery.delivery, context);
                    }
                } else if self.backlog.iter().any(|waiting| waiting.task == delivery.task) {
                    self.config.metrics.deliveries.again();
                } else {
                    self.backlog.push_back(delivery);
                }
            }
            self.fill_slots(context);
        }
    }
}

impl Handler<AttemptClaimed> for Link {
    type Result = Verdict;

    fn handle(&mut self, message: AttemptClaimed, context: &mut Context<Link>) -> Verdict {
        let AttemptClaimed { serial, token, epoch, deadline, asked_at } = message;
        let Some(run) = self.attempts.get(&serial).map(|entry| entry.attempt.run.clone()) else { return Verdict::Drop };
        if self.is_stale(&run, epoch) {
            return Verdict::Drop;
        }
        if let Some(entry) = self.attempts.get_mut(&serial) {
            entry.claimed = Some(Claimed { token, deadline, extended_at: asked_at.instant });
        }
        if let Some(entry) = self.attempts.get(&serial) {
            self.vouch_for([(&entry.attempt, asked_at, deadline)]);
        }
        if deadline < self.config.heartbeat {
            self.end_overdue(context);
        }
        Verdict::CarryOut
    }
}

impl Handler<AttemptGone> for Link {
    type Result = ();

    fn handle(&mut self, message: AttemptGone, context: &mut Context<Link>) {
        let Some(entry) = self.attempts.remove(&message.serial) else { return };
        self.serials.remove(&entry.attempt);
        self.config.keeper.forget(&entry.attempt);
        self.change_free_slots(|free| free + 1);
        if message.died {
            self.observed.attempts_died_total += 1;
            error!(run_id = %entry.attempt.run, agent = entry.attempt.agent, "an attempt died of a fault of ours");
            self.report_lost(&entry);
        }
        self.fill_slots(context);
        self.tell_if_idle();
    }
}

impl Handler<CancelHeard> for Link {
    type Result = ();

    fn handle(&mut self, message: CancelHeard, _: &mut Context<Link>) {
        let cancel = message.cancel;
        if self.is_stale(&cancel.run, cancel.epoch) {
            return;
        }
        let meant = |entry: &Entry| match &cancel.attempt {
            Some(attempt) => entry.attempt == *attempt,
            None => entry.attempt.run == cancel.run,
        };
        for (serial, _) in self.attempts.iter().filter(|(_, entry)| meant(entry)) {
            self.end(*serial, EndReason::Cancelled);
        }
    }
}

impl Handler<BroadcastsMissed> for Link {
    type Result = ();

    fn handle(&mut self, _: BroadcastsMissed, context: &mut Context<Link>) {
        self.heartbeat_soon(context);
    }
}

impl Handler<NonsenseHeard> for Link {
    type Result = ();

    fn handle(&mut self, _: NonsenseHeard, _: &mut Context<Link>) {
        self.observed.bad_messages_total += 1;
    }
}

impl Handler<ReleaseRun> for Link {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, message: ReleaseRun, _: &mut Context<Link>) -> ResponseFuture<()> {
        let keeper = Rc::clone(&self.config.keeper);
        Box::pin(async move { keeper.release_run(&message.run).await })
    }
}

impl Handler<Observe> for Link {
    type Result = Observed;

    fn handle(&mut self, _: Observe, _: &mut Context<Link>) -> Observed {
        Observed {
            slots_free: *self.slots_free.borrow(),
            attempts: self.attempts.len(),
            backlog: self.backlog.len(),
            ..self.observed.clone()
        }
    }
}

#[cfg(test)]
impl Handler<crate::messages::DieForTest> for Link {
    type Result = ();

    fn handle(&mut self, _: crate::messages::DieForTest, _: &mut Context<Link>) {
        panic!("a fault in the session")
    }
}
