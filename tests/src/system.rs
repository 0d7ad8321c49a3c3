//! A coordinator and a worker inside the test's own process, for what one `skein run` cannot show: many runs at once.
#![expect(clippy::expect_used, reason = "a system that cannot start fails the test")]

use crate::{project_dir, skein_binary};
use skein_backend::embedded::Store;
use skein_common::agent::{RunnerKind, Simulation};
use skein_common::config::{CoordinatorSettings, WorkerSettings};
use skein_common::metrics::{AllowedNames, Deliveries, Meters};
use skein_common::ports::Ports;
use skein_common::readiness::AlwaysReady;
use skein_common::run::{BudgetUnit, RunLimits, RunSpec};
use skein_common::view::RunView;
use skein_common::{Payload, WorkerId};
use skein_coordinator::{Coordinator, CoordinatorConfig, Metrics, RunOutcome, Telemetry};
use skein_script::{HostLimits, HostPool};
use skein_worker::{WorkerConfig, WorkerHandle};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Everything of one process, on a store of its own.
pub struct System {
    pub coordinator: Coordinator,
    worker: WorkerHandle,
    _dir: TempDir,
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("System")
    }
}

impl System {
    /// Starts it inside the current actix system.
    pub async fn start(host_limits: HostLimits) -> System {
        System::start_with(host_limits, |ports| ports).await
    }

    /// The same with ports that the test has wrapped for the coordinator.
    pub async fn start_with(host_limits: HostLimits, wrap: impl FnOnce(Ports) -> Ports) -> System {
        System::start_with_both(host_limits, wrap, |ports| ports).await
    }

    /// The same with wrapped ports for both sides.
    pub async fn start_with_both(
        host_limits: HostLimits,
        wrap_coordinator: impl FnOnce(Ports) -> Ports,
        wrap_worker: impl FnOnce(Ports) -> Ports,
    ) -> System {
        let dir = tempfile::tempdir().expect("a folder");
        let assembled = assemble_both(dir.path(), host_limits, wrap_coordinator, wrap_worker).await;
        let (coordinator, worker) = assembled.expect("a system");
        System { coordinator, worker, _dir: dir }
    }

    /// Runs a script body to its end.
    pub async fn run(&self, body: &str) -> RunView {
        match self.run_spec(spec(body)).await {
            RunOutcome::Ended(view) => *view,
            RunOutcome::Interrupted { reason } => unreachable!("the run did not end: {reason}"),
        }
    }

    /// Runs a submission as far as it gets in this process.
    pub async fn run_spec(&self, spec: RunSpec) -> RunOutcome {
        let run = self.coordinator.submit(spec).await.expect("submits");
        self.coordinator.run_to_its_end(run).await
    }

    pub async fn stop(self) {
        self.coordinator.shutdown().await;
        self.worker.stop().await;
    }
}

/// Coordinator and worker on the store in this folder, as `skein run` puts them together; the coordinator's ports may be
/// wrapped.
///
/// # Errors
/// The store cannot be opened, or a child process not started.
pub async fn assemble(
    dir: &Path,
    host_limits: HostLimits,
    wrap: impl FnOnce(Ports) -> Ports,
) -> anyhow::Result<(Coordinator, WorkerHandle)> {
    assemble_both(dir, host_limits, wrap, |ports| ports).await
}

/// The same with the worker's ports wrapped, too.
///
/// # Errors
/// The store cannot be opened, or a child process not started.
pub async fn assemble_both(
    dir: &Path,
    host_limits: HostLimits,
    wrap_coordinator: impl FnOnce(Ports) -> Ports,
    wrap_worker: impl FnOnce(Ports) -> Ports,
) -> anyhow::Result<(Coordinator, WorkerHandle)> {
    let store = Store::open(dir)?;
    let hosts = HostPool::start(skein_binary().to_path_buf()).await?;
    let (telemetry, worker_metrics) = telemetry_of_both()?;
    let coordinator = Coordinator::start(CoordinatorConfig {
        ports: wrap_coordinator(store.ports()),
        hosts,
        host_limits,
        settings: CoordinatorSettings::default(),
        owner: String::from("test"),
        // Each run of a store is owned by itself: neither is used.
        node: String::from("here"),
        lease: Duration::from_secs(3),
        telemetry,
    });
    let worker = skein_worker::start(WorkerConfig {
        ports: wrap_worker(store.ports()),
        id: WorkerId(String::from("worker-test")),
        node: String::from("worker-test"),
        labels: BTreeMap::new(),
        state_dir: None,
        settings: WorkerSettings::default(),
        executable: skein_binary().to_path_buf(),
        attempts_dir: store.runs_dir(),
        root: None,
        pools: vec![String::from("default")],
        hosts: Vec::new(),
        metrics: worker_metrics,
    })
    .await?;
    Ok((coordinator, worker))
}

/// One registry for both, as in `skein serve`.
fn telemetry_of_both() -> anyhow::Result<(Telemetry, skein_worker::Metrics)> {
    let meters = Meters::default();
    meters.say_build("0.0.0", "test")?;
    let deliveries = Deliveries::register(&meters)?;
    let worker = skein_worker::Metrics::register(&meters, deliveries.clone())?;
    let metrics = Arc::new(Metrics::register(&meters, deliveries, AllowedNames::default())?);
    Ok((Telemetry { meters, metrics, readiness: Arc::new(AlwaysReady) }, worker))
}

/// A run of an example in this project folder, with its own agents.
#[must_use]
pub fn example_spec(name: &str, args: &serde_json::Value, project: &Path) -> RunSpec {
    let dir = project_dir().join("examples").join(name);
    let script = std::fs::read_to_string(dir.join(format!("{name}.js"))).expect("the example");
    RunSpec {
        script: Payload::text(script),
        origin: format!("{name}.js"),
        args: Some(Payload::json(args.to_string())),
        runner: None,
        definitions: skein_worker::definition::discover(&dir, project, None).definitions,
        project_dir: project.display().to_string(),
        ..spec("")
    }
}

/// A run of this script body on simulated agents.
#[must_use]
pub fn spec(body: &str) -> RunSpec {
    let script = format!("export const meta = {{ name: 'test', description: 'a test' }}\n{body}");
    RunSpec {
        script: Payload::text(script),
        origin: String::from("test.js"),
        args: None,
        args_parsed_from_text: false,
        limits: RunLimits::default(),
        budget: None,
        budget_unit: BudgetUnit::Total,
        runner: Some(RunnerKind::Simulated),
        command: None,
        model: None,
        simulation: Simulation::default(),
        definitions: Vec::new(),
        workflows: Vec::new(),
        script_roots: Vec::new(),
        strict: false,
        dry_run: false,
        timeout_ms: None,
        seed: 1,
        project_dir: project_dir().display().to_string(),
        parent: None,
        resume_mode: skein_common::run::ResumeMode::default(),
        traceparent: None,
    }
}
