//! Taking up: the runs of our shards that have no end and that nobody executes.

use super::holdings::Holdings;
use super::shard_loop::RunsOfShards;
use crate::retention::REMOVALS_TABLE;
use crate::submission::RUNS_TABLE;
use futures::StreamExt as _;
use skein_common::RunId;
use skein_common::ports::{BoxError, Directory, Journal};
use skein_common::view::RunView;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Between two looks at the index of runs.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looking takes at most one part in so many of the time, however large the index is.
const LOOK_SHARE: u32 = 20;
/// Runs that are being taken up at the same time.
const AT_ONCE: usize = 32;
/// A run that does not stay is tried again after at most so long.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// Finds runs to take up. One that cannot stay here is tried again after longer and longer times.
pub(crate) struct TakingUp {
    journal: Arc<dyn Journal>,
    directory: Arc<dyn Directory>,
    holdings: Arc<Holdings>,
    gained: Arc<Notify>,
    tried: BTreeMap<RunId, Tried>,
}

struct Tried {
    times: u32,
    again_at: Instant,
}

impl TakingUp {
    /// `gained` tells when a shard is new.
    pub fn new(
        journal: Arc<dyn Journal>,
        directory: Arc<dyn Directory>,
        holdings: Arc<Holdings>,
        gained: Arc<Notify>,
    ) -> TakingUp {
        TakingUp { journal, directory, holdings, gained, tried: BTreeMap::new() }
    }

    /// Takes up what there is, again and again.
    pub async fn run(&mut self, runs: &dyn RunsOfShards) {
        let gained = self.gained.clone();
        let mut pause = LOOK_EVERY;
        let mut looks_in_journal = false;
        loop {
            let is_new = tokio::select! {
                () = gained.notified() => true,
                () = tokio::time::sleep(pause) => false,
            };
            let began = Instant::now();
            looks_in_journal |= is_new;
            // Until one look has succeeded.
            looks_in_journal &= !self.look(runs, looks_in_journal).await;
            pause = LOOK_EVERY.max(began.elapsed() * LOOK_SHARE);
        }
    }

    /// One look; `in_journal`, too, for runs that the index does not know: who stored them died in between.
    /// Gives whether the store could be read.
    async fn look(&mut self, runs: &dyn RunsOfShards, in_journal: bool) -> bool {
        if self.holdings.is_closing() || self.holdings.open_shards().is_empty() {
            return false;
        }
        let found = match self.find(in_journal).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "no runs taken up: the store cannot be read");
                return false;
            }
        };
        let due = self.due(found);
        futures::stream::iter(due)
            .for_each_concurrent(AT_ONCE, async |run| {
                tracing::info!(run_id = %run, "run taken up");
                if let Err(reason) = runs.begin(run.clone()).await {
                    tracing::info!(run_id = %run, reason, "run not taken up");
                }
            })
            .await;
        true
    }

    async fn find(&self, in_journal: bool) -> Result<BTreeSet<RunId>, BoxError> {
        let mut ended = BTreeSet::new();
        let mut found = BTreeSet::new();
        for (key, entry) in self.directory.list(RUNS_TABLE).await? {
            let Ok(run) = key.parse::<RunId>() else { continue };
            if serde_json::from_slice::<RunView>(&entry).is_ok_and(|view| view.status.is_end()) {
                ended.insert(run);
            } else if self.holdings.is_free_here(&run) {
                found.insert(run);
            }
        }
        if in_journal {
            let stored = self.journal.list().await?.into_iter();
            found.extend(stored.filter(|run| !ended.contains(run) && self.holdings.is_free_here(run)));
        }
        // What is being removed goes, even where a crash cut that short.
        for (key, _) in self.directory.list(REMOVALS_TABLE).await? {
            found.retain(|run| run.as_str() != key);
        }
        Ok(found)
    }

    /// Those whose time has come. What was tried and is not found any more is taken or has ended.
    fn due(&mut self, found: BTreeSet<RunId>) -> Vec<RunId> {
        let now = Instant::now();
        self.tried.retain(|run, _| found.contains(run));
        let mut due = Vec::new();
        for run in found {
            let tried = self.tried.entry(run.clone()).or_insert(Tried { times: 0, again_at: now });
            if now < tried.again_at {
                continue;
            }
            tried.again_at = now + LOOK_EVERY.saturating_mul(2u32.saturating_pow(tried.times)).min(BACK_OFF_MAX);
            tried.times += 1;
            due.push(run);
        }
        due
    }
}
