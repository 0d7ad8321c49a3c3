//! Root: which runs live here. Starts them through one factory and starts them again when they die.

use super::feed::Feed;
use super::fleet::Fleet;
use super::messages::{
    BeginRun, ControlError, ControlRun, CountRuns, Deliver, ForgetRun, Halt, HaltShard, Incoming, LeaveShards, RunDied,
    RunEnd, RunFinished, RunToItsEnd, ShardsDied, Shutdown,
};
use super::run::{Run, RunParts, describe};
use super::shards::Shards;
use crate::driver::DriverContext;
use crate::ownership::ShardOwner;
use crate::steering;
use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, ResponseActFuture, ResponseFuture, WrapFuture,
};
use skein_common::RunId;
use skein_common::config::CoordinatorSettings;
use skein_common::ports::{Lease, LeaseError, shard_of};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Requests waiting; beyond it the asker waits.
const MAILBOX: usize = 256;
/// Incarnations of a run in a row that get nowhere; the journal counts takeovers without progress across processes.
const FAILURES_MAX: u32 = 4;
/// Before the second incarnation in a row; doubled for each one after it.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Runs of an earlier owner that are read, and their scripts replayed, at the same time. There may be thousands, and what
/// keeps leases and answers workers has the same thread.
const OPENED_AT_ONCE: usize = 16;

/// Before the actor of shards is started again.
const SHARDS_AGAIN: Duration = Duration::from_secs(1);

/// One run that lives here.
struct Live {
    incarnation: u64,
    /// Incarnations before it, in a row, that got nowhere.
    failures: u32,
    lease: Lease,
    address: Addr<Run>,
    lifts_pause: bool,
    waiting: Vec<oneshot::Sender<RunEnd>>,
}

/// What the factory makes an incarnation from.
struct NewIncarnation {
    run: RunId,
    incarnation: u64,
    failures: u32,
    lease: Lease,
    lifts_pause: bool,
    is_left: bool,
}

/// The first actor: everything else is started by it and ends with it.
pub(crate) struct Root {
    context: DriverContext,
    settings: CoordinatorSettings,
    owner: String,
    fleet: Addr<Fleet>,
    feed: Addr<Feed>,
    /// `None` where each run is owned by itself.
    owner_of_shards: Option<ShardOwner>,
    shards: Option<Addr<Shards>>,
    runs: BTreeMap<RunId, Live>,
    opening: Arc<Semaphore>,
    closing: bool,
    drained: Vec<oneshot::Sender<()>>,
}

impl Root {
    /// Starts Root with its Fleet, Feed and Shards on the current arbiter. `owner` names this process in leases of runs.
    pub fn start_all(
        context: DriverContext,
        settings: CoordinatorSettings,
        owner: String,
        owner_of_shards: Option<ShardOwner>,
    ) -> Addr<Root> {
        let feed = Feed::new(context.ports.feed.clone()).start();
        let holdings = owner_of_shards.as_ref().map(|owner| owner.holdings.clone());
        let fleet = Fleet::new(context.ports.clone(), settings.clone(), holdings, context.metrics.clone()).start();
        let (shards, runs, drained) = (None, BTreeMap::new(), Vec::new());
        let (closing, opening) = (false, Arc::new(Semaphore::new(OPENED_AT_ONCE)));
        Root { context, settings, owner, fleet, feed, owner_of_shards, shards, runs, opening, closing, drained }.start()
    }

    fn start_shards(&mut self, ctx: &mut Context<Root>) {
        if let Some(owner) = self.owner_of_shards.clone().filter(|_| !self.closing) {
            self.shards = Some(Shards::new(self.context.ports.clone(), owner, ctx.address()).start());
        }
    }

