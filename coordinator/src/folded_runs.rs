//! Folded runs: runs as their journals told when they were last read, so that who looks again, and there may be a
//! thousand looks a second, costs what is new since then.

use crate::clock::{Clock as _, SystemClock};
use crate::journal::LoadError;
use crate::stored::view_of_state;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{Journal, Ports};
use skein_common::run::RunStatus;
use skein_common::view::{AgentView, RunView};
use skein_engine::{Record, Run, RunState, agent_views, decode_record};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Runs that are kept. One of 1000 agents takes about a megabyte.
const KEPT_MAX: usize = 16;

/// A run and how far its journal was read. Locked by who reads on.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Folded>>>>;

/// The runs that were looked at last. Clones share them.
#[derive(Debug, Clone)]
pub struct FoldedRuns {
    ports: Ports,
    kept: Arc<Mutex<VecDeque<(RunId, Slot)>>>,
}

/// A run as far as its journal was read.
#[derive(Debug, Clone)]
pub struct Folded {
    run: Run,
    last_at_ms: i64,
    records: u64,
    /// The last of them: a journal that has another one there is another journal.
    last: Bytes,
    read_at: Instant,
}

impl FoldedRuns {
    /// None are kept yet.
    #[must_use]
    pub fn new(ports: Ports) -> FoldedRuns {
        FoldedRuns { ports, kept: Arc::default() }
    }

    /// The run as people see it, with its result when it has one.
    ///
    /// # Errors
    /// There is no such run, or the store cannot be read.
    pub async fn view(&self, run: &RunId) -> Result<RunView, LoadError> {
        let view = self.view_once(run).await?;
        if view.status != RunStatus::Interrupted {
            return Ok(view);
        }
        // It may have ended between the look at its journal and the look for its owner.
        self.view_once(run).await
    }

    async fn view_once(&self, run: &RunId) -> Result<RunView, LoadError> {
        let folded = self.read(run).await?;
        view_of_state(&self.ports, run, folded.state(), folded.last_at_ms).await
    }

    /// Its agents, in the order of their numbers.
    ///
    /// # Errors
    /// As [`FoldedRuns::view`].
    pub async fn agents(&self, run: &RunId) -> Result<Vec<AgentView>, LoadError> {
        Ok(agent_views(self.read(run).await?.state(), SystemClock.now_ms()))
    }

    /// The run as its journal tells it now.
    ///
    /// # Errors
    /// As [`FoldedRuns::view`].
    pub async fn read(&self, run: &RunId) -> Result<Arc<Folded>, LoadError> {
        let asked_at = Instant::now();
        let slot = self.slot(run);
        let mut slot = slot.lock().await;
        if let Some(folded) = slot.as_ref().filter(|folded| folded.read_at >= asked_at) {
            return Ok(folded.clone()); // Somebody else has read while this one waited.
        }
        let journal = self.ports.journal.as_ref();
        let folded = match slot.take() {
            Some(before) => match read_on(before, journal, run).await? {
                Some(folded) => folded,
                None => read_all(journal, run).await?,
            },
            None => read_all(journal, run).await?,
        };
        Ok(slot.insert(folded).clone())
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(RunId, Slot)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of the run, which is the youngest from now on.
    fn slot(&self, run: &RunId) -> Slot {
        let mut kept = self.kept();
        let known = kept.iter().position(|(known, _)| known == run).and_then(|place| kept.remove(place));
        let (_, slot) = known.unwrap_or_else(|| (run.clone(), Slot::default()));
        kept.push_back((run.clone(), slot.clone()));
        while kept.len() > KEPT_MAX {
            kept.pop_front();
        }
        slot
    }
}

impl Folded {
    /// How the run stands.
    #[must_use]
    pub fn state(&self) -> &RunState {
        self.run.state()
    }

    fn take_in(&mut self, record: &Bytes) -> Result<(), LoadError> {
        let Record { at_ms, events, .. } = decode_record(record)?;
        for event in events {
            self.run.apply(&event, at_ms)?;
        }
        self.last_at_ms = at_ms.max(self.last_at_ms);
        self.records += 1;
        self.last = record.clone();
        Ok(())
    }
}

/// What is new; `None` when the journal is not the one that was read.
async fn read_on(
    mut folded: Arc<Folded>,
    journal: &dyn Journal,
    run: &RunId,
) -> Result<Option<Arc<Folded>>, LoadError> {
    let read_at = Instant::now();
    let records = journal.read(run, folded.records.saturating_sub(1)).await?;
    let Some((_, new)) = records.split_first().filter(|(last, _)| **last == folded.last) else { return Ok(None) };
    // Copied only while somebody still looks at it as it was.
    let changed = Arc::make_mut(&mut folded);
    for record in new {
        changed.take_in(record)?;
    }
    changed.read_at = read_at;
    Ok(Some(folded))
}

async fn read_all(journal: &dyn Journal, run_id: &RunId) -> Result<Arc<Folded>, LoadError> {
    let read_at = Instant::now();
    let records = journal.read(run_id, 0).await?;
    let not_found = || LoadError::NotFound { run: run_id.clone() };
    let first = records.first().ok_or_else(not_found)?;
    let Record { at_ms, events, .. } = decode_record(first)?;
    let (submitted, rest) = events.split_first().ok_or_else(not_found)?;
    let mut run = Run::from_first(submitted, at_ms)?;
    for event in rest {
        run.apply(event, at_ms)?;
    }
    let mut folded = Folded { run, last_at_ms: at_ms, records: 1, last: first.clone(), read_at };
    for record in &records[1..] {
        folded.take_in(record)?;
    }
    Ok(Arc::new(folded))
}
