//! Fleet: which attempts may run, who runs them, and who is lost.
//!
//! | attempt | claim | heartbeat | result | deadline passes |
//! |---|---|---|---|---|
//! | unknown | gone | gone | dropped, counted | - |
//! | expected | go, claimed | gone | dropped, counted | rejected, or lost when later ones were claimed |
//! | claimed | go again to the same worker, else gone | extended | delivered, until its run forgets it | lost, unknown |

use super::messages::{
    Deliver, Expect, ExpectedAttempt, Forget, ForgetRun, Incoming, RegisterRun, ResultsArrived, WorkerAsked,
};
use actix::{Actor, AsyncContext, Context, Handler, Recipient, ResponseFuture};
use skein_common::agent::Cause;
use skein_common::config::CoordinatorSettings;
use skein_common::ports::{ControlServer, Ports, ResultDelivery};
use skein_common::wire::{
    AttemptRef, AttemptReport, Claim, ClaimAnswer, Heartbeat, HeartbeatAnswer, OwnerAnswer, WorkerRequest, decode,
    encode,
};
use skein_common::{AttemptToken, Epoch, RunId, WorkerId};
use skein_engine::Command;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Requests and results waiting; beyond it the pumps wait, and so do the workers behind them.
const MAILBOX: usize = 4096;
/// Results taken from the port at once.
const RESULTS_AT_ONCE: usize = 256;

/// An attempt that is journalled and not over.
struct Expected {
    pool: String,
    /// Counts the attempts of this process, so that first dispatched can be told from later.
    order: u64,
    since: Instant,
    claimed: Option<Claimed>,
}

struct Claimed {
    worker: WorkerId,
    token: AttemptToken,
    deadline: Instant,
}

struct KnownRun {
    epoch: Epoch,
    recipient: Recipient<Deliver>,
}

/// Answers workers for all runs of this coordinator.
pub(super) struct Fleet {
    ports: Ports,
    settings: CoordinatorSettings,
    runs: BTreeMap<RunId, KnownRun>,
    attempts: BTreeMap<AttemptRef, Expected>,
    expected_total: u64,
    /// The newest attempt that was claimed in each pool. Tasks are delivered in order, so an older one that nobody
    /// claimed for long went down with a worker; a pool that is not here is served by nobody.
    newest_claimed: BTreeMap<String, u64>,
    /// Answers that matched no attempt: late, doubled or false (invariant 3).
    stale_answers: u64,
}

impl Fleet {
    pub fn new(ports: Ports, settings: CoordinatorSettings) -> Fleet {
        Fleet {
            ports,
            settings,
            runs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            expected_total: 0,
            newest_claimed: BTreeMap::new(),
            stale_answers: 0,
        }
    }

    fn answer(&mut self, request: &[u8]) -> Option<OwnerAnswer> {
        match decode::<WorkerRequest>(request) {
            Ok(WorkerRequest::Claim(claim)) => Some(OwnerAnswer::Claim(self.claim(&claim))),
            Ok(WorkerRequest::Heartbeat(beat)) => Some(OwnerAnswer::Heartbeat(self.heartbeat(&beat))),
            Err(error) => {
                tracing::warn!(%error, "request of a worker dropped");
                None
            }
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.settings.attempt_deadline_ms)
    }

    fn claim(&mut self, claim: &Claim) -> ClaimAnswer {
        let deadline = self.deadline();
        let Some(epoch) = self.runs.get(&claim.attempt.run).map(|run| run.epoch) else { return ClaimAnswer::Gone };
        let Some(expected) = self.attempts.get_mut(&claim.attempt) else { return ClaimAnswer::Gone };
        let token = match &expected.claimed {
            Some(claimed) if claimed.worker == claim.worker => claimed.token,
            Some(_) => return ClaimAnswer::Gone,
            None => AttemptToken(rand::random()),
        };
        expected.claimed = Some(Claimed { worker: claim.worker.clone(), token, deadline });
        let newest = self.newest_claimed.entry(expected.pool.clone()).or_default();
        *newest = expected.order.max(*newest);
        ClaimAnswer::Go { token, epoch, deadline_ms: self.settings.attempt_deadline_ms }
    }

    fn heartbeat(&mut self, beat: &Heartbeat) -> HeartbeatAnswer {
        let deadline = self.deadline();
        let mut answer = HeartbeatAnswer::default();
        for running in &beat.attempts {
            let claimed = self.attempts.get_mut(&running.attempt).and_then(|expected| expected.claimed.as_mut());
            match claimed.filter(|claimed| claimed.token == running.token) {
                Some(claimed) => {
                    claimed.deadline = deadline;
                    answer.extended.push(running.attempt.clone());
                }
                None => answer.gone.push(running.attempt.clone()),
            }
        }
        answer
    }

    /// The report, if it comes from the worker that was told to start this attempt.
    fn accept_report(&mut self, delivery: &ResultDelivery) -> Option<AttemptReport> {
        let report: AttemptReport = match decode(&delivery.result) {
            Ok(report) => report,
            Err(error) => {
                tracing::warn!(%error, "result dropped");
                return None;
            }
        };
        // It stays expected until its run has journalled it: should the run's actor die before, its successor is told
        // of the attempt, and gets the result again.
        let claimed = self.attempts.get(&report.attempt).and_then(|expected| expected.claimed.as_ref());
        if claimed.is_some_and(|claimed| claimed.token == report.token) {
            return Some(report);
        }
        self.stale_answers += 1;
        tracing::debug!(run_id = %report.attempt.run, agent = report.attempt.agent, "stale result dropped");
        None
    }

