//! Ports in memory that answer at once or never: what the simulated coordinator and its workers stand on.

use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{
    Answers, BlobError, Blobs, Control, ControlError, ControlServer, Directory, DirectoryError, Feed, FeedSubscription,
    Journal, JournalError, Lease, LeaseError, Leases, Ports, ResultDelivery, Results, ResultsError, Target,
    TaskDelivery, Tasks, TasksError,
};
use skein_common::{Digest, RunId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One run's store, and the queues between its owner and the workers.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<RunId, Vec<Bytes>>,
    blobs: BTreeMap<Digest, Bytes>,
    tasks: VecDeque<TaskDelivery>,
    waiting: VecDeque<ResultDelivery>,
    consumed: Vec<ResultDelivery>,
    deliveries: u64,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything above it.
    #[must_use]
    pub fn ports(self: &Arc<Memory>) -> Ports {
        Ports {
            journal: self.clone(),
            leases: Arc::new(Absent),
            tasks: self.clone(),
            results: self.clone(),
            control: Arc::new(Absent),
            steering: Arc::new(Absent),
            shards: None,
            feed: Arc::new(Absent),
            blobs: self.clone(),
            directory: Arc::new(Absent),
        }
    }

    /// The queues of a process go with it; what was stored stays.
    pub fn process_died(&self) {
        let mut state = self.state();
        state.tasks.clear();
    }

    /// The records from a position on, without any fault.
    #[must_use]
    pub fn records(&self, run: &RunId, from: usize) -> Vec<Bytes> {
        let state = self.state();
        state.records.get(run).and_then(|records| records.get(from..)).unwrap_or_default().to_vec()
    }

    /// Large texts that were stored before this began.
    pub fn keep_blobs_of(&self, before: &Memory) {
        let blobs = before.state().blobs.clone();
        self.state().blobs.extend(blobs);
    }

    #[must_use]
    pub fn blob(&self, digest: &Digest) -> Option<Bytes> {
        self.state().blobs.get(digest).cloned()
    }
}

#[async_trait]
impl Journal for Memory {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        let mut state = self.state();
        let stored = state.records.entry(run.clone()).or_default();
        let actual = stored.len() as u64;
        if actual != expected {
            return Err(JournalError::Conflict { expected, actual });
        }
        stored.extend(records);
        Ok(stored.len() as u64)
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        Ok(self.records(run, usize::try_from(from).unwrap_or(usize::MAX)))
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        Ok(self.state().records.keys().cloned().collect())
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        self.state().records.remove(run);
        Ok(())
    }

    fn durability(&self) -> String {
        String::from("none: memory")
    }
}

#[async_trait]
impl Tasks for Memory {
    async fn dispatch(&self, _: &Target, task: Bytes) -> Result<(), TasksError> {
        let mut state = self.state();
        state.deliveries += 1;
        let delivery = state.deliveries;
        state.tasks.push_back(TaskDelivery { delivery, task });
        Ok(())
    }

    async fn pull(&self, _: &Target, max: usize) -> Result<Vec<TaskDelivery>, TasksError> {
        let pulled: Vec<TaskDelivery> = {
            let mut state = self.state();
            let count = state.tasks.len().min(max);
            state.tasks.drain(..count).collect()
        };
        if pulled.is_empty() { std::future::pending().await } else { Ok(pulled) }
    }

    async fn leave(&self, _: &Target) {}

    async fn done(&self, _: u64) -> Result<(), TasksError> {
        Ok(())
    }
}

#[async_trait]
impl Results for Memory {
    async fn publish(&self, run: &RunId, result: Bytes) -> Result<(), ResultsError> {
        let mut state = self.state();
        state.deliveries += 1;
        let delivery = state.deliveries;
        state.waiting.push_back(ResultDelivery { delivery, run: run.clone(), result });
        Ok(())
    }

    async fn consume(&self, max: usize) -> Result<Vec<ResultDelivery>, ResultsError> {
        let taken: Vec<ResultDelivery> = {
            let mut state = self.state();
            let count = state.waiting.len().min(max);
            let taken: Vec<ResultDelivery> = state.waiting.drain(..count).collect();
            state.consumed.extend(taken.iter().cloned());
            taken
        };
        if taken.is_empty() { std::future::pending().await } else { Ok(taken) }
    }

