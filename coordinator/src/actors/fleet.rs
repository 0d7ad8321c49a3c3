//! Fleet: answers workers about attempts, and hands their results to the runs. What it answers is decided by
//! [`Attempts`].

use super::lookups::{Lookups, is_over};
use super::messages::{
    Deliver, Expect, ExpectedAttempt, Forget, ForgetRun, Incoming, Inherit, Interrupt, QueueDied, RegisterRun,
    ResultsArrived, WorkerAsked,
};
use crate::attempts::{Attempts, Consequences, News};
use crate::metrics::Metrics;
use crate::ownership::Holdings;
use crate::standing_gauges::WorkerCounts;
use crate::workers_table;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, ResponseFuture, WrapFuture};
use skein_common::config::CoordinatorSettings;
use skein_common::metrics::Stale;
use skein_common::ports::{ControlServer, Ports};
use skein_common::wire::{
    AttemptRef, AttemptReport, Broadcast, ClaimAnswer, OwnerAnswer, ResultsMarker, WorkerInfo, WorkerOrder,
    WorkerRequest, decode, encode,
};
use skein_common::{AttemptToken, RunId};
use skein_engine::Command;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests and results waiting; beyond it the pumps wait, and so do the workers behind them.
const MAILBOX: usize = 4096;
/// Results taken from the port at once.
const RESULTS_AT_ONCE: usize = 256;

/// Between two tries to become the one that answers workers.
const SERVE_AGAIN: Duration = Duration::from_secs(1);
/// Between two tries to read the table of workers, which a takeover needs.
const TABLE_AGAIN: Duration = Duration::from_millis(200);

/// Between two tries to read the table of pools.
const POOLS_AGAIN: Duration = Duration::from_secs(1);

/// Answers workers for all runs of this coordinator.
pub(super) struct Fleet {
    ports: Ports,
    settings: CoordinatorSettings,
    runs: BTreeMap<RunId, Recipient<Deliver>>,
    attempts: Attempts,
    /// Runs that were taken over, until the workers are known that may have their attempts.
    inherited: Vec<RunId>,
    reads_table: bool,
    /// The table was read: of workers that come later this process hears by itself.
    has_read_table: bool,
    notes_pools: bool,
    lookups: Lookups,
    /// `None` where each run is owned by itself.
    holdings: Option<Arc<Holdings>>,
    metrics: Arc<Metrics>,
}

impl Fleet {
    pub fn new(
        ports: Ports,
        settings: CoordinatorSettings,
        holdings: Option<Arc<Holdings>>,
        metrics: Arc<Metrics>,
    ) -> Fleet {
        let attempts = match ports.shards {
            Some(_) => Attempts::of_cluster(settings.clone()),
            None => Attempts::new(settings.clone()),
        };
        let (runs, inherited, lookups) = (BTreeMap::new(), Vec::new(), Lookups::default());
        Fleet {
            ports,
            settings,
            runs,
            attempts,
            inherited,
            reads_table: false,
            has_read_table: false,
            notes_pools: false,
            lookups,
            holdings,
            metrics,
        }
    }

    /// Whether the run is certain to be ours: one who was deposed and does not know it yet says nothing about runs,
    /// least of all that their attempts are to be ended.
    fn may_answer(&self, run: &RunId) -> bool {
        self.holdings.as_ref().is_none_or(|holdings| holdings.may_write(run))
    }