    /// Tells runs of attempts that nobody answers for: their worker fell silent, or no worker ever took them.
    fn lose_the_silent(&mut self) {
        let now = Instant::now();
        let verdicts: Vec<(AttemptRef, Command)> = self
            .attempts
            .iter()
            .filter_map(|(attempt, expected)| Some((attempt.clone(), self.verdict(attempt, expected, now)?)))
            .collect();
        for (attempt, command) in verdicts {
            tracing::warn!(run_id = %attempt.run, agent = attempt.agent, attempt = attempt.attempt, "attempt lost");
            let Some(run) = self.runs.get(&attempt.run) else { continue };
            // A run that is busy is told at the next look.
            if run.recipient.try_send(Deliver { items: vec![command.into()] }).is_ok() {
                self.attempts.remove(&attempt);
            }
        }
    }

    /// What a run has to be told of an attempt, if anything.
    fn verdict(&self, attempt: &AttemptRef, expected: &Expected, now: Instant) -> Option<Command> {
        let AttemptRef { agent, attempt, .. } = *attempt;
        if let Some(claimed) = &expected.claimed {
            return (claimed.deadline <= now).then_some(Command::Lose { agent, attempt, ours: false });
        }
        if now.duration_since(expected.since) < Duration::from_millis(self.settings.claim_wait_ms) {
            return None;
        }
        match self.newest_claimed.get(&expected.pool) {
            None => Some(Command::Reject {
                agent,
                attempt,
                cause: Cause::Failed,
                detail: String::from("no_worker"),
                message: format!("no worker serves pool {}", expected.pool),
            }),
            Some(newest) if *newest > expected.order => Some(Command::Lose { agent, attempt, ours: true }),
            Some(_) => None,
        }
    }
}

impl Actor for Fleet {
    type Context = Context<Fleet>;

    fn started(&mut self, ctx: &mut Context<Fleet>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let shortest_ms = self.settings.attempt_deadline_ms.min(self.settings.claim_wait_ms);
        let look = Duration::from_millis((shortest_ms / 4).max(100));
        ctx.run_interval(look, |fleet, _| fleet.lose_the_silent());
        let (address, ports) = (ctx.address(), self.ports.clone());
        actix::spawn(pump_requests(ports.clone(), address.clone().recipient()));
        actix::spawn(pump_results(ports, address.recipient()));
    }
}

/// Hands requests on one by one; ends with the actor.
async fn pump_requests(ports: Ports, fleet: Recipient<WorkerAsked>) {
    let mut server: Box<dyn ControlServer> = match ports.control.serve().await {
        Ok(server) => server,
        Err(error) => return tracing::error!(%error, "workers cannot be answered"),
    };
    while let Some(request) = server.next().await {
        if fleet.send(WorkerAsked(request)).await.is_err() {
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
        // What nobody claimed is dispatched anew by the successor, under its own attempt number.
        self.attempts.retain(|attempt, expected| attempt.run != run || expected.claimed.is_some());
        let alive = self.attempts.keys().filter(|attempt| attempt.run == run).cloned().collect();
        self.runs.insert(run, KnownRun { epoch, recipient });
        alive
    }
}

impl Handler<ForgetRun> for Fleet {
    type Result = ();

    fn handle(&mut self, message: ForgetRun, _: &mut Context<Fleet>) {
        self.runs.remove(&message.run);
        self.attempts.retain(|attempt, _| attempt.run != message.run);
    }
}

impl Handler<Expect> for Fleet {
    type Result = ();

    fn handle(&mut self, message: Expect, _: &mut Context<Fleet>) {
        for ExpectedAttempt { attempt, pool } in message.attempts {
            self.expected_total += 1;
            let (order, since) = (self.expected_total, Instant::now());
            self.attempts.insert(attempt, Expected { pool, order, since, claimed: None });
        }
    }
}

impl Handler<Forget> for Fleet {
    type Result = ();

    fn handle(&mut self, message: Forget, _: &mut Context<Fleet>) {
        for attempt in message.attempts {
            self.attempts.remove(&attempt);
        }
    }
}

impl Handler<WorkerAsked> for Fleet {
    type Result = ();

    fn handle(&mut self, WorkerAsked(asked): WorkerAsked, _: &mut Context<Fleet>) {
        let Some(answer) = self.answer(&asked.request) else { return };
        match encode(&answer) {
            Ok(bytes) => asked.reply.send(bytes),
            Err(error) => tracing::error!(%error, "answer to a worker not sent"),
        }
    }
}

impl Handler<ResultsArrived> for Fleet {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, ResultsArrived(deliveries): ResultsArrived, _: &mut Context<Fleet>) -> ResponseFuture<()> {
        let mut by_run: BTreeMap<RunId, Vec<Incoming>> = BTreeMap::new();
        let mut dropped = Vec::new();
        for delivery in deliveries {
            match self.accept_report(&delivery) {
                Some(report) => by_run.entry(report.attempt.run.clone()).or_default().push(Incoming {
                    delivery: Some(delivery.delivery),
                    command: Command::Report {
                        agent: report.attempt.agent,
                        attempt: report.attempt.attempt,
                        end: report.end,
                        usage: report.usage,
                        notes: report.notes,
                    },
                }),
                None => dropped.push(delivery.delivery),
            }
        }
        let sends: Vec<_> = by_run
            .into_iter()
            .filter_map(|(run, items)| Some(self.runs.get(&run)?.recipient.send(Deliver { items })))
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
