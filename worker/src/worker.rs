//! A worker from the outside: what it is made of, its start and its end.

use crate::attempt::Shared;
use crate::environment::Environment;
use crate::link::{Link, LinkConfig};
use crate::messages::{Drain, Observe, Observed, ReleaseRun, StopWorker};
use crate::process::Keeper;
use crate::runner::{CommandRunner, MissingRunner, Runners, SimulatedRunner};
use crate::worktree::{Git, Worktrees};
use actix::Addr;
use skein_common::agent::RunnerKind;
use skein_common::config::WorkerSettings;
use skein_common::ports::{Ports, Target};
use skein_common::{RunId, WorkerId};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

/// What a worker is made of.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    pub ports: Ports,
    pub id: WorkerId,
    pub settings: WorkerSettings,
    /// Started again as `executable keeper` when the first program is wanted; calls [`crate::keeper_main`] then.
    pub executable: PathBuf,
    /// Holds the attempts locks. Of this store or node only: two workers that may run attempts of the same run at
    /// the same time need two directories. Worktrees of attempts are in its folder `worktrees`.
    pub attempts_dir: PathBuf,
    /// Working directory of programs, instead of the project's.
    pub root: Option<PathBuf>,
    pub pools: Vec<String>,
    pub hosts: Vec<String>,
}

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    #[error("a worker needs at least one slot")]
    NoSlots,
    #[error("a worker needs a pool or a host to work for")]
    NoTargets,
    #[error("a heartbeat needs an interval")]
    NoHeartbeat,
}

/// A running worker. Dropped, the worker goes on until its arbiter ends.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    link: watch::Receiver<Addr<Link>>,
    stop: watch::Sender<bool>,
}

/// Starts a worker on the current arbiter.
///
/// # Errors
/// The configuration describes no worker.
pub async fn start(config: WorkerConfig) -> Result<WorkerHandle, WorkerError> {
    let WorkerConfig { settings, .. } = &config;
    let lock_wait = Duration::from_millis(settings.attempts_lock_wait_ms);
    let keeper = Rc::new(Keeper::new(config.executable.clone(), config.attempts_dir.clone(), lock_wait));
    let environment = Environment::of_this_process();
    let git = Git { keeper: Rc::clone(&keeper), environment: environment.clone() };
    let worktrees = Rc::new(Worktrees::new(git, config.attempts_dir.clone()));
    worktrees.clean_up().await;
    let command = CommandRunner {
        keeper: Rc::clone(&keeper),
        environment,
        worktrees,
        root: config.root.clone(),
        output_bytes_max: settings.output_bytes_max,
        kill_grace: Duration::from_millis(settings.kill_grace_ms),
    };
    let runners = Runners {
        command: Box::new(command),
        simulated: Box::new(SimulatedRunner),
        llm: Box::new(MissingRunner(RunnerKind::Llm)),
        cli: Box::new(MissingRunner(RunnerKind::Cli)),
    };
    start_with(config, keeper, runners)
}

/// Starts a worker with these runners.
pub(crate) fn start_with(
    config: WorkerConfig,
    keeper: Rc<Keeper>,
    runners: Runners,
) -> Result<WorkerHandle, WorkerError> {
    let WorkerConfig { ports, id, settings, pools, hosts, .. } = config;
    let targets: Vec<Target> = pools.into_iter().map(Target::Pool).chain(hosts.into_iter().map(Target::Host)).collect();
    if settings.slots == 0 {
        return Err(WorkerError::NoSlots);
    }
    if targets.is_empty() {
        return Err(WorkerError::NoTargets);
    }
    if settings.heartbeat_ms == 0 {
        return Err(WorkerError::NoHeartbeat);
    }
    info!(worker = %id, slots = settings.slots, ?targets, "worker starts");
    let attempt_timeout = Duration::from_millis(settings.attempt_timeout_ms);
    let shared = Rc::new(Shared { ports, worker: id, runners, attempt_timeout, stall_ms: settings.stall_ms });
    let heartbeat = Duration::from_millis(settings.heartbeat_ms);
    let link = LinkConfig { shared, keeper, targets, slots: settings.slots, heartbeat };
    Ok(supervise(link))
}

/// Makes a Link, and a new one when it dies of a fault. Its attempts end with it: their owners hear no heartbeat of
/// them any more.
fn supervise(config: LinkConfig) -> WorkerHandle {
    let (died, mut death) = oneshot::channel();
    let (current, link) = watch::channel(Link::begin(config.clone(), died));
    let (stop, mut stopping) = watch::channel(false);
    actix_rt::spawn(async move {
        loop {
            tokio::select! {
                _ = &mut death => {}
                Ok(_) = stopping.wait_for(|stopping| *stopping) => return,
            }
            error!("the worker's session died of a fault of ours and begins again");
            let (died, next_death) = oneshot::channel();
            death = next_death;
            current.send_replace(Link::begin(config.clone(), died));
        }
    });
    WorkerHandle { link, stop }
}

