//! Retention: ended runs are kept for some days, then removed with everything of theirs (R12).
//!
//! A removal first notes the run in a table of its own, then takes it out of the index, and then removes journal, blobs
//! and files. A run whose journal is gone does not exist for anybody, and what a crash left of it goes at the next
//! start. Nothing is removed without the lease of the run, so nothing that lives is.

use crate::journal::{LoadError, load_run};
use crate::submission::{KEY_OF_RUN_TABLE, KEYS_TABLE, KeyEntry, RUNS_TABLE};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skein_common::RunId;
use skein_common::ports::{BlobError, DirectoryError, JournalError, Lease, LeaseError, Ports};
use skein_common::view::RunView;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Runs whose removal has begun.
pub(crate) const REMOVALS_TABLE: &str = "removals";
/// When the store was swept, and for how many days.
const SWEEPS_TABLE: &str = "sweeps";
const LAST_SWEEP: &str = "last";
const DAY_MS: i64 = 24 * 3600 * 1000;
/// A store is swept so often; a shorter time is of no use to anybody.
pub const SWEEP_EVERY_MS: i64 = 3600 * 1000;
/// Runs that one step of a sweep removes. A command does one step, so that it is not held up for long.
const REMOVED_AT_ONCE_MAX: usize = 200;

/// Removes what belongs to a run beside the ports, such as files in the folder of a store.
pub type RemoveFiles = Box<dyn Fn(&RunId) -> io::Result<()> + Send + Sync>;

/// Whether a run belongs to this process, where several share the runs of a store.
pub type Owns = Box<dyn Fn(&RunId) -> bool + Send + Sync>;

/// Runs that have not ended, by the run whose results they reuse.
type Reusing = BTreeMap<RunId, Vec<RunId>>;

/// Why a run was not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    #[error("{run} is being run by {holder}; stop it first")]
    Live { run: RunId, holder: String },
    /// A run that lives may still reuse its results.
    #[error("{child}, which is being run by {holder}, reuses results of {run}; wait for its end or stop it first")]
    Reused { run: RunId, child: RunId, holder: String },
    #[error("there is no run {run}; `skein runs` lists them")]
    NotFound { run: RunId },
    #[error(transparent)]
    Lease(LeaseError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("files of the run cannot be removed: {0}")]
    Files(#[from] io::Error),
}

/// Removes runs of one store.
pub struct Retention {
    ports: Ports,
    /// Names this process in leases.
    owner: String,
    remove_files: RemoveFiles,
    /// `None` where all runs belong to whoever has their lease.
    owns: Option<Owns>,
    /// Under which the last sweep is noted.
    last_sweep: String,
}

impl std::fmt::Debug for Retention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retention").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Stored: grows by optional fields only.
#[derive(Debug, Serialize, Deserialize)]
struct Sweep {
    at_ms: i64,
    days: u32,
}

impl Retention {
    #[must_use]
    pub fn new(ports: Ports, owner: String, remove_files: RemoveFiles) -> Retention {
        Retention { ports, owner, remove_files, owns: None, last_sweep: String::from(LAST_SWEEP) }
    }

    /// The sweeps of this node count for themselves: where several share the runs, each removes its own.
    #[must_use]
    pub fn of_node(self, node: &str) -> Retention {
        Retention { last_sweep: format!("{LAST_SWEEP}-{node}"), ..self }
    }

    /// Sweeps leave all other runs to those whom they belong to.
    #[must_use]
    pub fn of_owned(self, owns: Owns) -> Retention {
        Retention { owns: Some(owns), ..self }
    }

    /// Removes a run that nobody runs, ended or not.
    ///
    /// # Errors
    /// It lives, it is not there, or the store refuses; what was begun then goes on at the next start.
    pub async fn remove(&self, run: &RunId) -> Result<(), RemoveError> {
        let lease = self.lease_of(run).await?;
        self.remove_under(lease, run, None).await
    }

    async fn remove_under(&self, lease: Lease, run: &RunId, reusing: Option<&Reusing>) -> Result<(), RemoveError> {
        let removed = self.remove_owned(run, reusing).await;
        self.ports.leases.release(&lease).await.map_err(RemoveError::Lease)?;
        removed
    }

    async fn lease_of(&self, run: &RunId) -> Result<Lease, RemoveError> {
        self.ports.leases.acquire(run.as_str(), &self.owner).await.map_err(|error| match error {
            LeaseError::Held { holder, .. } => RemoveError::Live { run: run.clone(), holder },
            other => RemoveError::Lease(other),
        })
    }

