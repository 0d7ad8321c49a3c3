//! Recorded runs: the journal of an ended run, its first events as the journal of another, and a worker that answers
//! agents with what they answered then.
#![expect(clippy::expect_used, reason = "a recording that cannot be read or stored fails the test")]

use crate::PATIENCE;
use crate::skein_binary;
use bytes::Bytes;
use skein_backend::embedded::Store;
use skein_common::agent::Usage;
use skein_common::config::CoordinatorSettings;
use skein_common::ports::{Ports, Target};
use skein_common::view::RunView;
use skein_common::wire::{
    AttemptEnd, AttemptRef, AttemptReport, Claim, ClaimAnswer, OwnerAnswer, Task, WorkerRequest, decode, encode,
};
use skein_common::{Digest, Payload, RunId, WorkerId};
use skein_coordinator::{Coordinator, CoordinatorConfig, RunOutcome, Telemetry, load_run, load_text};
use skein_engine::{Event, RunState, TaskEnd, encode_records};
use skein_script::{HostLimits, HostPool};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Agents of one run do not answer by more than this at once.
const PULLED_AT_ONCE: usize = 16;

/// What an agent was asked: its type and the digest of its prompt.
type Asked = (Option<String>, Digest);
type Answers = BTreeMap<Asked, (AttemptEnd, Usage)>;

/// A run as its journal and its blobs tell it.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub run: RunId,
    pub events: Vec<(i64, Event)>,
    pub state: RunState,
    texts: BTreeMap<Digest, String>,
    answers: Arc<Answers>,
}

impl Recorded {
    /// Reads the run back from the store in this folder.
    pub async fn read(store: &Path, run: &RunId) -> Recorded {
        let ports = Store::open_existing(store).expect("the store").ports();
        let stored = load_run(ports.journal.as_ref(), run).await.expect("the run");
        let events: Vec<(i64, Event)> = stored.events.into_iter().map(|record| (record.at_ms, record.event)).collect();
        let state = stored.run.state().clone();
        let mut texts = BTreeMap::new();
        for payload in events.iter().flat_map(|(_, event)| payloads(event)) {
            if let Some(digest) = payload.digest() {
                let text = load_text(ports.blobs.as_ref(), run, payload).await.expect("the text");
                texts.insert(digest.clone(), text);
            }
        }
        let mut recorded = Recorded { run: run.clone(), events, state, texts, answers: Arc::default() };
        recorded.answers = Arc::new(recorded.answers());
        recorded
    }

    fn answers(&self) -> Answers {
        let mut answers = Answers::new();
        // Why the attempts before the last one of each agent failed: the last one failed for the same reason.
        let mut reasons: BTreeMap<u32, String> = BTreeMap::new();
        for (_, event) in &self.events {
            if let Event::AttemptEnded { agent, message, .. } = event {
                reasons.insert(*agent, message.clone());
            }
            let Event::TaskEnded { agent, end, usage, .. } = event else { continue };
            let reason = reasons.get(agent).cloned().unwrap_or_default();
            let Some(agent) = self.state.agent(*agent) else { continue };
            let end = match end {
                TaskEnd::Done { value } => AttemptEnd::Done { value: self.in_place(value) },
                TaskEnd::Null { cause, detail, message } => AttemptEnd::Failed {
                    cause: *cause,
                    detail: detail.clone(),
                    message: message.clone(),
                    retryable: false,
                    unfit: None,
                },
                TaskEnd::Thrown { cause, detail, output, .. } => AttemptEnd::Failed {
                    cause: *cause,
                    detail: detail.clone(),
                    message: reason,
                    retryable: false,
                    unfit: output.as_ref().map(|output| Box::new(self.in_place(output))),
                },
                TaskEnd::RunStopped {} => AttemptEnd::Cancelled,
            };
            answers.insert((agent.spec.agent_type.clone(), digest_of(&agent.spec.prompt)), (end, *usage));
        }
        answers
    }

    fn in_place(&self, payload: &Payload) -> Payload {
        match payload.digest().and_then(|digest| self.texts.get(digest)) {
            Some(text) if payload.is_json() => Payload::json(text.clone()),
            Some(text) => Payload::text(text.clone()),
            None => payload.clone(),
        }
    }

    /// The agents that had ended when only so many events were there.
    #[must_use]
    pub fn ended_within(&self, kept: usize) -> Vec<u32> {
        let ended = self.events.iter().take(kept).filter_map(|(_, event)| match event {
            Event::TaskEnded { agent, .. } => Some(*agent),
            _ => None,
        });
        ended.collect()
    }

    /// Stores the first events as another run, one record each, as a crash right after the last of them leaves it; they
    /// were written by a clock that was wrong by so much.
    pub async fn store_first(&self, ports: &Ports, kept: usize, shift_ms: i64) -> RunId {
        let run = RunId::from_uuid(Uuid::now_v7());
        let puts = self.texts.values().map(|text| ports.blobs.put(&run, Bytes::from(text.clone())));
        futures::future::try_join_all(puts).await.expect("texts are stored");
        let mut records = Vec::new();
        for (position, (at_ms, event)) in (0..).zip(self.events.iter().take(kept)) {
            let encoded = encode_records(0, position, at_ms + shift_ms, std::slice::from_ref(event));
            records.extend(encoded.expect("an event encodes").into_iter().map(Bytes::from));
        }
        ports.journal.append(&run, 0, records).await.expect("the journal is stored");
        run
    }
}

/// One coordinator after the other over one store, each a fresh one on a fresh connection; they share a zygote.
#[derive(Debug)]
pub struct Successors<'a> {
    store: &'a Path,
    hosts: HostPool,
    recorded: &'a Recorded,
}

