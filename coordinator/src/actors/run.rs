//! Run: one live run. The actor takes messages in; its loop owns the driver.

use super::feed::Feed;
use super::fleet::Fleet;
use super::inbox::Inbox;
use super::messages::{Deliver, ForgetRun, Halt, Incoming, RegisterRun, RunDied, RunEnd, RunFinished};
use super::performer::{RunPerformer, VIEW_INTERVAL};
use super::root::Root;
use crate::driver::{Driver, DriverContext, DriverError};
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};
use skein_common::RunId;
use skein_common::ports::{JournalError, Lease};
use skein_common::wire::AttemptRef;
use skein_engine::Command;
use std::time::Duration;

/// Messages waiting for the loop; beyond it Fleet waits, and so do the workers behind it.
const MAILBOX: usize = 1024;

/// What a Run actor is made from.
pub(super) struct RunParts {
    pub run: RunId,
    pub incarnation: u64,
    pub lease: Lease,
    pub context: DriverContext,
    pub grace_ms: u64,
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
            fleet: self.parts.fleet.clone(),
            feed: self.parts.feed.clone(),
            inbox: self.inbox.clone(),
            grace_ms: self.parts.grace_ms,
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
        let (fleet, inbox, performer) = (self.parts.fleet.clone(), self.inbox.clone(), self.performer());
        let (context, run, epoch) = (self.parts.context.clone(), self.parts.run.clone(), self.parts.lease.epoch);
        let life = async move {
            let alive = fleet.send(register).await.unwrap_or_default();
            let end = live(run.clone(), epoch, context, alive, inbox, performer).await;
            let is_over = end.as_ref().map_or_else(|error| !may_pass(error), |_| true);
            if is_over {
                let _fleet_is_gone = fleet.send(ForgetRun { run }).await;
            }
            end
        };
        ctx.spawn(life.into_actor(self).map(|end, actor, ctx| actor.finish(end, ctx)));
    }
}

impl Run {
    fn finish(&mut self, end: Result<RunEnd, DriverError>, ctx: &mut Context<Run>) {
        let (end, try_again) = match end {
            Ok(end) => (end, false),
            Err(error) => {
                tracing::warn!(run_id = %self.parts.run, %error, "run loop ended");
                (RunEnd::Interrupted { reason: describe(&error) }, may_pass(&error))
            }
        };
        let message = RunFinished { run: self.parts.run.clone(), incarnation: self.parts.incarnation, end, try_again };
        let root = self.parts.root.clone();
        self.death_watch.armed = false;
        actix::spawn(async move {
            let _root_is_gone = root.send(message).await;
        });
        ctx.stop();
    }
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
fn describe(error: &DriverError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
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
    epoch: u64,
    context: DriverContext,
    alive: Vec<AttemptRef>,
    inbox: Inbox,
    mut performer: RunPerformer,
) -> Result<RunEnd, DriverError> {
    let results = context.ports.results.clone();
    let mut driver = Driver::open(run.clone(), epoch, context, &alive, &mut performer).await?;
    start_timeout(&driver, &inbox);
    if let Err(error) = results.redeliver(&run).await {
        tracing::warn!(run_id = %run, %error, "results not delivered again; their attempts will be lost");
    }
    loop {
        if let Some(view) = performer.ended.take() {
            return Ok(RunEnd::Ended(view));
        }
        let Some(items) = next_items(&driver, &inbox, &mut performer).await else {
            return Ok(RunEnd::Interrupted { reason: String::from("interrupted") });
        };
        let (deliveries, reported) = deliveries_of(&run, &items);
        let commands = items.into_iter().map(|item| item.command).collect();
        driver.step(commands, &mut performer).await?;
        for delivery in deliveries {
            let _delivered_again_and_refused = results.done(delivery).await;
        }
        performer.forget(reported).await;
    }
}

/// What these items have to be acknowledged with once they are journalled: deliveries, and the attempts they end.
fn deliveries_of(run: &RunId, items: &[Incoming]) -> (Vec<u64>, Vec<AttemptRef>) {
    items
        .iter()
        .filter_map(|item| match item {
            Incoming { delivery: Some(delivery), command: Command::Report { agent, attempt, .. } } => {
                Some((*delivery, AttemptRef { run: run.clone(), agent: *agent, attempt: *attempt }))
            }
            _ => None,
        })
        .unzip()
}

/// What arrives next; a view that was held back is shown while nothing does.
async fn next_items(driver: &Driver, inbox: &Inbox, performer: &mut RunPerformer) -> Option<Vec<Incoming>> {
    if performer.view_is_due {
        match tokio::time::timeout(VIEW_INTERVAL, inbox.take()).await {
            Ok(items) => return items,
            Err(_quiet) => {
                performer.last_view = None;
                performer.publish(driver.state(), None);
            }
        }
    }
    inbox.take().await
}

/// `--timeout`: the run ends failed when its time is over, counted from submission.
fn start_timeout(driver: &Driver, inbox: &Inbox) {
    let state = driver.state();
    let Some(timeout_ms) = state.spec.timeout_ms else { return };
    let used_ms = driver.context().clock.now_ms().saturating_sub(state.submitted_at_ms);
    let left_ms = timeout_ms.saturating_sub(u64::try_from(used_ms).unwrap_or(0));
    let inbox = inbox.clone();
    actix::spawn(async move {
        tokio::time::sleep(Duration::from_millis(left_ms)).await;
        let message = format!("the run took longer than its timeout of {timeout_ms} ms");
        inbox.push(Command::Abort { kind: String::from("timeout"), message });
    });
}

impl Handler<Deliver> for Run {
    type Result = ();

    fn handle(&mut self, message: Deliver, _: &mut Context<Run>) {
        for item in message.items {
            self.inbox.push(item);
        }
    }
}

impl Handler<Halt> for Run {
    type Result = ();

    fn handle(&mut self, _: Halt, _: &mut Context<Run>) {
        self.inbox.halt();
    }
}
