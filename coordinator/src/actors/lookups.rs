//! Lookups: whether a run that nobody executes here is over, so that what is left of it in queues can be dropped.

use crate::journal::{LoadError, load_run};
use crate::submission::RUNS_TABLE;
use skein_common::RunId;
use skein_common::ports::Ports;
use skein_common::view::RunView;
use std::collections::{BTreeSet, VecDeque};

/// Runs that are remembered to be over.
const OVER_MAX: usize = 4096;

/// What was found out, and what is being looked at.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    over: BTreeSet<RunId>,
    oldest: VecDeque<RunId>,
    looking: BTreeSet<RunId>,
}

impl Lookups {
    pub fn is_over(&self, run: &RunId) -> bool {
        self.over.contains(run)
    }

    /// Whether somebody has to look.
    pub fn begin(&mut self, run: &RunId) -> bool {
        !self.is_over(run) && self.looking.insert(run.clone())
    }

    pub fn end(&mut self, run: &RunId, over: bool) {
        self.looking.remove(run);
        if over && self.over.insert(run.clone()) {
            self.oldest.push_back(run.clone());
            if self.oldest.len() > OVER_MAX
                && let Some(oldest) = self.oldest.pop_front()
            {
                self.over.remove(&oldest);
            }
        }
    }
}

/// Whether the run has ended or was removed. What cannot be read is not over.
pub(super) async fn is_over(ports: &Ports, run: &RunId) -> bool {
    let indexed = ports.directory.get(RUNS_TABLE, run.as_str()).await.ok().flatten();
    if indexed.and_then(|bytes| serde_json::from_slice::<RunView>(&bytes).ok()).is_some_and(|view| view.status.is_end())
    {
        return true;
    }
    // The index may be behind.
    match load_run(ports.journal.as_ref(), run).await {
        Ok(stored) => stored.run.state().is_ended(),
        Err(LoadError::NotFound { .. }) => true,
        Err(error) => {
            tracing::warn!(run_id = %run, %error, "run not looked up");
            false
        }
    }
}
