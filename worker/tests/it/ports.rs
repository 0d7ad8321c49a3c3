//! Ports in memory whose owner says `go` unless a test says otherwise. Unit tests of the crate use them too.

use async_trait::async_trait;
use bytes::Bytes;
use skein_common::agent::{RunnerKind, Simulation};
use skein_common::ports::*;
use skein_common::wire::*;
use skein_common::{AttemptToken, Digest, Payload, RunId};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, broadcast};

/// Longer than anything here takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What the owner of all runs answers.
pub type Owner = Box<dyn FnMut(WorkerRequest) -> Option<OwnerAnswer> + Send>;

pub struct World {
    pub state: Mutex<State>,
    pub changed: Notify,
    broadcasts: broadcast::Sender<Bytes>,
    owner: Mutex<Owner>,
    /// Hear heartbeats, too, and answer before the first one.
    other_owners: Mutex<Vec<Owner>>,
}

#[derive(Default)]
pub struct State {
    pub queues: BTreeMap<Target, VecDeque<TaskDelivery>>,
    pub deliveries: u64,
    pub done: Vec<u64>,
    pub reports: Vec<AttemptReport>,
    pub requests: Vec<WorkerRequest>,
    pub blobs: BTreeMap<Digest, Bytes>,
    pub publish_failures: usize,
    /// What is published is not accepted until this is over.
    pub publish_hangs: bool,
    /// Each with the number of reports that had come before.
    pub heartbeats: Vec<(Heartbeat, usize)>,
    pub directory: BTreeMap<(String, String), Bytes>,
}

/// Extends whatever is named and says `go` to every claim.
pub fn agreeable(deadline_ms: u64) -> Owner {
    Box::new(move |request| Some(agree(&request, deadline_ms)))
}

pub fn agree(request: &WorkerRequest, deadline_ms: u64) -> OwnerAnswer {
    match request {
        WorkerRequest::Claim(claim) => {
            let token = AttemptToken(u64::from(claim.attempt.agent));
            OwnerAnswer::Claim(ClaimAnswer::Go { token, epoch: 1, deadline_ms })
        }
        WorkerRequest::Heartbeat(heartbeat) => OwnerAnswer::Heartbeat(HeartbeatAnswer {
            extended: heartbeat.attempts.iter().map(|running| running.attempt.clone()).collect(),
            gone: Vec::new(),
            ..HeartbeatAnswer::default()
        }),
    }
}

impl World {
    pub fn new(owner: Owner) -> Arc<World> {
        Arc::new(World {
            state: Mutex::default(),
            changed: Notify::new(),
            broadcasts: broadcast::channel(64).0,
            owner: Mutex::new(owner),
            other_owners: Mutex::default(),
        })
    }

    pub fn ports(self: &Arc<World>) -> Ports {
        Ports {
            journal: Arc::new(Nothing),
            leases: Arc::new(Nothing),
            tasks: self.clone(),
            results: self.clone(),
            control: self.clone(),
            steering: self.clone(),
            shards: None,
            feed: Arc::new(Nothing),
            blobs: self.clone(),
            directory: self.clone(),
        }
    }

    pub fn dispatch(&self, task: &Task) {
        self.dispatch_bytes(encode(task).unwrap());
    }

    pub fn dispatch_bytes(&self, task: Bytes) {
        self.dispatch_to(Target::Pool("default".into()), task);
    }

    pub fn dispatch_to(&self, target: Target, task: Bytes) {
        let mut state = self.state.lock().unwrap();
        state.deliveries += 1;
        let delivery = state.deliveries;
        let queue = state.queues.entry(target).or_default();
        queue.push_back(TaskDelivery { delivery, task });
        drop(state);
        self.changed.notify_waiters();
    }

    pub fn cancel(&self, cancel: &Cancel) {
        let _ = self.broadcasts.send(encode(cancel).unwrap());
    }

    pub fn order(&self, order: WorkerOrder) {
        let _ = self.broadcasts.send(encode(&Broadcast::Order(order)).unwrap());
    }

    /// Waits until somebody hears broadcasts.
    pub async fn heard(&self) {
        let heard = async {
            while self.broadcasts.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, heard).await.unwrap();
    }

    /// From now on this one answers.
    pub fn set_owner(&self, owner: Owner) {
        *self.owner.lock().unwrap() = owner;
    }

    /// From now on there is this one, too.
    pub fn add_owner(&self, owner: Owner) {
        self.other_owners.lock().unwrap().push(owner);
    }