impl WorkerHandle {
    /// Ends all attempts and waits until every process of theirs is gone.
    pub async fn stop(self) {
        let link = self.current();
        self.stop.send_replace(true);
        let _ = link.send(StopWorker).await;
    }

    /// Takes nothing new, waits for the attempts that run, and ends (A8).
    pub async fn drain(self) {
        let _ = self.current().send(Drain).await;
        self.stop().await;
    }

    /// Lets other owners of an ended run start programs of it.
    pub async fn release_run(&self, run: &RunId) {
        let _ = self.current().send(ReleaseRun { run: run.clone() }).await;
    }

    /// Numbers for tests and operators.
    pub async fn observe(&self) -> Observed {
        self.current().send(Observe).await.unwrap_or_default()
    }

    fn current(&self) -> Addr<Link> {
        self.link.borrow().clone()
    }
}

#[cfg(test)]
#[expect(dead_code, reason = "the integration tests use all of it")]
#[path = "../tests/it/ports.rs"]
mod ports;

#[cfg(test)]
mod tests {
    use super::ports::{World, agreeable, attempt, new_run, task};
    use super::*;
    use crate::runner::{Ended, Runner, Stop, Work};
    use async_trait::async_trait;
    use skein_common::agent::Cause;
    use skein_common::wire::AttemptEnd;
    use std::path::Path;
    use std::sync::Arc;

    #[derive(Debug)]
    struct Panicking;

    #[async_trait(?Send)]
    impl Runner for Panicking {
        async fn run(&self, _: &Work, _: &mut Stop) -> Ended {
            panic!("a fault in a runner")
        }
    }

    fn begin(world: &Arc<World>, slots: usize) -> WorkerHandle {
        let settings = WorkerSettings { slots, ..WorkerSettings::default() };
        let config = WorkerConfig {
            ports: world.ports(),
            id: WorkerId("node-0.test".into()),
            settings,
            executable: PathBuf::new(),
            attempts_dir: PathBuf::new(),
            root: None,
            pools: vec!["default".into()],
            hosts: Vec::new(),
        };
        let keeper = Rc::new(Keeper::new(PathBuf::new(), PathBuf::new(), Duration::ZERO));
        let runners = Runners {
            command: Box::new(Panicking),
            simulated: Box::new(SimulatedRunner),
            llm: Box::new(MissingRunner(RunnerKind::Llm)),
            cli: Box::new(MissingRunner(RunnerKind::Cli)),
        };
        start_with(config, keeper, runners).expect("starts")
    }

    #[actix_rt::test]
    async fn an_attempt_that_panics_is_reported_lost_and_its_slot_comes_back() {
        let (world, run) = (World::new(agreeable(60_000)), new_run());
        let worker = begin(&world, 1);
        for agent in 1..=3 {
            world.dispatch(&task(&run, agent, RunnerKind::Command, Path::new("/")));
            let report = world.report(&attempt(&run, agent)).await;
            let lost = matches!(&report.end, AttemptEnd::Failed { cause: Cause::Lost, retryable: true, .. });
            assert!(lost, "{report:?}");
        }
        world.dispatch(&task(&run, 4, RunnerKind::Simulated, Path::new("/")));
        let report = world.report(&attempt(&run, 4)).await;
        assert!(matches!(report.end, AttemptEnd::Done { .. }), "{report:?}");
        assert_eq!(worker.observe().await.attempts_died_total, 3);
        worker.stop().await;
    }

    #[actix_rt::test]
    async fn a_session_that_dies_begins_again() {
        let (world, run) = (World::new(agreeable(60_000)), new_run());
        let worker = begin(&world, 4);
        let first = worker.current();
        let _ = first.send(crate::messages::DieForTest).await;
        let mut link = worker.link.clone();
        link.changed().await.expect("is replaced");
        world.dispatch(&task(&run, 1, RunnerKind::Simulated, Path::new("/")));
        world.report(&attempt(&run, 1)).await;
        worker.stop().await;
    }

    /// What a worker costs; prints, asserts nothing: `cargo test --release -p skein-worker -- --ignored --nocapture`.
    #[ignore = "a measurement"]
    #[actix_rt::test]
    async fn cost_of_a_thousand_simulated_attempts() {
        let (world, run) = (World::new(agreeable(60_000)), new_run());
        let worker = begin(&world, 16);
        for round in 0..10 {
            let begun = std::time::Instant::now();
            for agent in 1..=1000 {
                world.dispatch(&task(&run, round * 1000 + agent, RunnerKind::Simulated, Path::new("/")));
            }
            let expected = usize::try_from(round + 1).expect("fits") * 1000;
            world.when("all", |state| (state.reports.len() == expected).then_some(())).await;
            println!("{} us for one attempt, ports in memory included", begun.elapsed().as_micros() / 1000);
        }
        worker.stop().await;
    }
}