    /// The factory: every incarnation of a run is made here.
    fn spawn_run(&mut self, new: NewIncarnation, ctx: &mut Context<Root>) -> Addr<Run> {
        let NewIncarnation { run, incarnation, failures, lease, lifts_pause, is_left } = new;
        let replaces_lost_hosts = failures + 1 < FAILURES_MAX;
        let parts = RunParts {
            run,
            incarnation,
            lease,
            lifts_pause,
            opening: is_left.then(|| self.opening.clone()),
            context: DriverContext { replaces_lost_hosts, ..self.context.clone() },
            grace_ms: self.settings.grace_ms,
            host_wait_ms: self.settings.host_wait_ms,
            root: ctx.address(),
            fleet: self.fleet.clone(),
            feed: self.feed.clone(),
        };
        Run::new(parts).start()
    }

    fn adopt(&mut self, asked: RunToItsEnd, lease: Lease, ctx: &mut Context<Root>) -> oneshot::Receiver<RunEnd> {
        let (sender, receiver) = oneshot::channel();
        let RunToItsEnd { run, lifts_pause, is_left } = asked;
        let (name, held) = (run.clone(), lease.clone());
        let first = NewIncarnation { run: name, incarnation: 1, failures: 0, lease: held, lifts_pause, is_left };
        let address = self.spawn_run(first, ctx);
        self.runs.insert(run, Live { incarnation: 1, failures: 0, lease, address, lifts_pause, waiting: vec![sender] });
        receiver
    }

    /// The incarnation is over: another one, or the end.
    fn incarnation_over(&mut self, over: RunFinished, ctx: &mut Context<Root>) {
        let RunFinished { run, incarnation, end, try_again, got_further } = over;
        let Some(live) = self.runs.get(&run).filter(|live| live.incarnation == incarnation) else { return };
        let (lease, failures) = (live.lease.clone(), if got_further { 1 } else { live.failures + 1 });
        let lifts_pause = live.lifts_pause;
        if !try_again || self.closing || failures >= FAILURES_MAX {
            return self.close_run(&run, &lease, end, ctx);
        }
        // A replacement starts fresh under a new epoch and rebuilds itself from the journal.
        let (leases, owner, name) = (self.context.ports.leases.clone(), self.owner.clone(), run.to_string());
        let renewal = async move {
            tokio::time::sleep(BACK_OFF * 2u32.saturating_pow(failures - 1)).await;
            leases.release(&lease).await?;
            leases.acquire(&name, &owner).await
        };
        ctx.spawn(renewal.into_actor(self).map(move |lease: Result<Lease, LeaseError>, root, ctx| match lease {
            Ok(lease) if root.closing => root.close_run(&run, &lease, end, ctx),
            Ok(lease) => {
                let next = incarnation + 1;
                let new = NewIncarnation {
                    run: run.clone(),
                    incarnation: next,
                    failures,
                    lease: lease.clone(),
                    // Until one got further, none has told the run what the person wants.
                    lifts_pause: lifts_pause && !got_further,
                    is_left: false,
                };
                let address = root.spawn_run(new, ctx);
                if let Some(live) = root.runs.get_mut(&run) {
                    (live.incarnation, live.failures, live.lease, live.address) = (next, failures, lease, address);
                    live.lifts_pause = lifts_pause && !got_further;
                }
            }
            Err(error) => root.tell(&run, &RunEnd::Interrupted { reason: describe(&error) }),
        }));
    }

    /// Gives the lease back, then tells everybody who waits.
    fn close_run(&mut self, run: &RunId, lease: &Lease, end: RunEnd, ctx: &mut Context<Root>) {
        let (leases, lease, run) = (self.context.ports.leases.clone(), lease.clone(), run.clone());
        let release = async move { leases.release(&lease).await };
        ctx.spawn(release.into_actor(self).map(move |released, root, _| {
            if let Err(error) = released {
                tracing::warn!(run_id = %run, %error, "lease not released");
            }
            root.tell(&run, &end);
        }));
    }

