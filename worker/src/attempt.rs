//! Attempt: carries out one task, from the claim to the report.

use crate::claim::{ClaimOutcome, Go, claim};
use crate::link::Link;
use crate::messages::{AttemptClaimed, AttemptGone, EndAttempt, EndReason, Serial, Verdict};
use crate::outbox::{Letter, Outbox};
use crate::places::Places;
use crate::runner::{Asked, Ended, Runners, Stop, Work};
use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, WrapFuture as _,
};
use bytes::Bytes;
use skein_common::ports::{BlobError, Ports};
use skein_common::wire::{AttemptEnd, AttemptRef, AttemptReport, Task, WorkerInfo};
use skein_common::{Payload, RunId};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{Instrument as _, debug, error_span, warn};

/// An end or two is all that is ever sent to an attempt; more are dropped, since one is enough.
const MAILBOX: usize = 4;
/// A worker that stops tries so long to tell of its attempts.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Answers beyond this go to the blobs: a message of the bus has at most 1 MiB.
const REPORT_BYTES_MAX: usize = 512 * 1024;
/// Between two tries to store a large answer, at first and at most.
const PUT_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// What all attempts of a worker need.
#[derive(Debug)]
pub(crate) struct Shared {
    pub ports: Ports,
    /// As it is while the worker does not drain.
    pub info: WorkerInfo,
    pub runners: Runners,
    pub places: Rc<Places>,
    pub outbox: Rc<Outbox>,
    pub attempt_timeout: Duration,
    /// Of tasks that name none; 0 is never.
    pub stall_ms: u64,
    /// Tells those who wait for an owner that there is a new one.
    pub owner_came: Notify,
}

/// One attempt. Its end, whatever it is, is told to Link when it is dropped.
#[derive(Debug)]
pub(crate) struct Attempt {
    job: Option<Job>,
    link: Addr<Link>,
    serial: Serial,
    ending: Rc<Ending>,
    link_alive: watch::Receiver<()>,
    finished: bool,
}

/// Why the attempt ends early, and the way to tell its runner.
#[derive(Debug)]
struct Ending {
    reason: Cell<Option<EndReason>>,
    stop: watch::Sender<Asked>,
}

#[derive(Debug)]
struct Job {
    shared: Rc<Shared>,
    link: Addr<Link>,
    serial: Serial,
    task: Task,
    delivery: u64,
    ending: Rc<Ending>,
    stop: Stop,
}

/// What an attempt is made of.
#[derive(Debug)]
pub(crate) struct NewAttempt {
    pub shared: Rc<Shared>,
    pub link: Addr<Link>,
    pub serial: Serial,
    pub task: Task,
    pub delivery: u64,
    /// Closes when Link is gone, which nobody would tell otherwise.
    pub link_alive: watch::Receiver<()>,
}

impl Attempt {
    /// Begins with the claim.
    pub(crate) fn begin(new: NewAttempt) -> Addr<Attempt> {
        let NewAttempt { shared, link, serial, task, delivery, link_alive } = new;
        let (sender, stop) = Stop::pair();
        let ending = Rc::new(Ending { reason: Cell::new(None), stop: sender });
        Attempt::create(|context| {
            context.set_mailbox_capacity(MAILBOX);
            let job = Job { shared, link: link.clone(), serial, task, delivery, ending: Rc::clone(&ending), stop };
            Attempt { job: Some(job), link, serial, ending, link_alive, finished: false }
        })
    }
}

impl Actor for Attempt {
    type Context = Context<Attempt>;

    fn started(&mut self, context: &mut Context<Attempt>) {
        let mut link_alive = self.link_alive.clone();
        let link_gone = async move { while link_alive.changed().await.is_ok() {} };
        context.spawn(link_gone.into_actor(self).map(|(), attempt, _| attempt.ending.ask(EndReason::Abandoned)));
        if let Some(job) = self.job.take() {
            // Whatever is said of it names it, also where nothing else is logged.
            let AttemptRef { run, agent, attempt } = &job.task.attempt;
            let span = error_span!("attempt", run_id = %run, agent, attempt);
            context.spawn(job.carry_out().instrument(span).into_actor(self).map(|(), attempt, context| {
                attempt.finished = true;
                context.stop();
            }));
        }
    }
}

