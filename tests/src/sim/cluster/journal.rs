//! A journal whose appends take virtual time: others may come first, and one may arrive after its owner is gone.

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use skein_common::RunId;
use skein_common::ports::{Journal, JournalError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// Appends on their way to the store.
#[derive(Default)]
pub(super) struct Desk(Mutex<Papers>);

#[derive(Default)]
struct Papers {
    total: u64,
    /// Nobody has decided yet how long they take.
    new: Vec<u64>,
    under_way: BTreeMap<u64, (RunId, u64, Vec<Bytes>)>,
    stored: BTreeMap<u64, Result<u64, JournalError>>,
}

impl Desk {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take_new(&self) -> Vec<u64> {
        std::mem::take(&mut self.papers().new)
    }

    /// The append arrives at the store; gives whether it was refused because another came first.
    pub fn arrive(&self, append: u64, store: &dyn Journal) -> bool {
        let Some((run, expected, records)) = self.papers().under_way.remove(&append) else { return false };
        let Some(stored) = store.append(&run, expected, records).now_or_never() else { return false };
        let refused = matches!(stored, Err(JournalError::Conflict { .. }));
        self.papers().stored.insert(append, stored);
        refused
    }
}

/// One owner's way to the journal.
pub(super) struct SlowJournal {
    pub store: Arc<dyn Journal>,
    pub desk: Arc<Desk>,
    /// Set while the owner waits for virtual time to pass.
    pub waits: Arc<AtomicBool>,
}

#[async_trait]
impl Journal for SlowJournal {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        let append = {
            let mut papers = self.desk.papers();
            papers.total += 1;
            let append = papers.total;
            papers.new.push(append);
            papers.under_way.insert(append, (run.clone(), expected, records));
            append
        };
        std::future::poll_fn(|_| match self.desk.papers().stored.remove(&append) {
            Some(stored) => Poll::Ready(stored),
            None => {
                self.waits.store(true, Ordering::SeqCst);
                Poll::Pending
            }
        })
        .await
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        self.store.read(run, from).await
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        self.store.list().await
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        self.store.remove(run).await
    }

    fn durability(&self) -> String {
        self.store.durability()
    }
}
