//! Rig: coordinator, worker and store as `skein run` has them, in this process.

use crate::system::assemble;
use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{Ports, Target, TaskDelivery, Tasks, TasksError};
use skein_common::run::RunSpec;
use skein_common::view::RunView;
use skein_coordinator::{Coordinator, RunOutcome};
use skein_script::HostLimits;
use skein_worker::WorkerHandle;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Everything of one process.
pub struct Rig {
    pub coordinator: Coordinator,
    pub dispatches: Arc<Dispatches>,
    worker: WorkerHandle,
}

impl Rig {
    /// On the store in this folder, which may hold one.
    pub async fn start(dir: &Path) -> anyhow::Result<Rig> {
        let mut watched = None;
        let wrap = |ports: Ports| {
            let dispatches = Arc::new(Dispatches::over(ports.tasks));
            watched = Some(dispatches.clone());
            Ports { tasks: dispatches, ..ports }
        };
        let (coordinator, worker) = assemble(dir, HostLimits::default(), wrap).await?;
        let dispatches = watched.context("the ports were not wrapped")?;
        Ok(Rig { coordinator, dispatches, worker })
    }

    /// Submits and waits for the end.
    pub async fn run(&self, spec: RunSpec) -> anyhow::Result<RunView> {
        let run = self.coordinator.submit(spec).await?;
        ended(self.coordinator.run_to_its_end(run).await)
    }

    pub async fn stop(self) {
        self.coordinator.shutdown().await;
        self.worker.stop().await;
    }
}

/// The run, if it came to its end here.
pub fn ended(outcome: RunOutcome) -> anyhow::Result<RunView> {
    match outcome {
        RunOutcome::Ended(view) => Ok(*view),
        RunOutcome::Interrupted { reason } => anyhow::bail!("the run did not end: {reason}"),
    }
}

/// The texts that a run gave back.
pub fn texts(view: &RunView) -> anyhow::Result<Vec<String>> {
    let result = view.result.as_ref().with_context(|| format!("no result: {:?}", view.error))?;
    Ok(serde_json::from_str(result.get())?)
}

/// Tasks on their way to the worker, with the moments at which they went.
pub struct Dispatches {
    tasks: Arc<dyn Tasks>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    at: Vec<Instant>,
    /// From this one on they are kept back: their agents never end.
    kept_back_from: Option<usize>,
}

impl Dispatches {
    fn over(tasks: Arc<dyn Tasks>) -> Dispatches {
        Dispatches { tasks, seen: Mutex::default() }
    }

    pub fn moments(&self) -> Vec<Instant> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).at.clone()
    }

    pub fn keep_back_from(&self, place: usize) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).kept_back_from = Some(place);
    }

    fn passes(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.at.push(Instant::now());
        seen.kept_back_from.is_none_or(|from| seen.at.len() <= from)
    }
}

#[async_trait]
impl Tasks for Dispatches {
    async fn dispatch(&self, target: &Target, task: Bytes) -> Result<(), TasksError> {
        if self.passes() { self.tasks.dispatch(target, task).await } else { Ok(()) }
    }

    async fn pull(&self, target: &Target, max: usize) -> Result<Vec<TaskDelivery>, TasksError> {
        self.tasks.pull(target, max).await
    }

    async fn leave(&self, target: &Target) {
        self.tasks.leave(target).await;
    }

    async fn done(&self, delivery: u64) -> Result<(), TasksError> {
        self.tasks.done(delivery).await
    }
}
