//! `skein resume`: let a paused run go on, continue an interrupted one where its journal ends, or run an ended one
//! again with its results.

use crate::args::{Global, RunName};
use crate::commands::control::{nobody_executes, resume_paused};
use crate::exit::{Code, usage};
use crate::output;
use crate::session::{Session, existing_store};
use crate::stored;
use skein_common::ports::{LeaseError, Ports};
use skein_common::run::RunSpec;
use skein_common::workflow::{KnownWorkflow, WorkflowRef};
use skein_common::{Payload, RunId};
use skein_coordinator::{StoredRun, load_run, load_text};
use skein_engine::ReuseTable;
use std::time::Duration;

/// After a kill the system takes a moment to give the lock of the dead owner back.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Continues or starts again, follows, reports (R6).
///
/// # Errors
/// There is nothing to continue, or somebody else runs it.
pub async fn resume(global: &Global, args: RunName) -> anyhow::Result<Code> {
    if let Some(code) = resume_paused(global, &args.run).await? {
        return Ok(code);
    }
    if let Some(url) = global.settings.api_url() {
        let nobody = nobody_executes(global, &args.run).await;
        return Err(nobody.context(format!("at {url} only a paused run can be resumed")));
    }
    let store = existing_store(global)?;
    let parent = Parent::load(&store.ports(), &args.run).await?;
    drop(store);
    let session = Session::start(&global.settings, &global.settings.store_dir()?).await?;
    let strict = parent.spec.strict;
    if !parent.has_ended {
        return session.follow(global, &args.run).await?.report(global, strict);
    }
    let run = session.submit(parent.again()).await?;
    if !global.quiet {
        output::note(&format!("{} has ended; {run} reuses its results", args.run));
    }
    session.follow(global, &run).await?.report(global, strict)
}

/// A run that may be continued or reused: it has ended, or nobody runs it.
pub struct Parent {
    run: RunId,
    has_ended: bool,
    /// With script and args in place.
    spec: RunSpec,
}

impl Parent {
    /// Reads the run and makes sure that nobody runs it and that there is something to go on from (R7).
    ///
    /// # Errors
    /// `nothing to resume`, or it lives.
    pub async fn load(ports: &Ports, run: &RunId) -> anyhow::Result<Parent> {
        let stored = match load_run(ports.journal.as_ref(), run).await {
            Err(skein_coordinator::LoadError::NotFound { .. }) => {
                return Err(usage(format!("nothing to resume: there is no run {run}; `skein runs` lists them")));
            }
            _ => stored::load(ports, run).await?,
        };
        let has_ended = stored.run.state().is_ended();
        if !has_ended && let Some(holder) = holder_that_stays(ports, run.as_str()).await? {
            return Err(usage(format!("{run} is being run by {holder}; a run has one owner at a time")));
        }
        if has_ended && reusable(&stored).is_empty() {
            let view = stored::view_of(ports, run, &stored).await?;
            return Err(usage(format!(
                "nothing to resume: {run} has ended ({}) without the result of an agent; `skein show {run}` tells more",
                view.status
            )));
        }
        let mut spec = stored.run.state().spec.clone();
        spec.script = Payload::text(load_text(ports.blobs.as_ref(), run, &spec.script).await?);
        if let Some(args) = &spec.args {
            spec.args = Some(Payload::json(load_text(ports.blobs.as_ref(), run, args).await?));
        }
        spec.workflows = known_workflows(ports, run, &stored).await?;
        Ok(Parent { run: run.clone(), has_ended, spec })
    }

    /// The same run once more, with its results at hand.
    fn again(self) -> RunSpec {
        RunSpec { parent: Some(self.run), traceparent: None, ..self.spec }
    }

    /// Another script or other options, with the parent's seed, and its args unless others are given.
    #[must_use]
    pub fn inherit(self, spec: RunSpec) -> RunSpec {
        let (args, args_parsed_from_text) = match spec.args {
            Some(args) => (Some(args), spec.args_parsed_from_text),
            None => (self.spec.args, self.spec.args_parsed_from_text),
        };
        RunSpec { args, args_parsed_from_text, seed: self.spec.seed, parent: Some(self.run), ..spec }
    }
}

/// What the run could start inside itself, and the scripts that it read by their paths: they may be gone by now, or this
/// may be another machine.
async fn known_workflows(ports: &Ports, run: &RunId, stored: &StoredRun) -> anyhow::Result<Vec<KnownWorkflow>> {
    let state = stored.run.state();
    let read = state.scripts_read.iter().map(|(path, source)| {
        let target = WorkflowRef::Path { path: path.clone() };
        KnownWorkflow { target, source: source.clone() }
    });
    let mut known: Vec<KnownWorkflow> = state.spec.workflows.iter().cloned().chain(read).collect();
    for one in &mut known {
        one.source = Payload::text(load_text(ports.blobs.as_ref(), run, &one.source).await?);
    }
    Ok(known)
}

fn reusable(stored: &StoredRun) -> ReuseTable {
    ReuseTable::of(stored.run.state(), stored.events.iter().map(|record| &record.event))
}

/// Who holds the run, unless the holder goes away while we look.
///
/// # Errors
/// The store does not answer.
pub async fn holder_that_stays(ports: &Ports, run: &str) -> Result<Option<String>, LeaseError> {
    for _ in 1..LOOKS {
        if ports.leases.holder(run).await?.is_none() {
            return Ok(None);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    ports.leases.holder(run).await
}