/// How a successor brought a run to its end.
#[derive(Debug)]
pub struct TakenOver {
    pub view: RunView,
    /// The whole journal.
    pub events: Vec<(i64, Event)>,
    /// What the successor had carried out.
    pub carried_out: Vec<AttemptRef>,
}

impl<'a> Successors<'a> {
    /// On the store that holds the recorded run; call it inside an actix system.
    pub async fn start(store: &'a Path, recorded: &'a Recorded) -> Successors<'a> {
        let hosts = HostPool::start(skein_binary().to_path_buf()).await.expect("a zygote");
        Successors { store, hosts, recorded }
    }

    /// Takes over what a crash after so many events left, by a clock that had been wrong by so much.
    pub async fn take_over(&self, kept: usize, shift_ms: i64) -> TakenOver {
        let store = Store::open(self.store).expect("the store");
        let run = self.recorded.store_first(&store.ports(), kept, shift_ms).await;
        let coordinator = Coordinator::start(CoordinatorConfig {
            ports: store.ports(),
            hosts: self.hosts.clone(),
            host_limits: HostLimits::default(),
            settings: CoordinatorSettings::default(),
            owner: String::from("successor"),
            // Each run of a store is owned by itself: neither is used.
            node: String::from("here"),
            lease: Duration::from_secs(3),
            telemetry: Telemetry::unwatched().expect("metrics"),
        });
        let worker = RecordedWorker::start(store.ports(), self.recorded);
        let end = tokio::time::timeout(PATIENCE, coordinator.run_to_its_end(run.clone())).await;
        let outcome = end.expect("the run ends");
        let RunOutcome::Ended(view) = outcome else { unreachable!("{kept} events: {outcome:?}") };
        coordinator.shutdown().await;
        let stored = load_run(store.ports().journal.as_ref(), &run).await.expect("the run");
        let events = stored.events.into_iter().map(|record| (record.at_ms, record.event)).collect();
        TakenOver { view: *view, events, carried_out: worker.carried_out() }
    }
}

fn digest_of(payload: &Payload) -> Digest {
    let in_place = || Digest::of(payload.inline().unwrap_or_default().as_bytes());
    payload.digest().cloned().unwrap_or_else(in_place)
}

fn payloads(event: &Event) -> Vec<&Payload> {
    match event {
        Event::RunSubmitted { spec } => spec.args.iter().chain([&spec.script]).collect(),
        Event::AgentQueued { spec, .. } => spec.schema.iter().chain([&spec.prompt]).collect(),
        Event::TaskEnded { end: TaskEnd::Done { value }, .. } | Event::AgentReused { value, .. } => vec![value],
        Event::TaskEnded { end: TaskEnd::Thrown { output, .. }, .. } => output.iter().collect(),
        Event::ScriptReturned { result } => vec![result],
        _ => Vec::new(),
    }
}

/// A worker that carries nothing out: it claims like every other and answers from a recording at once.
#[derive(Debug)]
pub struct RecordedWorker {
    working: tokio::task::JoinHandle<()>,
    carried_out: Arc<Mutex<Vec<AttemptRef>>>,
}

impl RecordedWorker {
    /// Begins to pull from the default pool; call it inside an actix system.
    #[must_use]
    pub fn start(ports: Ports, recorded: &Recorded) -> RecordedWorker {
        let carried_out = Arc::default();
        let worker = Worker { ports, answers: recorded.answers.clone(), carried_out: Arc::clone(&carried_out) };
        RecordedWorker { working: tokio::spawn(worker.work()), carried_out }
    }

    /// The attempts that it claimed, in order.
    #[must_use]
    pub fn carried_out(&self) -> Vec<AttemptRef> {
        self.carried_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RecordedWorker {
    fn drop(&mut self) {
        self.working.abort();
    }
}

struct Worker {
    ports: Ports,
    answers: Arc<Answers>,
    carried_out: Arc<Mutex<Vec<AttemptRef>>>,
}

impl Worker {
    async fn work(self) {
        let target = Target::Pool(String::from("default"));
        while let Ok(deliveries) = self.ports.tasks.pull(&target, PULLED_AT_ONCE).await {
            for delivery in deliveries {
                let task: Task = decode(&delivery.task).expect("a task");
                self.carry_out(&task).await;
                let _nothing_to_do = self.ports.tasks.done(delivery.delivery).await;
            }
        }
    }

    async fn carry_out(&self, task: &Task) {
        let worker = WorkerId(String::from("worker-recorded"));
        let claim = WorkerRequest::Claim(Claim { attempt: task.attempt.clone(), worker: worker.clone() });
        let request = encode(&claim).expect("encodes");
        let Ok(answer) = self.ports.control.request(&task.attempt.run, request).await else { return };
        let Ok(OwnerAnswer::Claim(ClaimAnswer::Go { token, .. })) = decode(&answer) else { return };
        self.carried_out.lock().unwrap_or_else(PoisonError::into_inner).push(task.attempt.clone());
        let asked = (task.definition.as_ref().map(|definition| definition.name.clone()), digest_of(&task.prompt));
        let (end, usage) = self.answers.get(&asked).cloned().expect("an agent is asked what it was asked before");
        let attempt = task.attempt.clone();
        let report = AttemptReport { attempt, token, worker, end, usage, notes: Vec::new(), elapsed_ms: 0 };
        let result = encode(&report).expect("encodes");
        self.ports.results.publish(&task.attempt.run, result).await.expect("the result is handed over");
    }
}