    fn tell(&mut self, run: &RunId, end: &RunEnd) {
        let (fleet, forget) = (self.fleet.clone(), ForgetRun { run: run.clone() });
        actix::spawn(async move {
            let _fleet_is_gone = fleet.send(forget).await;
        });
        for waiting in self.runs.remove(run).map(|live| live.waiting).unwrap_or_default() {
            let _nobody_waits = waiting.send(end.clone());
        }
        if self.runs.is_empty() {
            for drained in self.drained.drain(..) {
                let _nobody_waits = drained.send(());
            }
        }
    }
}

impl Actor for Root {
    type Context = Context<Root>;

    fn started(&mut self, ctx: &mut Context<Root>) {
        ctx.set_mailbox_capacity(MAILBOX);
        if self.owner_of_shards.is_some() {
            self.start_shards(ctx);
            actix::spawn(steering::serve(self.context.ports.steering.clone(), ctx.address()));
        }
    }
}

impl Root {
    /// Waits for the end of a run that lives here.
    fn join(&mut self, run: &RunId) -> Option<oneshot::Receiver<RunEnd>> {
        let live = self.runs.get_mut(run)?;
        let (sender, receiver) = oneshot::channel();
        live.waiting.push(sender);
        Some(receiver)
    }

    /// Takes the run up, or joins those who wait for its end.
    fn take_up(&mut self, asked: RunToItsEnd) -> ResponseActFuture<Root, Result<oneshot::Receiver<RunEnd>, RunEnd>> {
        if let Some(receiver) = self.join(&asked.run) {
            return Box::pin(std::future::ready(Ok(receiver)).into_actor(self));
        }
        let (leases, owner, name) = (self.context.ports.leases.clone(), self.owner.clone(), asked.run.to_string());
        let acquired = async move { leases.acquire(&name, &owner).await };
        let adopted = acquired.into_actor(self).then(move |lease, root, ctx| {
            let refused = match lease {
                Ok(lease) if root.closing => Err(Some(lease)),
                Ok(lease) => Ok(root.adopt(asked, lease, ctx)),
                Err(error) => {
                    // Somebody else may have asked here at the same moment, and been first.
                    let joined = root.join(&asked.run).ok_or(RunEnd::Interrupted { reason: describe(&error) });
                    return std::future::ready(joined).into_actor(root).boxed_local();
                }
            };
            let leases = root.context.ports.leases.clone();
            async move {
                match refused {
                    Ok(receiver) => Ok(receiver),
                    Err(lease) => {
                        if let Some(lease) = lease
                            && let Err(error) = leases.release(&lease).await
                        {
                            tracing::warn!(run_id = lease.name, %error, "lease not released");
                        }
                        Err(RunEnd::Interrupted { reason: String::from("the coordinator is closing") })
                    }
                }
            }
            .into_actor(root)
            .boxed_local()
        });
        Box::pin(adopted)
    }
}

impl Handler<RunToItsEnd> for Root {
    type Result = ResponseActFuture<Root, RunEnd>;

    fn handle(&mut self, asked: RunToItsEnd, _: &mut Context<Root>) -> Self::Result {
        Box::pin(self.take_up(asked).then(|taken_up, root, _| {
            async move {
                match taken_up {
                    Ok(receiver) => end_of(receiver).await,
                    Err(end) => end,
                }
            }
            .into_actor(root)
        }))
    }
}

impl Handler<BeginRun> for Root {
    type Result = ResponseActFuture<Root, Result<(), String>>;

    fn handle(&mut self, BeginRun { run, is_left }: BeginRun, _: &mut Context<Root>) -> Self::Result {
        if self.runs.contains_key(&run) {
            return Box::pin(std::future::ready(Ok(())).into_actor(self));
        }
        Box::pin(self.take_up(RunToItsEnd { run, lifts_pause: false, is_left }).map(|taken_up, _, _| match taken_up {
            Ok(_nobody_waits) => Ok(()),
            Err(RunEnd::Interrupted { reason }) => Err(reason),
            Err(RunEnd::Ended(_)) => Ok(()),
        }))
    }
}

