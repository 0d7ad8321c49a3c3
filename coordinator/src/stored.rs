//! Stored: runs read from the store, with how they stand now, whoever executes them.

use crate::clock::{Clock as _, SystemClock};
use crate::journal::{LoadError, StoredRun, load_run, load_text};
use crate::submission::RUNS_TABLE;
use skein_common::RunId;
use skein_common::ports::Ports;
use skein_common::run::RunStatus;
use skein_common::view::RunView;
use skein_engine::{RunState, run_view};

/// The run as people see it, with its result when it has one.
///
/// # Errors
/// There is no such run, or the store cannot be read.
pub async fn view(ports: &Ports, run: &RunId) -> Result<RunView, LoadError> {
    let stored = load_run(ports.journal.as_ref(), run).await?;
    let view = view_of(ports, run, &stored).await?;
    if view.status != RunStatus::Interrupted {
        return Ok(view);
    }
    // It may have ended between the look at its journal and the look for its owner.
    let stored = load_run(ports.journal.as_ref(), run).await?;
    view_of(ports, run, &stored).await
}

/// The same for a run that is loaded already.
///
/// # Errors
/// The store cannot be read.
pub async fn view_of(ports: &Ports, run: &RunId, stored: &StoredRun) -> Result<RunView, LoadError> {
    view_of_state(ports, run, stored.run.state(), stored.last_at_ms).await
}

/// The same for the state of a run whose last record is from this time, ms since the Unix epoch.
///
/// # Errors
/// The store cannot be read.
pub async fn view_of_state(
    ports: &Ports,
    run: &RunId,
    state: &RunState,
    last_at_ms: i64,
) -> Result<RunView, LoadError> {
    let result = match &state.result {
        Some(payload) if state.is_ended() => Some(load_text(ports.blobs.as_ref(), run, payload).await?),
        _ => None,
    };
    let mut view = run_view(run, state, SystemClock.now_ms(), result.as_deref());
    derive_interrupted(ports, &mut view, last_at_ms).await?;
    Ok(view)
}

/// A run without an end that nobody owns is interrupted (R1).
async fn derive_interrupted(ports: &Ports, view: &mut RunView, last_at_ms: i64) -> Result<(), LoadError> {
    if view.status.is_end() || ports.leases.holder(view.run.as_str()).await?.is_some() {
        return Ok(());
    }
    view.status = RunStatus::Interrupted;
    view.elapsed_ms = u64::try_from(last_at_ms.saturating_sub(view.started_at_ms)).unwrap_or(0);
    view.continue_with = Some(format!("skein resume {}", view.run));
    Ok(())
}

/// All runs of the index, newest first, without results.
///
/// # Errors
/// The store cannot be read.
pub async fn list(ports: &Ports, limit: usize) -> Result<Vec<RunView>, LoadError> {
    Ok(list_page(ports, &Selection { limit, ..Selection::default() }).await?.runs)
}

/// Which runs of the index.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// So many at most.
    pub limit: usize,
    /// Older than this one: the last of the page before.
    pub before: Option<RunId>,
    /// That stand in one of these ways; in any when there is none.
    pub states: Vec<RunStatus>,
}

/// Some runs, newest first, without results.
#[derive(Debug, Default)]
pub struct RunPage {
    pub runs: Vec<RunView>,
    /// What the next page comes before; `None` when there is none.
    pub next: Option<RunId>,
}

/// The runs of a selection. Pages stay as they are when new runs begin: those are newer than all of them.
///
/// # Errors
/// The store cannot be read.
pub async fn list_page(ports: &Ports, selection: &Selection) -> Result<RunPage, LoadError> {
    let mut page = RunPage::default();
    let is_before = |key: &String| selection.before.as_ref().is_none_or(|before| key.as_str() < before.as_str());
    let entries = ports.directory.list(RUNS_TABLE).await?.into_iter().rev().filter(|(key, _)| is_before(key));
    for (key, entry) in entries {
        let Some(view) = listed(ports, &key, &entry).await else { continue };
        if !selection.states.is_empty() && !selection.states.contains(&view.status) {
            continue;
        }
        if page.runs.len() >= selection.limit {
            page.next = page.runs.last().map(|last| last.run.clone());
            break;
        }
        page.runs.push(view);
    }
    Ok(page)
}

/// How a run of the index stands; `None` when that cannot be told.
async fn listed(ports: &Ports, key: &str, entry: &[u8]) -> Option<RunView> {
    let indexed: Option<RunView> = serde_json::from_slice(entry).ok();
    if let Some(view) = indexed.filter(|view| view.status.is_end()) {
        return Some(view);
    }
    match live_view(ports, key).await {
        Ok(view) => Some(view),
        // It is being removed.
        Err(LoadError::NotFound { .. }) => None,
        Err(error) => {
            tracing::warn!(run_id = key, %error, "run not listed");
            None
        }
    }
}

/// Runs that have no end and that nobody executes, oldest first: what a process that takes up runs begins with (R6).
///
/// # Errors
/// The store cannot be read.
pub async fn interrupted(ports: &Ports) -> Result<Vec<RunId>, LoadError> {
    let mut found = Vec::new();
    for (key, entry) in ports.directory.list(RUNS_TABLE).await? {
        let has_ended = serde_json::from_slice::<RunView>(&entry).is_ok_and(|view| view.status.is_end());
        // Asked again and again: the journal of a run that somebody executes is not read for it.
        if has_ended || ports.leases.holder(&key).await?.is_some() {
            continue;
        }
        match live_view(ports, &key).await {
            Ok(view) if view.status == RunStatus::Interrupted => found.push(view.run),
            Ok(_) | Err(LoadError::NotFound { .. }) => {}
            Err(error) => tracing::warn!(run_id = key, %error, "run not taken up"),
        }
    }
    Ok(found)
}

/// The index only knows how a run started; its journal knows how it stands.
async fn live_view(ports: &Ports, key: &str) -> Result<RunView, LoadError> {
    let run = key.parse().map_err(|_| LoadError::NotARun { key: key.to_owned() })?;
    Ok(RunView { result: None, ..view(ports, &run).await? })
}