    /// Removes some of what has been kept long enough, unless the store was swept for the same days a short time ago.
    /// First ends the removals that a crash cut short. Gives the number of runs that are gone.
    ///
    /// # Errors
    /// The store cannot be read. A run that cannot be removed is left for the next sweep.
    pub async fn sweep_if_due(&self, now_ms: i64, days: u32) -> Result<usize, RemoveError> {
        self.sweep(now_ms, days, 1).await
    }

    /// The same, until nothing is left: for a process that lives long. Dropped half-way, the next sweep goes on.
    ///
    /// # Errors
    /// As [`Retention::sweep_if_due`].
    pub async fn sweep_all_if_due(&self, now_ms: i64, days: u32) -> Result<usize, RemoveError> {
        self.sweep(now_ms, days, usize::MAX).await
    }

    /// The same whether or not an hour has gone by: the runs may be others than last time.
    ///
    /// # Errors
    /// As [`Retention::sweep_if_due`].
    pub async fn sweep_all(&self, now_ms: i64, days: u32) -> Result<usize, RemoveError> {
        let unfinished = self.finish_removals().await?;
        Ok(unfinished + self.remove_expired(now_ms, days, usize::MAX).await?)
    }

    async fn sweep(&self, now_ms: i64, days: u32, steps_max: usize) -> Result<usize, RemoveError> {
        let unfinished = self.finish_removals().await?;
        let last = self.ports.directory.get(SWEEPS_TABLE, &self.last_sweep).await?;
        let last: Option<Sweep> = last.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        // A clock that was set back must not keep the store from being swept.
        let is_recent = |last: &Sweep| last.days == days && (0..SWEEP_EVERY_MS).contains(&(now_ms - last.at_ms));
        if last.as_ref().is_some_and(is_recent) {
            return Ok(unfinished);
        }
        Ok(unfinished + self.remove_expired(now_ms, days, steps_max).await?)
    }

    async fn remove_expired(&self, now_ms: i64, days: u32, steps_max: usize) -> Result<usize, RemoveError> {
        let expired = self.expired(now_ms.saturating_sub(i64::from(days) * DAY_MS)).await?;
        let mut removed = 0;
        let mut steps = expired.chunks(REMOVED_AT_ONCE_MAX);
        for step in steps.by_ref().take(steps_max) {
            removed += self.remove_all(step).await?;
        }
        if steps.len() == 0 {
            let sweep = serde_json::to_vec(&Sweep { at_ms: now_ms, days }).unwrap_or_default();
            self.ports.directory.put(SWEEPS_TABLE, &self.last_sweep, Bytes::from(sweep)).await?;
        }
        Ok(removed)
    }

    async fn finish_removals(&self) -> Result<usize, RemoveError> {
        let begun = self.ports.directory.list(REMOVALS_TABLE).await?;
        let begun: Vec<RunId> = begun.into_iter().filter_map(|(key, _)| key.parse().ok()).collect();
        if begun.is_empty() { Ok(0) } else { self.remove_all(&begun).await }
    }

    /// Those of these runs that are nobody else's. Who reuses what is looked up once for all of them.
    async fn remove_all(&self, runs: &[RunId]) -> Result<usize, RemoveError> {
        let reusing = self.reusing().await?;
        let mut removed = 0;
        for run in runs.iter() {
            // It may have gone to another process since it was listed.
            removed += usize::from(self.is_ours(run) && self.removed_if_free(run, &reusing).await);
        }
        Ok(removed)
    }

    fn is_ours(&self, run: &RunId) -> bool {
        self.owns.as_ref().is_none_or(|owns| owns(run))
    }

    /// Another process that removes the same run holds its lease, and somebody who shows it loses nothing by waiting.
    async fn removed_if_free(&self, run: &RunId, reusing: &Reusing) -> bool {
        let removed = match self.lease_of(run).await {
            Ok(lease) => self.remove_under(lease, run, Some(reusing)).await,
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => true,
            Err(RemoveError::Live { .. } | RemoveError::Reused { .. } | RemoveError::NotFound { .. }) => false,
            Err(error) => {
                tracing::warn!(run_id = %run, %error, "run not removed; the next sweep tries again");
                false
            }
        }
    }