async fn end_of(receiver: oneshot::Receiver<RunEnd>) -> RunEnd {
    receiver.await.unwrap_or_else(|_| RunEnd::Interrupted { reason: String::from("the coordinator is gone") })
}

impl Handler<ControlRun> for Root {
    type Result = ResponseFuture<Result<(), ControlError>>;

    fn handle(&mut self, ControlRun { run, command }: ControlRun, _: &mut Context<Root>) -> Self::Result {
        let Some(address) = self.runs.get(&run).map(|live| live.address.clone()) else {
            return Box::pin(std::future::ready(Err(ControlError::NotHere(run))));
        };
        let (sender, receiver) = oneshot::channel();
        let items = vec![Incoming { command, delivery: None, answer: Some(sender) }];
        Box::pin(async move {
            address.send(Deliver { items, again: Vec::new() }).await.map_err(|_| ControlError::Unanswered)?;
            receiver.await.unwrap_or(Err(ControlError::Unanswered))
        })
    }
}

impl Handler<RunFinished> for Root {
    type Result = ();

    fn handle(&mut self, message: RunFinished, ctx: &mut Context<Root>) {
        self.incarnation_over(message, ctx);
    }
}

impl Handler<RunDied> for Root {
    type Result = ();

    fn handle(&mut self, message: RunDied, ctx: &mut Context<Root>) {
        tracing::error!(run_id = %message.run, incarnation = message.incarnation, "run actor died");
        let end = RunEnd::Interrupted { reason: String::from("internal error: see the log") };
        let RunDied { run, incarnation } = message;
        self.incarnation_over(RunFinished { run, incarnation, end, try_again: true, got_further: false }, ctx);
    }
}

impl Handler<HaltShard> for Root {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, HaltShard { shard }: HaltShard, _: &mut Context<Root>) -> ResponseFuture<()> {
        let Some(count) = self.owner_of_shards.as_ref().map(|owner| owner.holdings.count()) else {
            return Box::pin(std::future::ready(()));
        };
        let of_shard = self.runs.iter_mut().filter(|(run, _)| shard_of(run, count) == shard);
        let halts: Vec<_> = of_shard
            .map(|(_, live)| {
                let (sender, receiver) = oneshot::channel();
                live.waiting.push(sender);
                let halt = live.address.send(Halt);
                async move {
                    // One that waits for its next incarnation is not there, and does not come back.
                    let _gone_already = halt.await;
                    let _gone_already = receiver.await;
                }
            })
            .collect();
        Box::pin(async move {
            futures::future::join_all(halts).await;
        })
    }
}

impl Handler<ShardsDied> for Root {
    type Result = ();

    fn handle(&mut self, _: ShardsDied, ctx: &mut Context<Root>) {
        tracing::error!("the actor of shards died");
        ctx.run_later(SHARDS_AGAIN, Root::start_shards);
    }
}

impl Handler<CountRuns> for Root {
    type Result = usize;

    fn handle(&mut self, _: CountRuns, _: &mut Context<Root>) -> usize {
        self.runs.len()
    }
}

impl Handler<Shutdown> for Root {
    type Result = ResponseActFuture<Root, ()>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Root>) -> Self::Result {
        self.closing = true;
        let (sender, receiver) = oneshot::channel();
        if self.runs.is_empty() {
            let _nobody_waits = sender.send(());
        } else {
            self.drained.push(sender);
        }
        let addresses: Vec<Addr<Run>> = self.runs.values().map(|live| live.address.clone()).collect();
        let shards = self.shards.clone();
        let halt = async move {
            if let Some(shards) = shards {
                let _gone_already = shards.send(LeaveShards).await;
            }
            for address in addresses {
                let _gone_already = address.send(Halt).await;
            }
            let _gone_already = receiver.await;
        };
        Box::pin(halt.into_actor(self))
    }
}