    fn answer(&mut self, request: &[u8], context: &mut Context<Fleet>) -> Option<OwnerAnswer> {
        let now = Instant::now();
        match decode::<WorkerRequest>(request) {
            Ok(WorkerRequest::Claim(claim)) if !self.may_answer(&claim.attempt.run) => None,
            Ok(WorkerRequest::Claim(claim)) => {
                let answer = self.attempts.claim(&claim, AttemptToken(rand::random()), now);
                if answer.is_none() && self.lookups.is_over(&claim.attempt.run) {
                    self.metrics.deliveries.stale(Stale::Claim, 1);
                    return Some(OwnerAnswer::Claim(ClaimAnswer::Gone));
                }
                if answer == Some(ClaimAnswer::Gone) {
                    self.metrics.deliveries.stale(Stale::Claim, 1);
                }
                if answer.is_none() {
                    self.look_up(claim.attempt.run, context);
                }
                Some(OwnerAnswer::Claim(answer?))
            }
            Ok(WorkerRequest::Heartbeat(mut beat)) => {
                let is_uncertain = |run: &RunId| self.runs.contains_key(run) && !self.may_answer(run);
                if beat.attempts.iter().any(|running| is_uncertain(&running.attempt.run)) {
                    // It is no report of what is left out here, whose run may turn out to be ours.
                    beat.rounds.clear();
                }
                beat.attempts.retain(|running| self.may_answer(&running.attempt.run));
                let (answer, consequences, news) = self.attempts.hear(&beat, now);
                self.want_again(context);
                // Who takes over has to know, however soon.
                self.note_pools(context);
                self.metrics.deliveries.stale(Stale::Heartbeat, answer.gone.len());
                if news != News::Nothing {
                    self.metrics.see_workers(self.attempts.count_workers(now));
                }
                self.follow(consequences, now);
                self.send_markers(context);
                if let (Some(info), true) = (&beat.info, news != News::Nothing) {
                    self.note_worker(info, context);
                }
                Some(OwnerAnswer::Heartbeat(answer))
            }
            Err(error) => {
                tracing::warn!(%error, "request of a worker dropped");
                None
            }
        }
    }

    /// The report, if it comes from the worker that was told to start this attempt.
    fn accept_report(&mut self, report: &[u8]) -> Reported {
        match decode::<AttemptReport>(report) {
            Ok(report) => {
                let run = &report.attempt.run;
                let is_again = self.attempts.is_reported(&report.attempt);
                // One who may have been deposed leaves it to the next owner.
                let is_certain = self.may_answer(run);
                if is_certain && self.attempts.accepts(&report) {
                    if is_again {
                        self.metrics.deliveries.again();
                    }
                    return Reported::Accepted(Box::new(report));
                }
                // Its run may be on its way here: it is delivered again once it is.
                let may_come =
                    !is_certain || !self.attempts.knows(run) || self.attempts.may_accept_later(&report.attempt);
                if may_come && !self.lookups.is_over(run) {
                    Reported::Early(report.attempt.run)
                } else {
                    self.metrics.deliveries.stale(Stale::Result, 1);
                    Reported::Stale
                }
            }
            Err(error) => match decode::<ResultsMarker>(report) {
                Ok(ResultsMarker { marker }) => Reported::Marker(marker),
                Err(_) => {
                    tracing::warn!(%error, "result dropped");
                    Reported::Stale
                }
            },
        }
    }

    fn lose_the_silent(&mut self, context: &mut Context<Fleet>) {
        let now = Instant::now();
        let (silent, consequences) = self.attempts.end_silence(now);
        let workers = self.attempts.count_workers(now);
        self.metrics.see_workers(workers);
        if self.ports.shards.is_none() && workers == WorkerCounts::default() {
            // The first heartbeat of the worker in this process may have been too early for anybody to hear it.
            self.report_now(rand::random(), context);
        }
        for worker in silent {
            tracing::warn!(node = worker.node, worker = %worker.id, "worker fell silent");
            self.strike_worker(worker, context);
        }
        self.follow(consequences, now);
        self.send_markers(context);
        let verdicts = self.attempts.verdicts(now);
        let again = self.attempts.overdue(now);
        self.follow(Consequences { verdicts, again }, now);
        self.ask_for_reports(context);
        self.note_pools(context);
    }

    /// Also those of workers that are known to this process alone.
    fn note_pools(&mut self, context: &mut Context<Fleet>) {
        let pools = if self.ports.shards.is_some() { self.attempts.new_pools() } else { Vec::new() };
        if pools.is_empty() || std::mem::replace(&mut self.notes_pools, true) {
            return;
        }
        let directory = self.ports.directory.clone();
        let noting = async move {
            let mut noted = Vec::new();
            for pool in pools {
                match workers_table::note_pool(directory.as_ref(), &pool).await {
                    Ok(()) => noted.push(pool),
                    Err(error) => tracing::warn!(%error, pool, "pool not noted; the next look tries again"),
                }
            }
            noted
        };
        context.spawn(noting.into_actor(self).map(|noted, fleet, _| {
            noted.iter().for_each(|pool| fleet.attempts.pool_is_noted(pool));
            fleet.notes_pools = false;
        }));
    }

