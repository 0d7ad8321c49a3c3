//! Stored: runs read from the store, with errors as a person reads them.

use crate::args::Global;
use crate::exit::usage;
use crate::session::resume_command;
use anyhow::Context as _;
use skein_common::RunId;
use skein_common::ports::Ports;
use skein_common::view::RunView;
use skein_coordinator::{LoadError, StoredRun, load_run, stored};

/// A run from its journal.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn load(ports: &Ports, run: &RunId) -> anyhow::Result<StoredRun> {
    load_run(ports.journal.as_ref(), run).await.map_err(|error| for_person(run, error))
}

/// The run as people see it, with its result when it has one.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn view(ports: &Ports, run: &RunId) -> anyhow::Result<RunView> {
    stored::view(ports, run).await.map_err(|error| for_person(run, error))
}

/// The same for a run that is loaded already.
///
/// # Errors
/// The store cannot be read.
pub async fn view_of(ports: &Ports, run: &RunId, loaded: &StoredRun) -> anyhow::Result<RunView> {
    stored::view_of(ports, run, loaded).await.map_err(|error| for_person(run, error))
}

/// All runs of the index, newest first, without results.
///
/// # Errors
/// The store cannot be read.
pub async fn list(ports: &Ports, limit: usize) -> anyhow::Result<Vec<RunView>> {
    stored::list(ports, limit).await.context("the runs cannot be listed")
}

/// The command that continues an interrupted run, with the store that the person named. Behind a URL there is none:
/// whoever serves there takes it up by itself.
#[must_use]
pub fn with_place(global: &Global, mut view: RunView) -> RunView {
    let is_here = global.settings.api_url().is_none();
    view.continue_with = view.continue_with.filter(|_| is_here).map(|_| resume_command(global, &view.run));
    view
}

/// The error as the command ends with it.
pub fn for_person(run: &RunId, error: LoadError) -> anyhow::Error {
    match error {
        LoadError::NotFound { .. } => usage(error.to_string()),
        other => anyhow::Error::new(other).context(format!("{run} cannot be read")),
    }
}
