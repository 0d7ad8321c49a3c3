//! The journal behind a fence: only the owner of a run extends it.

use super::holdings::Holdings;
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{Journal, JournalError};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

/// Journals read at once: a takeover reads those of all runs of a shard, and each read costs the store a reader.
const READS_AT_ONCE: usize = 64;

/// Nobody waits for the answer of a store whose next owner may have written.
#[derive(Debug, thiserror::Error)]
#[error("the lease ended before the store answered")]
struct Deposed;

/// What the fence held back.
#[derive(Debug, Default)]
pub(crate) struct FenceCounters {
    refused_appends: AtomicU64,
}

impl FenceCounters {
    /// Appends, and removals, of runs that are not ours.
    pub fn refused_appends(&self) -> u64 {
        self.refused_appends.load(Ordering::Relaxed)
    }
}

/// Refuses to write of runs whose shard is not certain to be ours (invariant 6). The store refuses too, once the next
/// owner has written; until then only this process can know. Reads pass, and so does the first record of a run: it has
/// no owner yet, and of all that store it at once the store takes one.
/// An append that has no answer when the lease ends is not waited for.
pub(crate) struct FencedJournal {
    inner: Arc<dyn Journal>,
    holdings: Arc<Holdings>,
    counters: Arc<FenceCounters>,
    reads: Semaphore,
}

impl FencedJournal {
    pub fn new(inner: Arc<dyn Journal>, holdings: Arc<Holdings>) -> FencedJournal {
        FencedJournal { inner, holdings, counters: Arc::default(), reads: Semaphore::new(READS_AT_ONCE) }
    }

    pub fn counters(&self) -> Arc<FenceCounters> {
        self.counters.clone()
    }

    fn check(&self, run: &RunId) -> Result<(), JournalError> {
        if self.holdings.may_write(run) {
            return Ok(());
        }
        self.counters.refused_appends.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(run_id = %run, "deposed: nothing written");
        Err(JournalError::Refused { reason: format!("deposed: {run} does not belong to this process any more") })
    }
}

#[async_trait]
impl Journal for FencedJournal {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        if expected == 0 {
            return self.inner.append(run, expected, records).await;
        }
        self.check(run)?;
        let mut append = pin!(self.inner.append(run, expected, records));
        // A renewal that comes meanwhile lets it wait for longer.
        while let Some(until) = self.holdings.writes_until(run) {
            if let Ok(appended) = timeout_at(until, &mut append).await {
                return appended;
            }
        }
        tracing::warn!(run_id = %run, "deposed while records were on their way");
        Err(JournalError::Unknown { source: Deposed.into() })
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        // Closed by nobody: an error would only mean that there is no limit.
        let _turn = self.reads.acquire().await;
        self.inner.read(run, from).await
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        self.inner.list().await
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        self.check(run)?;
        self.inner.remove(run).await
    }

    fn durability(&self) -> String {
        self.inner.durability()
    }
}
