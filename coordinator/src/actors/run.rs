//! Run: one live run. The actor takes messages in; its loop owns the driver.

use super::feed::Feed;
use super::fleet::Fleet;
use super::inbox::Inbox;
use super::messages::{Asker, ControlError, Deliver, Halt, Incoming, RegisterRun, RunDied, RunEnd, RunFinished};
use super::performer::{RunPerformer, VIEW_INTERVAL};
use super::root::Root;
use super::timers::Timers;
use crate::driver::{Alive, Driver, DriverContext, DriverError};
use crate::journal::{load_run, load_text};
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};
use skein_common::RunId;
use skein_common::ports::{JournalError, Lease};
use skein_common::run::RunStatus;
use skein_common::wire::AttemptRef;
use skein_engine::{Command, Refused, run_view};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Messages waiting for the loop; beyond it Fleet waits, and so do the workers behind it.
const MAILBOX: usize = 1024;

/// Requests of people and reports that may wait; a request beyond it is answered with `try again`.
const ASKED_MAX: usize = 1024;

/// A report passes this many tasks between the end of an attempt and the loop; after so many rounds without one, none
/// is on its way.
const QUIET_ROUNDS: u32 = 8;

/// What a Run actor is made from.
pub(super) struct RunParts {
    pub run: RunId,
    pub incarnation: u64,
    pub lease: Lease,
    pub context: DriverContext,
    pub grace_ms: u64,
    pub host_wait_ms: u64,
    /// A person wants the run to go on, paused or not.
    pub lifts_pause: bool,
    /// For one that is to be opened in turn: as many are at the same time as there are permits.
    pub opening: Option<Arc<Semaphore>>,
    pub root: Addr<Root>,
    pub fleet: Addr<Fleet>,
    pub feed: Addr<Feed>,
}

/// One live run.
pub(super) struct Run {
    parts: RunParts,
    inbox: Inbox,
    death_watch: DeathWatch,
}

/// Tells Root when this actor goes away without having said why.
struct DeathWatch {
    run: RunId,
    incarnation: u64,
    root: Addr<Root>,
    /// Off once the actor has said itself how it ended.
    armed: bool,
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let died = RunDied { run: self.run.clone(), incarnation: self.incarnation };
        if self.root.try_send(died).is_err() {
            tracing::error!(run_id = %self.run, "a run died and nobody could be told");
        }
    }
}

impl Run {
    pub fn new(parts: RunParts) -> Run {
        let death_watch = DeathWatch {
            run: parts.run.clone(),
            incarnation: parts.incarnation,
            root: parts.root.clone(),
            armed: true,
        };
        Run { parts, inbox: Inbox::default(), death_watch }
    }

    fn performer(&self) -> RunPerformer {
        RunPerformer {
            run: self.parts.run.clone(),
            epoch: self.parts.lease.epoch,
            ports: self.parts.context.ports.clone(),
            clock: self.parts.context.clock.clone(),
            metrics: self.parts.context.metrics.clone(),
            fleet: self.parts.fleet.clone(),
            feed: self.parts.feed.clone(),
            inbox: self.inbox.clone(),
            grace_ms: self.parts.grace_ms,
            host_wait_ms: self.parts.host_wait_ms,
            timers: Timers::default(),
            grace_ends: None,
            got_further: false,
            last_view: None,
            view_is_due: false,
            ended: None,
        }
    }
}

impl Actor for Run {
    type Context = Context<Run>;