    /// Changes what tests change, and wakes those who wait for it.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
    }

    fn note_heartbeat(&self, request: &WorkerRequest) {
        let mut state = self.state.lock().unwrap();
        state.requests.push(request.clone());
        if let WorkerRequest::Heartbeat(heartbeat) = request {
            let reports = state.reports.len();
            state.heartbeats.push((heartbeat.clone(), reports));
        }
    }

    async fn while_it_hangs(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.state.lock().unwrap().publish_hangs {
                return;
            }
            changed.await;
        }
    }

    pub fn broadcast_bytes(&self, bytes: &[u8]) {
        let _ = self.broadcasts.send(Bytes::copy_from_slice(bytes));
    }

    /// Waits until the state is so and gives what was found.
    pub async fn when<T>(&self, what: &str, mut look: impl FnMut(&State) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if let Some(found) = look(&self.state.lock().unwrap()) {
                    return found;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("never happened: {what}; reports: {:?}", self.state.lock().unwrap().reports),
        }
    }

    /// The report of this attempt, once it is there.
    pub async fn report(&self, attempt: &AttemptRef) -> AttemptReport {
        let find = |state: &State| state.reports.iter().find(|report| report.attempt == *attempt).cloned();
        self.when("a report", find).await
    }

    pub fn reports(&self) -> usize {
        self.state.lock().unwrap().reports.len()
    }
}

pub fn new_run() -> RunId {
    RunId::from_uuid(uuid::Uuid::now_v7())
}

pub fn attempt(run: &RunId, agent: u32) -> AttemptRef {
    AttemptRef { run: run.clone(), agent, attempt: 1 }
}

pub fn task(run: &RunId, agent: u32, runner: RunnerKind, project_dir: &Path) -> Task {
    Task {
        attempt: attempt(run, agent),
        epoch: 1,
        runner,
        prompt: Payload::text(format!("prompt {agent}")),
        schema: None,
        label: format!("label {agent}"),
        phase: Some("Scan".into()),
        model: None,
        host: None,
        definition: None,
        command: None,
        args: None,
        project_dir: project_dir.to_str().unwrap().into(),
        simulation: Simulation::default(),
        timeout_ms: None,
        stall_ms: None,
        isolation: None,
        traceparent: None,
    }
}

#[async_trait]
impl Tasks for World {
    async fn dispatch(&self, _: &Target, task: Bytes) -> Result<(), TasksError> {
        self.dispatch_bytes(task);
        Ok(())
    }

    async fn pull(&self, target: &Target, max: usize) -> Result<Vec<TaskDelivery>, TasksError> {
        loop {
            let changed = self.changed.notified();
            if let Some(queue) = self.state.lock().unwrap().queues.get_mut(target).filter(|queue| !queue.is_empty()) {
                let count = max.min(queue.len());
                return Ok(queue.drain(..count).collect());
            }
            changed.await;
        }
    }

    async fn leave(&self, _: &Target) {}

    async fn done(&self, delivery: u64) -> Result<(), TasksError> {
        self.state.lock().unwrap().done.push(delivery);
        self.changed.notify_waiters();
        Ok(())
    }
}

#[async_trait]
impl Results for World {
    async fn publish(&self, _: &RunId, result: Bytes) -> Result<(), ResultsError> {
        self.while_it_hangs().await;
        let mut state = self.state.lock().unwrap();
        if state.publish_failures > 0 {
            state.publish_failures -= 1;
            return Err(ResultsError::Unavailable { source: "away".into() });
        }
        state.reports.push(decode(&result).unwrap());
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn consume(&self, _: usize) -> Result<Vec<ResultDelivery>, ResultsError> {
        std::future::pending().await
    }

    async fn redeliver(&self, _: &RunId) -> Result<(), ResultsError> {
        Ok(())
    }

    async fn done(&self, _: u64) -> Result<(), ResultsError> {
        Ok(())
    }
}

#[async_trait]
impl Control for World {
    async fn request(&self, _: &RunId, request: Bytes) -> Result<Bytes, ControlError> {
        let request: WorkerRequest = decode(&request).unwrap();
        self.state.lock().unwrap().requests.push(request.clone());
        let answer = (self.owner.lock().unwrap())(request);
        self.changed.notify_waiters();
        answer.map(|answer| encode(&answer).unwrap()).ok_or(ControlError::NoAnswer)
    }