    /// Until they are known, no attempt fails for want of a worker of its pool.
    fn read_pools(&mut self, context: &mut Context<Fleet>) {
        let directory = self.ports.directory.clone();
        let read = async move {
            loop {
                match workers_table::pools(directory.as_ref()).await {
                    Ok(pools) => return pools,
                    Err(error) => tracing::warn!(%error, "the table of pools cannot be read"),
                }
                tokio::time::sleep(POOLS_AGAIN).await;
            }
        };
        context.spawn(read.into_actor(self).map(|pools, fleet, _| fleet.attempts.know_pools(pools)));
    }

    /// Tells runs what became of their attempts. A run that is busy is told at the next look.
    fn follow(&mut self, consequences: Consequences, now: Instant) {
        for (attempt, command) in consequences.verdicts {
            tracing::warn!(run_id = %attempt.run, agent = attempt.agent, attempt = attempt.attempt, "attempt lost");
            let Some(run) = self.runs.get(&attempt.run) else { continue };
            if run.try_send(Deliver { items: vec![command.into()], ..Deliver::default() }).is_ok() {
                self.attempts.forget(&attempt, now);
            }
        }
        let mut by_run: BTreeMap<RunId, Vec<AttemptRef>> = BTreeMap::new();
        for attempt in consequences.again {
            by_run.entry(attempt.run.clone()).or_default().push(attempt);
        }
        for (run_id, again) in by_run {
            tracing::info!(%run_id, attempts = again.len(), "tasks that may be with nobody are dispatched again");
            let Some(run) = self.runs.get(&run_id) else { continue };
            let _told_at_the_next_look = run.try_send(Deliver { items: Vec::new(), again });
        }
    }

    /// Finds out whether a run that nobody registered here is over: then its tasks and results are of no use.
    fn look_up(&mut self, run: RunId, context: &mut Context<Fleet>) {
        if self.attempts.knows(&run) || !self.lookups.begin(&run) {
            return;
        }
        let ports = self.ports.clone();
        let looked = async move { (is_over(&ports, &run).await, run) };
        context.spawn(looked.into_actor(self).map(|(over, run), fleet, _| fleet.lookups.end(&run, over)));
    }

    /// Workers are asked until all have answered: a broadcast may be lost.
    fn ask_for_reports(&mut self, context: &mut Context<Fleet>) {
        for round in self.attempts.rounds() {
            self.report_now(round, context);
        }
    }

    /// Asks all workers for a heartbeat that names this number.
    fn report_now(&self, round: u64, context: &mut Context<Fleet>) {
        let Ok(order) = encode(&Broadcast::Order(WorkerOrder::Report { round })) else { return };
        let control = self.ports.control.clone();
        let asked = async move { drop(control.broadcast(order).await) };
        context.spawn(asked.into_actor(self));
    }

    fn want_again(&mut self, context: &mut Context<Fleet>) {
        for run in self.attempts.take_wanted_again() {
            let results = self.ports.results.clone();
            let redelivered = async move { drop(results.redeliver(&run).await) };
            context.spawn(redelivered.into_actor(self));
        }
    }

    /// Sent until they come back: what was published before them is here then.
    fn send_markers(&mut self, context: &mut Context<Fleet>) {
        for (run, marker) in self.attempts.markers(rand::random, Instant::now()) {
            let Ok(bytes) = encode(&ResultsMarker { marker }) else { continue };
            let results = self.ports.results.clone();
            let sent = async move {
                // What came too early comes again, before the marker.
                let _comes_later = results.redeliver(&run).await;
                if let Err(error) = results.queue(&run, bytes).await {
                    tracing::warn!(run_id = %run, %error, "whether results are on their way is not known yet");
                }
            };
            context.spawn(sent.into_actor(self));
        }
    }

    fn note_worker(&self, info: &WorkerInfo, context: &mut Context<Fleet>) {
        if self.ports.shards.is_none() {
            return;
        }
        let (directory, info) = (self.ports.directory.clone(), info.clone());
        let noted = async move {
            if let Err(error) = workers_table::put(directory.as_ref(), &info).await {
                tracing::warn!(%error, node = info.node, "worker not noted");
            }
        };
        context.spawn(noted.into_actor(self));
    }

