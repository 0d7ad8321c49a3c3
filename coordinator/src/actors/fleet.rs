//! Fleet: which attempts may run, who runs them, and who is lost.
//!
//! | attempt | claim | heartbeat | result | deadline passes |
//! |---|---|---|---|---|
//! | unknown | gone | gone | dropped, counted | - |
//! | expected | go, claimed | gone | dropped, counted | - |
//! | claimed | go again to the same worker, else gone | extended | delivered, until its run forgets it | lost, unknown |

use super::messages::{Deliver, Expect, Forget, ForgetRun, Incoming, RegisterRun, ResultsArrived, WorkerAsked};
use actix::{Actor, AsyncContext, Context, Handler, Recipient, ResponseFuture};
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
    /// Answers that matched no attempt: late, doubled or false (invariant 3).
    stale_answers: u64,
}

impl Fleet {
    pub fn new(ports: Ports, settings: CoordinatorSettings) -> Fleet {
        Fleet { ports, settings, runs: BTreeMap::new(), attempts: BTreeMap::new(), stale_answers: 0 }
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

    fn lose_the_silent(&mut self) {
        let now = Instant::now();
        let silent: Vec<AttemptRef> = self
            .attempts
            .iter()
            .filter(|(_, expected)| expected.claimed.as_ref().is_some_and(|claimed| claimed.deadline <= now))
            .map(|(attempt, _)| attempt.clone())
            .collect();
        for attempt in silent {
            self.attempts.remove(&attempt);
            tracing::warn!(run_id = %attempt.run, agent = attempt.agent, attempt = attempt.attempt, "attempt lost");
            let command = Command::Lose { agent: attempt.agent, attempt: attempt.attempt, ours: false };
            if let Some(run) = self.runs.get(&attempt.run) {
                let items = vec![command.into()];
                if run.recipient.try_send(Deliver { items }).is_err() {
                    // The run is busy: the attempt stays expected with its old deadline and is lost at the next look.
                    let claimed = Claimed { worker: WorkerId(String::new()), token: AttemptToken(0), deadline: now };
                    self.attempts.insert(attempt, Expected { claimed: Some(claimed) });
                }
            }
        }
    }
}

impl Actor for Fleet {
    type Context = Context<Fleet>;

    fn started(&mut self, ctx: &mut Context<Fleet>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let look = Duration::from_millis((self.settings.attempt_deadline_ms / 4).max(100));
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
        for attempt in message.attempts {
            self.attempts.insert(attempt, Expected { claimed: None });
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