    fn started(&mut self, ctx: &mut Context<Run>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let register = RegisterRun {
            run: self.parts.run.clone(),
            epoch: self.parts.lease.epoch,
            recipient: ctx.address().recipient(),
        };
        let (fleet, inbox, mut performer) = (self.parts.fleet.clone(), self.inbox.clone(), self.performer());
        let (context, run) = (self.parts.context.clone(), self.parts.run.clone());
        let opening = self.parts.opening.clone();
        if self.parts.lifts_pause {
            // Refused, and nothing else, by a run that is not paused.
            inbox.push(Command::Resume);
        }
        let life = async move {
            let alive = fleet.send(register).await.unwrap_or_default();
            let alive = if context.ports.shards.is_some() { Alive::All } else { Alive::These(alive) };
            let results = context.ports.results.clone();
            // Dropped in the middle, the loop leaves the run as its journal says.
            let end = tokio::select! {
                () = inbox.halted() => Ok(RunEnd::Interrupted { reason: String::from("interrupted") }),
                end = live(run, context, alive, opening.as_deref(), &inbox, &mut performer) => end,
            };
            if let Ok(end) = &end {
                for Incoming { command, delivery, answer } in inbox.take_now() {
                    if let Some(delivery) = delivery {
                        let _nobody_needs_it = results.done(delivery).await;
                    }
                    answer_late(answer, &command, end);
                }
            }
            (end, performer.got_further)
        };
        ctx.spawn(life.into_actor(self).map(|(end, got_further), actor, ctx| actor.finish(end, got_further, ctx)));
    }
}

impl Run {
    fn finish(&mut self, end: Result<RunEnd, DriverError>, got_further: bool, ctx: &mut Context<Run>) {
        let (end, try_again) = match end {
            Ok(end) => (end, false),
            Err(error) => {
                tracing::warn!(run_id = %self.parts.run, %error, "run loop ended");
                (RunEnd::Interrupted { reason: describe(&error) }, may_pass(&error))
            }
        };
        let (run, incarnation) = (self.parts.run.clone(), self.parts.incarnation);
        let message = RunFinished { run, incarnation, end, try_again, got_further };
        let root = self.parts.root.clone();
        self.death_watch.armed = false;
        actix::spawn(async move {
            let _root_is_gone = root.send(message).await;
        });
        ctx.stop();
    }
}

/// What a person asked of a run that ended before it took that up: a stop may have been obeyed all the same.
fn answer_late(asker: Option<Asker>, command: &Command, end: &RunEnd) {
    let (Some(asker), RunEnd::Ended(view)) = (asker, end) else { return };
    let obeyed = *command == Command::Stop && view.status == RunStatus::Stopped;
    let _nobody_waits = asker.send(if obeyed { Ok(()) } else { Err(ControlError::Refused(Refused::Ended)) });
}

/// Whether a new incarnation may get further.
fn may_pass(error: &DriverError) -> bool {
    matches!(
        error,
        DriverError::Journal(JournalError::Unknown { .. })
            | DriverError::HostLost { .. }
            | DriverError::Host(_)
            | DriverError::Engine(_)
    )
}

/// The whole chain, so that `disk full` reaches the person.
pub(super) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The loop of a run, from taking it over to its end.
async fn live(
    run: RunId,
    context: DriverContext,
    alive: Alive,
    opening: Option<&Semaphore>,
    inbox: &Inbox,
    performer: &mut RunPerformer,
) -> Result<RunEnd, DriverError> {
    let results = context.ports.results.clone();
    // Closed by nobody: an error would only mean that there is no limit.
    let turn = futures::future::OptionFuture::from(opening.map(Semaphore::acquire)).await;
    let mut driver = match Driver::open(run.clone(), performer.epoch, context.clone(), &alive, performer).await {
        // It ended before we came, or before the incarnation before us could say so.
        Err(DriverError::Ended) => return ended_before(&run, &context).await,
        opened => opened?,
    };
    start_timeout(&driver, performer);
    performer.hand_over(driver.state()).await;
    drop(turn);
    if let Err(error) = results.redeliver(&run).await {
        tracing::warn!(run_id = %run, %error, "results not delivered again; their attempts will be lost");
    }
    loop {
        if let Some(view) = performer.ended.take() {
            return Ok(RunEnd::Ended(view));
        }
        let items = if driver.is_busy() { inbox.take_now() } else { next_items(&mut driver, inbox, performer).await };
        let again = inbox.take_again();
        let (deliveries, reported) = deliveries_of(&run, &items);
        let (mut commands, askers): (Vec<Command>, Vec<_>) =
            items.into_iter().map(|item| (item.command, item.answer)).unzip();
        commands.extend(performer.timers.take_due());
        let refusals = driver.step(commands, performer).await?;
        for (asker, refusal) in askers.into_iter().zip(refusals) {
            if let Some(asker) = asker {
                let _nobody_waits = asker.send(refusal.map_or(Ok(()), |refused| Err(ControlError::Refused(refused))));
            }
        }
        for delivery in deliveries {
            let _delivered_again_and_refused = results.done(delivery).await;
        }
        performer.forget(reported).await;
        // Not what has just ended.
        performer.dispatch_again(driver.state(), again).await;
    }
}