    fn strike_worker(&self, worker: WorkerInfo, context: &mut Context<Fleet>) {
        let directory = self.ports.directory.clone();
        let struck = async move {
            if let Err(error) = workers_table::remove(directory.as_ref(), &worker).await {
                tracing::warn!(%error, node = worker.node, "silent worker not struck off");
            }
        };
        context.spawn(struck.into_actor(self));
    }

    /// One look at the table of workers serves all runs that wait for one.
    fn read_table(&mut self, context: &mut Context<Fleet>) {
        if self.reads_table || (self.has_read_table && self.inherited.is_empty()) {
            return;
        }
        self.reads_table = true;
        let (directory, inherited) = (self.ports.directory.clone(), std::mem::take(&mut self.inherited));
        let read = async move {
            loop {
                match workers_table::list(directory.as_ref()).await {
                    Ok(workers) => return (workers, inherited),
                    // Without it nobody knows who has what: the attempts stay as they are meanwhile.
                    Err(error) => tracing::warn!(%error, "the table of workers cannot be read"),
                }
                tokio::time::sleep(TABLE_AGAIN).await;
            }
        };
        context.spawn(read.into_actor(self).map(|(workers, inherited), fleet, context| {
            fleet.attempts.inherit(&inherited, &workers, rand::random(), Instant::now());
            fleet.send_markers(context);
            fleet.ask_for_reports(context);
            (fleet.reads_table, fleet.has_read_table) = (false, true);
            fleet.read_table(context);
        }));
    }
}

/// What became of a result.
enum Reported {
    Accepted(Box<AttemptReport>),
    /// Its run is not executed here yet.
    Early(RunId),
    Stale,
    /// One of ours, after all results that were published before it.
    Marker(u64),
}

impl Actor for Fleet {
    type Context = Context<Fleet>;

    fn started(&mut self, ctx: &mut Context<Fleet>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let shortest_ms = self.settings.attempt_deadline_ms.min(self.settings.claim_wait_ms);
        let look = Duration::from_millis((shortest_ms / 4).clamp(100, 1000));
        ctx.run_interval(look, |fleet, context| fleet.lose_the_silent(context));
        if self.ports.shards.is_some() {
            self.read_table(ctx);
            self.read_pools(ctx);
        }
        let (address, ports) = (ctx.address(), self.ports.clone());
        actix::spawn(watch_queue(ports.clone(), address.clone().recipient()));
        actix::spawn(pump_requests(ports.clone(), address.clone().recipient()));
        actix::spawn(pump_results(ports, address.recipient()));
    }
}

/// Hands requests on one by one; ends with the actor.
async fn pump_requests(ports: Ports, fleet: Recipient<WorkerAsked>) {
    let mut server: Box<dyn ControlServer> = loop {
        match ports.control.serve().await {
            Ok(server) => break server,
            Err(error) => tracing::error!(%error, "workers cannot be answered yet"),
        }
        tokio::time::sleep(SERVE_AGAIN).await;
        if !fleet.connected() {
            return;
        }
    };
    while let Some(request) = server.next().await {
        if fleet.send(WorkerAsked(request)).await.is_err() {
            return;
        }
    }
}

/// Tells when the queue of tasks may have lost some; ends with the actor.
async fn watch_queue(ports: Ports, fleet: Recipient<QueueDied>) {
    while fleet.connected() {
        ports.tasks.died().await;
        if fleet.send(QueueDied).await.is_err() {
            return;
        }
    }
}

/// Hands results on; ends with the actor.
async fn pump_results(ports: Ports, fleet: Recipient<ResultsArrived>) {
    loop {
        match ports.results.consume(RESULTS_AT_ONCE).await {
            Ok(deliveries) => {
                if fleet.send(ResultsArrived(deliveries)).await.is_err() {
                    return;
                }
            }
            Err(error) => return tracing::error!(%error, "results cannot be consumed"),
        }
    }
}

impl Handler<RegisterRun> for Fleet {
    type Result = Vec<AttemptRef>;

