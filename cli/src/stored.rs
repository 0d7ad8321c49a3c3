//! Stored: runs read from the store, with how they stand now.

use anyhow::Context as _;
use skein_common::RunId;
use skein_common::ports::Ports;
use skein_common::run::RunStatus;
use skein_common::view::RunView;
use skein_coordinator::{Clock as _, LoadError, RUNS_TABLE, StoredRun, SystemClock, load_run, load_text};
use skein_engine::run_view;

use crate::args::Global;
use crate::exit::{UsageError, usage};
use crate::session::resume_command;

/// A run from its journal.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn load(ports: &Ports, run: &RunId) -> anyhow::Result<StoredRun> {
    load_run(ports.journal.as_ref(), run).await.map_err(|error| match error {
        LoadError::NotFound { .. } => usage(error.to_string()),
        other => anyhow::Error::new(other).context(format!("{run} cannot be read")),
    })
}

/// The run as people see it, with its result when it has one.
///
/// # Errors
/// The store cannot be read.
pub async fn view(ports: &Ports, run: &RunId) -> anyhow::Result<RunView> {
    let stored = load(ports, run).await?;
    let view = view_of(ports, run, &stored).await?;
    if view.status != RunStatus::Interrupted {
        return Ok(view);
    }
    // It may have ended between the look at its journal and the look for its owner.
    let stored = load(ports, run).await?;
    view_of(ports, run, &stored).await
}

/// The same for a run that is loaded already.
///
/// # Errors
/// The store cannot be read.
pub async fn view_of(ports: &Ports, run: &RunId, stored: &StoredRun) -> anyhow::Result<RunView> {
    let result = match &stored.run.state().result {
        Some(payload) if stored.run.state().is_ended() => {
            Some(load_text(ports.blobs.as_ref(), run, payload).await.context("the result cannot be read")?)
        }
        _ => None,
    };
    let mut view = run_view(run, stored.run.state(), SystemClock.now_ms(), result.as_deref());
    derive_interrupted(ports, &mut view, stored.last_at_ms).await?;
    Ok(view)
}

/// A run without an end that nobody owns is interrupted (R1).
async fn derive_interrupted(ports: &Ports, view: &mut RunView, last_at_ms: i64) -> anyhow::Result<()> {
    if view.status.is_end() || ports.leases.holder(view.run.as_str()).await?.is_some() {
        return Ok(());
    }
    view.status = RunStatus::Interrupted;
    view.elapsed_ms = u64::try_from(last_at_ms.saturating_sub(view.started_at_ms)).unwrap_or(0);
    view.continue_with = Some(format!("skein resume {}", view.run));
    Ok(())
}

/// The command that continues an interrupted run, with the store that the person named.
#[must_use]
pub fn with_store(global: &Global, mut view: RunView) -> RunView {
    view.continue_with = view.continue_with.map(|_| resume_command(global, &view.run));
    view
}

/// All runs of the index, newest first, without results.
///
/// # Errors
/// The store cannot be read.
pub async fn list(ports: &Ports, limit: usize) -> anyhow::Result<Vec<RunView>> {
    let mut views = Vec::new();
    for (key, entry) in ports.directory.list(RUNS_TABLE).await?.into_iter().rev().take(limit) {
        let indexed: Option<RunView> = serde_json::from_slice(&entry).ok();
        match indexed {
            Some(view) if view.status.is_end() => views.push(view),
            _ => match live_view(ports, &key).await {
                Ok(view) => views.push(view),
                // It is being removed.
                Err(error) if error.is::<UsageError>() => {}
                Err(error) => tracing::warn!(run_id = key, %error, "run not listed"),
            },
        }
    }
    Ok(views)
}

/// The index only knows how a run started; its journal knows how it stands.
async fn live_view(ports: &Ports, key: &str) -> anyhow::Result<RunView> {
    let mut view = view(ports, &key.parse()?).await?;
    view.result = None;
    Ok(view)
}