/// The end of a run that its journal already has.
async fn ended_before(run: &RunId, context: &DriverContext) -> Result<RunEnd, DriverError> {
    let stored = load_run(context.ports.journal.as_ref(), run).await?;
    let state = stored.run.state();
    let result = match &state.result {
        Some(payload) => Some(load_text(context.ports.blobs.as_ref(), run, payload).await?),
        None => None,
    };
    let view = run_view(run, state, context.clock.now_ms(), result.as_deref());
    crate::submission::index(&context.ports, &view).await;
    Ok(RunEnd::Ended(Box::new(view)))
}

/// What these items have to be acknowledged with once they are journalled: deliveries, and the attempts they end.
fn deliveries_of(run: &RunId, items: &[Incoming]) -> (Vec<u64>, Vec<AttemptRef>) {
    items
        .iter()
        .filter_map(|item| match item {
            Incoming { delivery: Some(delivery), command: Command::Report { agent, attempt, .. }, .. } => {
                Some((*delivery, AttemptRef { run: run.clone(), agent: *agent, attempt: *attempt }))
            }
            _ => None,
        })
        .unzip()
}

/// What arrives next, nothing when a timer is due. While nothing does, a view that was held back is shown, and a script
/// that waits for long may lose its host.
async fn next_items(driver: &mut Driver, inbox: &Inbox, performer: &mut RunPerformer) -> Vec<Incoming> {
    loop {
        tokio::select! {
            items = inbox.take() => return with_those_that_follow(items, driver, inbox).await,
            () = performer.timers.next() => return Vec::new(),
            () = tokio::time::sleep(driver.may_hibernate_after().unwrap_or_default()),
                if driver.may_hibernate_after().is_some() => driver.hibernate_if_crowded(),
            () = tokio::time::sleep(VIEW_INTERVAL), if performer.view_is_due => {
                performer.last_view = None;
                performer.publish(driver.state(), None);
            }
        }
    }
}

/// Attempts that end together come one after the other through several actors. Those that are on their way are waited
/// for, for as long as more arrive, since each step costs a flush and a turn of the script.
async fn with_those_that_follow(mut items: Vec<Incoming>, driver: &Driver, inbox: &Inbox) -> Vec<Incoming> {
    let mut quiet_rounds = 0;
    while items.len() < driver.state().running.len() && quiet_rounds < QUIET_ROUNDS {
        // Every task that is ready has a go; nobody waits for anything from outside.
        tokio::task::yield_now().await;
        let more = inbox.take_now();
        quiet_rounds = if more.is_empty() { quiet_rounds + 1 } else { 0 };
        items.extend(more);
    }
    items
}

/// `--timeout`: the run ends failed when its time is over, counted from submission.
fn start_timeout(driver: &Driver, performer: &mut RunPerformer) {
    let state = driver.state();
    let Some(timeout_ms) = state.spec.timeout_ms else { return };
    let used_ms = driver.context().clock.now_ms().saturating_sub(state.submitted_at_ms);
    let left_ms = timeout_ms.saturating_sub(u64::try_from(used_ms).unwrap_or(0));
    let message = format!("the run took longer than its timeout of {timeout_ms} ms");
    performer.timers.start(left_ms, Command::Abort { kind: String::from("timeout"), message });
}

impl Handler<Deliver> for Run {
    type Result = ();

    fn handle(&mut self, message: Deliver, _: &mut Context<Run>) {
        for item in message.items {
            // What workers report is bounded by the run; what people ask is not.
            if item.answer.is_none() || self.inbox.len() < ASKED_MAX {
                self.inbox.push(item);
            }
        }
        self.inbox.push_again(message.again);
    }
}

impl Handler<Halt> for Run {
    type Result = ();

    fn handle(&mut self, _: Halt, _: &mut Context<Run>) {
        self.inbox.halt();
    }
}
