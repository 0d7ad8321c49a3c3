//! A worker with a project folder, and reports of what its programs came to.

use crate::support::{World, agreeable, config, new_run, shell};
use skein_common::RunId;
use skein_common::agent::Cause;
use skein_common::wire::{AttemptEnd, AttemptReport, Task};
use std::path::Path;
use std::sync::Arc;

pub struct Bench {
    pub world: Arc<World>,
    pub run: RunId,
    pub directory: tempfile::TempDir,
    pub worker: skein_worker::WorkerHandle,
}

impl Bench {
    pub async fn new() -> Bench {
        Bench::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut skein_worker::WorkerConfig)) -> Bench {
        let world = World::new(agreeable(60_000));
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(&world, &directory.path().join("attempts"));
        change(&mut config);
        let worker = skein_worker::start(config).await.unwrap();
        Bench { world, run: new_run(), directory, worker }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub async fn report(&self, task: &Task) -> AttemptReport {
        self.world.dispatch(task);
        self.world.report(&task.attempt).await
    }

    pub async fn shell(&self, agent: u32, line: &str) -> AttemptReport {
        self.report(&shell(&self.run, agent, self.path(), line)).await
    }
}

pub fn text(report: &AttemptReport) -> &str {
    match &report.end {
        AttemptEnd::Done { value } => value.inline().unwrap(),
        other => panic!("not done: {other:?}"),
    }
}

pub fn failure(report: &AttemptReport) -> (Cause, &str, &str, bool) {
    match &report.end {
        AttemptEnd::Failed { cause, detail, message, retryable, .. } => {
            (*cause, detail.as_deref().unwrap_or_default(), message, *retryable)
        }
        other => panic!("not failed: {other:?}"),
    }
}
