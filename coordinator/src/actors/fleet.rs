//! Fleet: answers workers about attempts, and hands their results to the runs. What it answers is decided by
//! [`Attempts`].

use super::messages::{
    Deliver, Expect, ExpectedAttempt, Forget, ForgetRun, Incoming, Interrupt, RegisterRun, ResultsArrived, WorkerAsked,
};
use crate::attempts::Attempts;
use actix::{Actor, AsyncContext, Context, Handler, Recipient, ResponseFuture};
use skein_common::config::CoordinatorSettings;
use skein_common::ports::{ControlServer, Ports, ResultDelivery};
use skein_common::wire::{AttemptRef, AttemptReport, OwnerAnswer, WorkerRequest, decode, encode};
use skein_common::{AttemptToken, RunId};
use skein_engine::Command;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Requests and results waiting; beyond it the pumps wait, and so do the workers behind them.
const MAILBOX: usize = 4096;
/// Results taken from the port at once.
const RESULTS_AT_ONCE: usize = 256;

/// Answers workers for all runs of this coordinator.
pub(super) struct Fleet {
    ports: Ports,
    settings: CoordinatorSettings,
    runs: BTreeMap<RunId, Recipient<Deliver>>,
    attempts: Attempts,
}

impl Fleet {
    pub fn new(ports: Ports, settings: CoordinatorSettings) -> Fleet {
        let attempts = Attempts::new(settings.clone());
        Fleet { ports, settings, runs: BTreeMap::new(), attempts }
    }

    fn answer(&mut self, request: &[u8]) -> Option<OwnerAnswer> {
        let now = Instant::now();
        match decode::<WorkerRequest>(request) {
            Ok(WorkerRequest::Claim(claim)) => {
                Some(OwnerAnswer::Claim(self.attempts.claim(&claim, AttemptToken(rand::random()), now)))
            }
            Ok(WorkerRequest::Heartbeat(beat)) => Some(OwnerAnswer::Heartbeat(self.attempts.heartbeat(&beat, now))),
            Err(error) => {
                tracing::warn!(%error, "request of a worker dropped");
                None
            }
        }
    }

    /// The report, if it comes from the worker that was told to start this attempt.
    fn accept_report(&mut self, delivery: &ResultDelivery) -> Option<AttemptReport> {
        match decode::<AttemptReport>(&delivery.result) {
            Ok(report) => self.attempts.accepts(&report).then_some(report),
            Err(error) => {
                tracing::warn!(%error, "result dropped");
                None
            }
        }
    }

    fn lose_the_silent(&mut self) {
        let now = Instant::now();
        for (attempt, command) in self.attempts.verdicts(now) {
            tracing::warn!(run_id = %attempt.run, agent = attempt.agent, attempt = attempt.attempt, "attempt lost");
            let Some(run) = self.runs.get(&attempt.run) else { continue };
            // A run that is busy is told at the next look.
            if run.try_send(Deliver { items: vec![command.into()] }).is_ok() {
                self.attempts.forget(&attempt, now);
            }
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
        let alive = self.attempts.register(&run, epoch);
        self.runs.insert(run, recipient);
        alive
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
    type Result = ();

    fn handle(&mut self, message: Expect, _: &mut Context<Fleet>) {
        for ExpectedAttempt { attempt, pool } in message.attempts {
            self.attempts.expect(attempt, pool, Instant::now());
        }
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
        self.attempts.interrupt(&message.attempt)
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
                    answer: None,
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
        let sends: Vec<_> =
            by_run.into_iter().filter_map(|(run, items)| Some(self.runs.get(&run)?.send(Deliver { items }))).collect();
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