    fn handle(&mut self, message: RegisterRun, _: &mut Context<Fleet>) -> Vec<AttemptRef> {
        let RegisterRun { run, epoch, recipient } = message;
        let alive = self.attempts.register(&run, epoch);
        self.runs.insert(run, recipient);
        alive
    }
}

impl Handler<Inherit> for Fleet {
    type Result = ();

    fn handle(&mut self, Inherit(inheritance): Inherit, context: &mut Context<Fleet>) {
        self.attempts.know(&inheritance, Instant::now());
        // Most runs are new, and inherit nothing.
        if self.attempts.waits_for_workers(&inheritance.run) {
            self.inherited.push(inheritance.run);
            self.read_table(context);
        }
    }
}

impl Handler<ForgetRun> for Fleet {
    type Result = ();

    fn handle(&mut self, message: ForgetRun, _: &mut Context<Fleet>) {
        self.runs.remove(&message.run);
        self.attempts.forget_run(&message.run);
    }
}

impl Handler<Expect> for Fleet {
    type Result = Vec<Option<bool>>;

    fn handle(&mut self, message: Expect, _: &mut Context<Fleet>) -> Vec<Option<bool>> {
        let now = Instant::now();
        let expected = message.attempts.into_iter();
        expected.map(|ExpectedAttempt { attempt, target }| self.attempts.expect(attempt, target, now)).collect()
    }
}

impl Handler<Forget> for Fleet {
    type Result = ();

    fn handle(&mut self, message: Forget, _: &mut Context<Fleet>) {
        for attempt in message.attempts {
            self.attempts.forget(&attempt, Instant::now());
        }
    }
}

impl Handler<Interrupt> for Fleet {
    type Result = Option<Command>;

    fn handle(&mut self, message: Interrupt, _: &mut Context<Fleet>) -> Option<Command> {
        self.attempts.interrupt(&message.attempt, Instant::now())
    }
}

impl Handler<QueueDied> for Fleet {
    type Result = ();

    fn handle(&mut self, _: QueueDied, _: &mut Context<Fleet>) {
        let now = Instant::now();
        self.attempts.doubt_queues();
        let again = self.attempts.overdue(now);
        self.follow(Consequences { verdicts: Vec::new(), again }, now);
    }
}

impl Handler<WorkerAsked> for Fleet {
    type Result = ();

    fn handle(&mut self, WorkerAsked(asked): WorkerAsked, context: &mut Context<Fleet>) {
        let Some(answer) = self.answer(&asked.request, context) else { return };
        match encode(&answer) {
            Ok(bytes) => asked.reply.send(bytes),
            Err(error) => tracing::error!(%error, "answer to a worker not sent"),
        }
    }
}

impl Handler<ResultsArrived> for Fleet {
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        ResultsArrived(deliveries): ResultsArrived,
        context: &mut Context<Fleet>,
    ) -> ResponseFuture<()> {
        let mut by_run: BTreeMap<RunId, Vec<Incoming>> = BTreeMap::new();
        let (mut dropped, mut drained) = (Vec::new(), Vec::new());
        for delivery in deliveries {
            match self.accept_report(&delivery.result) {
                Reported::Accepted(report) => {
                    let AttemptReport { attempt, end, usage, notes, .. } = *report;
                    let AttemptRef { run, agent, attempt } = attempt;
                    by_run.entry(run).or_default().push(Incoming {
                        delivery: Some(delivery.delivery),
                        answer: None,
                        command: Command::Report { agent, attempt, end, usage, notes },
                    });
                }
                Reported::Early(run) => self.look_up(run, context),
                Reported::Stale => dropped.push(delivery.delivery),
                Reported::Marker(marker) => {
                    dropped.push(delivery.delivery);
                    drained.push((delivery.run, marker));
                }
            }
        }
        for (run, marker) in drained {
            let consequences = self.attempts.drained(&run, marker);
            self.follow(consequences, Instant::now());
        }
        let sends: Vec<_> = by_run
            .into_iter()
            .filter_map(|(run, items)| Some(self.runs.get(&run)?.send(Deliver { items, again: Vec::new() })))
            .collect();
        let results = self.ports.results.clone();
        Box::pin(async move {
            for delivery in dropped {
                let _unavailable = results.done(delivery).await;
            }
            for send in sends {
                let _run_is_gone = send.await;
            }
        })
    }
}