    async fn remove_owned(&self, run: &RunId, reusing: Option<&Reusing>) -> Result<(), RemoveError> {
        let directory = &self.ports.directory;
        let is_begun = directory.get(REMOVALS_TABLE, run.as_str()).await?.is_some();
        if !is_begun && self.ports.journal.read(run, 0).await?.is_empty() {
            return Err(RemoveError::NotFound { run: run.clone() });
        }
        if !is_begun {
            match reusing {
                Some(reusing) => self.check_not_reused(run, reusing).await?,
                None => self.check_not_reused(run, &self.reusing().await?).await?,
            }
        }
        directory.put(REMOVALS_TABLE, run.as_str(), Bytes::new()).await?;
        self.remove_key(run).await?;
        directory.remove(RUNS_TABLE, run.as_str()).await?;
        self.ports.journal.remove(run).await?;
        self.ports.blobs.remove_run(run).await?;
        (self.remove_files)(run)?;
        Ok(directory.remove(REMOVALS_TABLE, run.as_str()).await?)
    }

    /// What a run reuses is copied into it as it is asked for, so a parent is needed until its children have ended.
    async fn check_not_reused(&self, run: &RunId, reusing: &Reusing) -> Result<(), RemoveError> {
        for child in reusing.get(run).into_iter().flatten() {
            if let Some(holder) = self.ports.leases.holder(child.as_str()).await.map_err(RemoveError::Lease)? {
                return Err(RemoveError::Reused { run: run.clone(), child: child.clone(), holder });
            }
        }
        Ok(())
    }

    async fn reusing(&self) -> Result<Reusing, RemoveError> {
        let mut reusing = Reusing::new();
        for (_, entry) in self.ports.directory.list(RUNS_TABLE).await? {
            let Ok(child) = serde_json::from_slice::<RunView>(&entry) else { continue };
            if let Some(parent) = child.parent.filter(|_| !child.status.is_end()) {
                reusing.entry(parent).or_default().push(child.run);
            }
        }
        Ok(reusing)
    }

    /// The idempotency key that names the run may be used again.
    async fn remove_key(&self, run: &RunId) -> Result<(), RemoveError> {
        let directory = &self.ports.directory;
        let Some(key) = directory.get(KEY_OF_RUN_TABLE, run.as_str()).await? else { return Ok(()) };
        let key = String::from_utf8_lossy(&key).into_owned();
        let entry = directory.get(KEYS_TABLE, &key).await?.and_then(|bytes| KeyEntry::decode(&bytes));
        if entry.is_some_and(|entry| entry.run == *run) {
            directory.remove(KEYS_TABLE, &key).await?;
        }
        Ok(directory.remove(KEY_OF_RUN_TABLE, run.as_str()).await?)
    }

    /// The runs of this process that ended before this time. The index spares reading most journals.
    async fn expired(&self, before_ms: i64) -> Result<Vec<RunId>, RemoveError> {
        let runs = self.ports.journal.list().await?;
        self.forget_unused_keys(&runs, before_ms).await?;
        let index: BTreeMap<String, Bytes> = self.ports.directory.list(RUNS_TABLE).await?.into_iter().collect();
        let mut expired = Vec::new();
        for run in runs.into_iter().filter(|run| self.is_ours(run)) {
            let view = index.get(run.as_str()).and_then(|bytes| serde_json::from_slice::<RunView>(bytes).ok());
            let ended_at_ms = match view {
                Some(view) if view.status.is_end() => Some(view.started_at_ms.saturating_add_unsigned(view.elapsed_ms)),
                Some(view) if view.started_at_ms >= before_ms => None,
                _ => self.end_in_journal(&run).await,
            };
            if ended_at_ms.is_some_and(|ended_at_ms| ended_at_ms < before_ms) {
                expired.push(run);
            }
        }
        Ok(expired)
    }

    /// When the run ended, if its journal says that it did. What cannot be read is kept: somebody may need it.
    async fn end_in_journal(&self, run: &RunId) -> Option<i64> {
        match load_run(self.ports.journal.as_ref(), run).await {
            Ok(stored) => stored.run.state().is_ended().then(|| stored.run.state().ended_at_ms),
            Err(LoadError::NotFound { .. }) => None,
            Err(error) => {
                tracing::warn!(run_id = %run, %error, "run kept: it cannot be read");
                None
            }
        }
    }

    /// Keys whose request was cut short before its run was stored, and never sent again.
    async fn forget_unused_keys(&self, runs: &[RunId], before_ms: i64) -> Result<(), RemoveError> {
        let runs: BTreeSet<&RunId> = runs.iter().collect();
        for (key, bytes) in self.ports.directory.list(KEYS_TABLE).await? {
            let Some(entry) = KeyEntry::decode(&bytes) else { continue };
            if entry.at_ms < before_ms && !runs.contains(&entry.run) && self.is_ours(&entry.run) {
                self.ports.directory.remove(KEYS_TABLE, &key).await?;
                self.ports.directory.remove(KEY_OF_RUN_TABLE, entry.run.as_str()).await?;
            }
        }
        Ok(())
    }
}
