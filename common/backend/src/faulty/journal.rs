//! A journal whose appends end unknown, refused or in a crash.

use super::plan::{Dice, planned};
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{Journal, JournalError};
use std::sync::Arc;

pub(super) struct FaultyJournal {
    pub inner: Arc<dyn Journal>,
    pub dice: Arc<Dice>,
}

fn unknown() -> JournalError {
    JournalError::Unknown { source: planned() }
}

impl FaultyJournal {
    async fn append_or_not(&self, run: &RunId, expected: u64, mut records: Vec<Bytes>) -> Result<u64, JournalError> {
        let faults = &self.dice.faults;
        if self.dice.happens(faults.append_refused) {
            return Err(JournalError::Refused { reason: String::from("a planned fault") });
        }
        if self.dice.happens(faults.append_unknown_lost) {
            return Err(unknown());
        }
        let partly = records.len() > 1 && self.dice.happens(faults.append_unknown_partly);
        if partly {
            let kept = self.dice.random().index(records.len());
            records.truncate(kept);
        }
        let stored = self.inner.append(run, expected, records).await?;
        if partly || self.dice.happens(faults.append_unknown_stored) { Err(unknown()) } else { Ok(stored) }
    }
}

#[async_trait]
impl Journal for FaultyJournal {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        self.dice.delay().await;
        self.dice.write(self.append_or_not(run, expected, records)).await
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        self.dice.delay().await;
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
