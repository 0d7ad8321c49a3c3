//! Planted bugs, as wrappers around the product: the simulation must find each of them.

use async_trait::async_trait;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{Journal, JournalError};
use skein_engine::{Event, decode_record, encode_records};
use std::sync::{Arc, Mutex, PoisonError};

/// What is wrong with a simulated coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A report is taken for the attempt that runs, whoever sent it.
    MissingFence,
    /// An append is acknowledged before it is stored.
    EffectBeforeEvent,
    /// The semaphore gives one permit twice.
    DoubledPermit,
    /// A result disappears between a worker and the owner.
    LostResult,
    /// The script is told of two settlements in the wrong order.
    ReorderedSettlements,
}

impl Mutant {
    pub const ALL: [Mutant; 5] = [
        Mutant::MissingFence,
        Mutant::EffectBeforeEvent,
        Mutant::DoubledPermit,
        Mutant::LostResult,
        Mutant::ReorderedSettlements,
    ];
}

/// Acknowledges an append first and stores it at the next one.
pub(super) struct EarlyJournal {
    inner: Arc<dyn Journal>,
    held: Mutex<Option<(RunId, u64, Vec<Bytes>)>>,
}

impl EarlyJournal {
    pub fn new(inner: Arc<dyn Journal>) -> EarlyJournal {
        EarlyJournal { inner, held: Mutex::default() }
    }

    async fn store_held(&self) -> Result<(), JournalError> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((run, expected, records)) = held {
            self.inner.append(&run, expected, records).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for EarlyJournal {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        self.store_held().await?;
        let stored = expected + records.len() as u64;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some((run.clone(), expected, records));
        Ok(stored)
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        self.inner.read(run, from).await
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        self.inner.list().await
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        self.inner.remove(run).await
    }

    fn durability(&self) -> String {
        self.inner.durability()
    }
}

/// Tells the coordinator of one permit more than the run has.
pub(super) struct GenerousJournal(pub Arc<dyn Journal>);

#[async_trait]
impl Journal for GenerousJournal {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        self.0.append(run, expected, records).await
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        let mut records = self.0.read(run, from).await?;
        if from == 0
            && let Some(first) = records.first_mut()
        {
            *first = with_one_more_permit(first).unwrap_or_else(|| first.clone());
        }
        Ok(records)
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        self.0.list().await
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        self.0.remove(run).await
    }

    fn durability(&self) -> String {
        self.0.durability()
    }
}

fn with_one_more_permit(record: &Bytes) -> Option<Bytes> {
    let mut record = decode_record(record).ok()?;
    for event in &mut record.events {
        if let Event::RunSubmitted { spec } = event {
            spec.limits.concurrency += 1;
        }
    }
    let records = encode_records(record.epoch, record.batch, record.at_ms, &record.events).ok()?;
    records.into_iter().next().map(Bytes::from)
}
