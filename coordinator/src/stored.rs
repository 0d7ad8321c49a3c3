//! Stored: runs read from the store, with how they stand now, whoever executes them.

use crate::clock::{Clock as _, SystemClock};
use crate::journal::{LoadError, StoredRun, load_run, load_text};
use crate::submission::RUNS_TABLE;
use skein_common::RunId;
use skein_common::ports::Ports;
use skein_common::run::RunStatus;
use skein_common::view::RunView;
use skein_engine::run_view;

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
    let result = match &stored.run.state().result {
        Some(payload) if stored.run.state().is_ended() => Some(load_text(ports.blobs.as_ref(), run, payload).await?),
        _ => None,
    };
    let mut view = run_view(run, stored.run.state(), SystemClock.now_ms(), result.as_deref());
    derive_interrupted(ports, &mut view, stored.last_at_ms).await?;
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
    let mut views = Vec::new();
    for (key, entry) in ports.directory.list(RUNS_TABLE).await?.into_iter().rev().take(limit) {
        let indexed: Option<RunView> = serde_json::from_slice(&entry).ok();
        match indexed {
            Some(view) if view.status.is_end() => views.push(view),
            _ => match live_view(ports, &key).await {
                Ok(view) => views.push(view),
                // It is being removed.
                Err(LoadError::NotFound { .. }) => {}
                Err(error) => tracing::warn!(run_id = key, %error, "run not listed"),
            },
        }
    }
    Ok(views)
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