impl Handler<EndAttempt> for Attempt {
    type Result = ();

    fn handle(&mut self, message: EndAttempt, _: &mut Context<Attempt>) {
        self.ending.ask(message.reason);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Link's mailbox has room for this from every slot.
        let _ = self.link.try_send(AttemptGone { serial: self.serial, died: !self.finished });
    }
}

impl Ending {
    fn ask(&self, reason: EndReason) {
        if self.reason.get().is_none() {
            self.reason.set(Some(reason));
            self.stop.send_replace(reason.asks());
        }
    }
}

impl Job {
    async fn carry_out(self) {
        let mut stop = self.stop.clone();
        let answer = tokio::select! {
            biased;
            answer = claim(&self.shared, &self.task.attempt, &self.link) => answer,
            () = stop.asked() => ClaimOutcome::Nobody,
        };
        let go = match (answer, self.ending.reason.get()) {
            // Not marked done: somebody else gets the task, or its owner notices.
            (_, Some(EndReason::WorkerStops)) => return,
            (ClaimOutcome::Nobody, reason) if reason != Some(EndReason::Cancelled) => return,
            (ClaimOutcome::Nobody | ClaimOutcome::Gone, _) => None,
            (ClaimOutcome::Go(go), _) => Some(go),
        };
        let verdict = match go {
            None => Verdict::Drop,
            Some(Go { token, epoch, deadline, asked_at }) => {
                let claimed = AttemptClaimed { serial: self.serial, token, epoch, deadline, asked_at };
                self.link.send(claimed).await.unwrap_or(Verdict::Drop)
            }
        };
        mark_done(&self.shared.ports, self.delivery).await;
        let (Some(Go { token, .. }), Verdict::CarryOut) = (go, verdict) else { return };

        let Job { shared, task, ending, .. } = self;
        let begun = Instant::now();
        let attempt = task.attempt.clone();
        debug!("attempt begins");
        let ended = work_out(&shared, task, &mut stop).await;
        let ended = match ending.reason.get() {
            None => ended,
            Some(EndReason::Disowned | EndReason::Abandoned) => {
                return debug!(run_id = %attempt.run, agent = attempt.agent, "disowned");
            }
            Some(EndReason::Cancelled) => Ended { end: AttemptEnd::Cancelled, ..ended },
            Some(EndReason::WorkerStops) => {
                let lost = Ended::lost(Some("worker_stopped"), "the worker was stopped");
                Ended { usage: ended.usage, notes: ended.notes, ..lost }
            }
        };
        let end = tokio::select! {
            biased;
            end = apart_if_large(&shared.ports, &attempt.run, ended.end) => end,
            () = stop.asked() => Ended::lost(Some("blobs"), "the answer could not be stored").end,
        };
        let report = AttemptReport {
            attempt,
            token,
            worker: shared.info.id.clone(),
            end,
            usage: ended.usage,
            notes: ended.notes,
            elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        debug!(elapsed_ms = report.elapsed_ms, "attempt ended");
        deliver(&shared.outbox, &report, &ending, &mut stop).await;
    }
}

/// A value that would make the report too large for the bus goes to the blobs of its run first, as soon as they take it.
async fn apart_if_large(ports: &Ports, run: &RunId, end: AttemptEnd) -> AttemptEnd {
    match end {
        AttemptEnd::Done { value } => AttemptEnd::Done { value: payload_apart(ports, run, value).await },
        AttemptEnd::Failed { cause, detail, message, retryable, unfit: Some(answer) } => {
            let unfit = Some(Box::new(payload_apart(ports, run, *answer).await));
            AttemptEnd::Failed { cause, detail, message, retryable, unfit }
        }
        small => small,
    }
}

async fn payload_apart(ports: &Ports, run: &RunId, payload: Payload) -> Payload {
    if ports.shards.is_none() {
        return payload; // Nothing travels.
    }
    let (is_json, text) = match payload {
        Payload::Text { text } if text.len() > REPORT_BYTES_MAX => (false, text),
        Payload::Json { json } if json.len() > REPORT_BYTES_MAX => (true, json),
        small => return small,
    };
    let (bytes, text) = (text.len() as u64, Bytes::from(text));
    let (mut pause, pause_max) = PUT_AGAIN;
    let digest = loop {
        match ports.blobs.put(run, text.clone()).await {
            Ok(digest) => break digest,
            Err(error) => warn!(run_id = %run, %error, "a large answer is not stored yet"),
        }
        tokio::time::sleep(pause).await;
        pause = pause_max.min(pause * 2);
    };
    if is_json { Payload::JsonBlob { digest, bytes } } else { Payload::TextBlob { digest, bytes } }
}

/// Sends the report, until it is accepted or the attempt ends.
async fn deliver(outbox: &Rc<Outbox>, report: &AttemptReport, ending: &Ending, stop: &mut Stop) {
    let Some(letter) = Letter::of(report) else { return };
    let given_up = async {
        stop.asked().await;
        if !matches!(ending.reason.get(), Some(EndReason::Disowned | EndReason::Abandoned)) {
            tokio::time::sleep(LAST_WORDS).await;
        }
    };
    tokio::select! {
        biased;
        () = outbox.send(&letter) => return,
        () = given_up => {}
    }
    let (run_id, agent) = (&report.attempt.run, report.attempt.agent);
    let reason = ending.reason.get();
    if !outbox.keeps() || reason == Some(EndReason::Disowned) {
        debug!(%run_id, agent, "report given up");
        return outbox.discard(&letter).await;
    }
    outbox.keep(&letter).await;
    // When this process ends, the next one of the node publishes it.
    if reason != Some(EndReason::WorkerStops) {
        outbox.send_beside(letter, || {});
    }
}

async fn mark_done(ports: &Ports, delivery: u64) {
    if let Err(error) = ports.tasks.done(delivery).await {
        // It comes again, and its claim is refused then.
        debug!(%error, "a task could not be marked done");
    }
}

async fn work_out(shared: &Shared, task: Task, stop: &mut Stop) -> Ended {
    if let Err(refused) = shared.places.check(&task) {
        return refused;
    }
    let run = task.attempt.run.clone();
    let gathered = tokio::select! {
        biased;
        gathered = gather(shared, &run, task) => gathered,
        () = stop.asked() => return Ended::lost(None, "stopped"),
    };
    match gathered {
        Ok(work) => shared.runners.of(work.task.runner).run(&work, stop).await,
        Err(error) => Ended::lost(Some("blobs"), format!("a text of the task cannot be had: {error}")),
    }
}

/// Brings the texts of a task to their places.
async fn gather(shared: &Shared, run: &RunId, mut task: Task) -> Result<Work, BlobError> {
    let ports = &shared.ports;
    let prompt = text_of(ports, run, std::mem::replace(&mut task.prompt, Payload::text(""))).await?;
    let mut schema = None;
    if let Some(payload) = task.schema.take() {
        schema = Some(text_of(ports, run, payload).await?);
    }
    let mut args = None;
    if let Some(payload) = task.args.take() {
        args = Some(json_of(ports, run, payload).await?);
    }
    let timeout = task.timeout_ms.map_or(shared.attempt_timeout, Duration::from_millis);
    let stall_ms = task.stall_ms.unwrap_or(shared.stall_ms);
    let stall = (stall_ms > 0).then(|| Duration::from_millis(stall_ms));
    Ok(Work { task, prompt, schema, args, timeout, stall })
}

async fn text_of(ports: &Ports, run: &RunId, payload: Payload) -> Result<String, BlobError> {
    match payload {
        Payload::Text { text } | Payload::Json { json: text } => Ok(text),
        Payload::TextBlob { digest, .. } | Payload::JsonBlob { digest, .. } => {
            let bytes = ports.blobs.get(run, &digest).await?;
            String::from_utf8(bytes.into()).map_err(|error| BlobError::Unavailable { source: error.into() })
        }
    }
}

async fn json_of(ports: &Ports, run: &RunId, payload: Payload) -> Result<String, BlobError> {
    let is_json = payload.is_json();
    let text = text_of(ports, run, payload).await?;
    Ok(if is_json { text } else { serde_json::Value::String(text).to_string() })
}