    async fn ask_owners(&self, request: Bytes) -> Result<Box<dyn Answers>, ControlError> {
        let request: WorkerRequest = decode(&request).unwrap();
        self.note_heartbeat(&request);
        let mut answers: Vec<OwnerAnswer> =
            self.other_owners.lock().unwrap().iter_mut().filter_map(|owner| owner(request.clone())).collect();
        answers.extend((self.owner.lock().unwrap())(request));
        self.changed.notify_waiters();
        Ok(Box::new(AllAnswers(answers.iter().map(|answer| encode(answer).unwrap()).collect())))
    }

    async fn serve(&self) -> Result<Box<dyn ControlServer>, ControlError> {
        Err(ControlError::NoAnswer)
    }

    async fn broadcast(&self, message: Bytes) -> Result<(), ControlError> {
        let _ = self.broadcasts.send(message);
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn FeedSubscription>, ControlError> {
        Ok(Box::new(Broadcasts(self.broadcasts.subscribe())))
    }
}

struct AllAnswers(VecDeque<Bytes>);

#[async_trait]
impl Answers for AllAnswers {
    async fn next(&mut self) -> Option<Bytes> {
        self.0.pop_front()
    }
}

struct Broadcasts(broadcast::Receiver<Bytes>);

#[async_trait]
impl FeedSubscription for Broadcasts {
    async fn next(&mut self) -> Option<FeedItem> {
        match self.0.recv().await {
            Ok(item) => Some(FeedItem::Item(item)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(FeedItem::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[async_trait]
impl Blobs for World {
    async fn put(&self, _: &RunId, bytes: Bytes) -> Result<Digest, BlobError> {
        let digest = Digest::of(&bytes);
        self.state.lock().unwrap().blobs.insert(digest.clone(), bytes);
        Ok(digest)
    }

    async fn get(&self, run: &RunId, digest: &Digest) -> Result<Bytes, BlobError> {
        let found = self.state.lock().unwrap().blobs.get(digest).cloned();
        found.ok_or_else(|| BlobError::Missing { run: run.clone(), digest: digest.clone() })
    }

    async fn remove_run(&self, _: &RunId) -> Result<(), BlobError> {
        Ok(())
    }
}

/// The ports that a worker does not use.
struct Nothing;

#[async_trait]
impl Journal for Nothing {
    async fn append(&self, _: &RunId, _: u64, _: Vec<Bytes>) -> Result<u64, JournalError> {
        unreachable!()
    }
    async fn read(&self, _: &RunId, _: u64) -> Result<Vec<Bytes>, JournalError> {
        unreachable!()
    }
    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        unreachable!()
    }
    async fn remove(&self, _: &RunId) -> Result<(), JournalError> {
        unreachable!()
    }
    fn durability(&self) -> String {
        unreachable!()
    }
}

#[async_trait]
impl Leases for Nothing {
    async fn acquire(&self, _: &str, _: &str) -> Result<Lease, LeaseError> {
        unreachable!()
    }
    async fn renew(&self, _: &Lease) -> Result<(), LeaseError> {
        unreachable!()
    }
    async fn release(&self, _: &Lease) -> Result<(), LeaseError> {
        unreachable!()
    }
    async fn holder(&self, _: &str) -> Result<Option<String>, LeaseError> {
        unreachable!()
    }
    async fn holders(&self, _: &str) -> Result<Vec<(String, String)>, LeaseError> {
        unreachable!()
    }
}

impl Feed for Nothing {
    fn publish(&self, _: &str, _: Bytes) {}
    fn subscribe(&self, _: &str) -> Box<dyn FeedSubscription> {
        unreachable!()
    }
}

#[async_trait]
impl Directory for World {
    async fn put(&self, table: &str, key: &str, value: Bytes) -> Result<(), DirectoryError> {
        self.change(|state| drop(state.directory.insert((table.into(), key.into()), value)));
        Ok(())
    }
    async fn insert(&self, _: &str, _: &str, _: Bytes) -> Result<Option<Bytes>, DirectoryError> {
        unreachable!()
    }
    async fn get(&self, _: &str, _: &str) -> Result<Option<Bytes>, DirectoryError> {
        unreachable!()
    }
    async fn list(&self, _: &str) -> Result<Vec<(String, Bytes)>, DirectoryError> {
        unreachable!()
    }
    async fn remove(&self, table: &str, key: &str) -> Result<(), DirectoryError> {
        self.change(|state| drop(state.directory.remove(&(table.into(), key.into()))));
        Ok(())
    }
}