    async fn redeliver(&self, run: &RunId) -> Result<(), ResultsError> {
        let mut state = self.state();
        let (again, others) = std::mem::take(&mut state.consumed).into_iter().partition(|result| result.run == *run);
        state.consumed = others;
        let again: Vec<ResultDelivery> = again;
        again.into_iter().rev().for_each(|result| state.waiting.push_front(result));
        Ok(())
    }

    async fn done(&self, delivery: u64) -> Result<(), ResultsError> {
        let mut state = self.state();
        state.consumed.retain(|result| result.delivery != delivery);
        state.waiting.retain(|result| result.delivery != delivery);
        Ok(())
    }
}

#[async_trait]
impl Blobs for Memory {
    async fn put(&self, _: &RunId, bytes: Bytes) -> Result<Digest, BlobError> {
        let digest = Digest::of(&bytes);
        self.state().blobs.insert(digest.clone(), bytes);
        Ok(digest)
    }

    async fn get(&self, run: &RunId, digest: &Digest) -> Result<Bytes, BlobError> {
        let missing = || BlobError::Missing { run: run.clone(), digest: digest.clone() };
        self.blob(digest).ok_or_else(missing)
    }

    async fn remove_run(&self, _: &RunId) -> Result<(), BlobError> {
        self.state().blobs.clear();
        Ok(())
    }
}

/// Ports that the driver of a run does not use.
struct Absent;

const NOT_HERE: &str = "not in a simulation";

#[async_trait]
impl Leases for Absent {
    async fn acquire(&self, _: &str, _: &str) -> Result<Lease, LeaseError> {
        Err(LeaseError::Unavailable { source: NOT_HERE.into() })
    }

    async fn renew(&self, lease: &Lease) -> Result<(), LeaseError> {
        Err(LeaseError::Lost { name: lease.name.clone() })
    }

    async fn release(&self, _: &Lease) -> Result<(), LeaseError> {
        Ok(())
    }

    async fn holder(&self, _: &str) -> Result<Option<String>, LeaseError> {
        Ok(None)
    }

    async fn holders(&self, _: &str) -> Result<Vec<(String, String)>, LeaseError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Control for Absent {
    async fn request(&self, _: &RunId, _: Bytes) -> Result<Bytes, ControlError> {
        Err(ControlError::NoAnswer)
    }

    async fn ask_owners(&self, _: Bytes) -> Result<Box<dyn Answers>, ControlError> {
        Err(ControlError::NoAnswer)
    }

    async fn serve(&self) -> Result<Box<dyn ControlServer>, ControlError> {
        Err(ControlError::Unavailable { source: NOT_HERE.into() })
    }

    async fn broadcast(&self, _: Bytes) -> Result<(), ControlError> {
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn FeedSubscription>, ControlError> {
        Err(ControlError::Unavailable { source: NOT_HERE.into() })
    }
}

impl Feed for Absent {
    fn publish(&self, _: &str, _: Bytes) {}

    fn subscribe(&self, _: &str) -> Box<dyn FeedSubscription> {
        Box::new(Silence)
    }
}

struct Silence;

#[async_trait]
impl FeedSubscription for Silence {
    async fn next(&mut self) -> Option<skein_common::ports::FeedItem> {
        None
    }
}

#[async_trait]
impl Directory for Absent {
    async fn put(&self, _: &str, _: &str, _: Bytes) -> Result<(), DirectoryError> {
        Ok(())
    }

    async fn insert(&self, _: &str, _: &str, _: Bytes) -> Result<Option<Bytes>, DirectoryError> {
        Ok(None)
    }

    async fn get(&self, _: &str, _: &str) -> Result<Option<Bytes>, DirectoryError> {
        Ok(None)
    }

    async fn list(&self, _: &str) -> Result<Vec<(String, Bytes)>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: &str, _: &str) -> Result<(), DirectoryError> {
        Ok(())
    }
}
