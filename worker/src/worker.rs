//! A worker from the outside: what it is made of, its start and its end.

use crate::attempt::Shared;
use crate::environment::Environment;
use crate::link::{Link, LinkConfig};
use crate::messages::{Drain, Observe, Observed, Phase, ReleaseRun, StopWorker};
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::places::Places;
use crate::process::Keeper;
use crate::registration::Registration;
use crate::runner::{CommandRunner, MissingRunner, Runners, SimulatedRunner};
use crate::worktree::{Git, Worktrees};
use actix::Addr;
use skein_common::agent::RunnerKind;
use skein_common::config::WorkerSettings;
use skein_common::ports::{Ports, Target};
use skein_common::wire::WorkerInfo;
use skein_common::{RunId, WorkerId};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tracing::{error, info};

/// What a worker is made of.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    pub ports: Ports,
    /// This life of the worker.
    pub id: WorkerId,
    /// Stays the same when it is started again. Whoever gives a node has ended what ran there before.
    pub node: String,
    /// What people tell workers apart by.
    pub labels: BTreeMap<String, String>,
    /// Of this node only: keeps reports until they are accepted. `None` where owner and worker end together: then
    /// nothing is kept, and the worker has no record in the table of workers.
    pub state_dir: Option<PathBuf>,
    pub settings: WorkerSettings,
    /// Started again as `executable keeper` when the first program is wanted; calls [`crate::keeper_main`] then.
    pub executable: PathBuf,
    /// Holds the attempts locks. Of this store or node only: two workers that may run attempts of the same run at
    /// the same time need two directories. Worktrees of attempts are in its folder `worktrees`.
    pub attempts_dir: PathBuf,
    /// Working directory of programs, instead of the project's; `{host}` in it is the host that the task is pinned to.
    pub root: Option<PathBuf>,
    pub pools: Vec<String>,
    pub hosts: Vec<String>,
    pub metrics: Metrics,
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
    #[error("`{host}` cannot be the name of a host: it could lead out of a folder")]
    BadHost { host: String },
    #[error("the root {} has {{host}} in it, and the worker serves no host: name one with --host", root.display())]
    NoHostForRoot { root: PathBuf },
    #[error("the state directory {} cannot be used: {source}", dir.display())]
    BadStateDir {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A running worker. Dropped, the worker goes on until its arbiter ends.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    link: watch::Receiver<Addr<Link>>,
    stop: watch::Sender<bool>,
    phase: watch::Receiver<Phase>,
    registration: Option<Arc<Registration>>,
}

/// Starts a worker on the current arbiter.
///
/// # Errors
/// The configuration describes no worker, or the state directory cannot be used.
pub async fn start(config: WorkerConfig) -> Result<WorkerHandle, WorkerError> {
    check(&config)?;
    let places = Rc::new(Places::new(config.root.clone(), &config.hosts)?);
    let settings = &config.settings;
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
        places: Rc::clone(&places),
        output_bytes_max: settings.output_bytes_max,
        kill_grace: Duration::from_millis(settings.kill_grace_ms),
    };
    let runners = Runners {
        command: Box::new(command),
        simulated: Box::new(SimulatedRunner),
        llm: Box::new(MissingRunner(RunnerKind::Llm)),
        cli: Box::new(MissingRunner(RunnerKind::Cli)),
    };
    start_with(config, places, keeper, runners).await
}

fn check(config: &WorkerConfig) -> Result<(), WorkerError> {
    if config.settings.slots == 0 {
        return Err(WorkerError::NoSlots);
    }
    if config.pools.is_empty() && config.hosts.is_empty() {
        return Err(WorkerError::NoTargets);
    }
    if config.settings.heartbeat_ms == 0 {
        return Err(WorkerError::NoHeartbeat);
    }
    Ok(())
}

/// Starts a worker with these runners. What an earlier process of the node kept is published before owners hear of
/// this one, because they take what ran there before for lost from then on.
pub(crate) async fn start_with(
    config: WorkerConfig,
    places: Rc<Places>,
    keeper: Rc<Keeper>,
    runners: Runners,
) -> Result<WorkerHandle, WorkerError> {
    let info = info_of(&config);
    let WorkerConfig { ports, settings, pools, hosts, state_dir, metrics, .. } = config;
    let opened = Outbox::open(Arc::clone(&ports.results), state_dir.as_deref());
    let bad_state_dir = |source| WorkerError::BadStateDir { dir: state_dir.clone().unwrap_or_default(), source };
    let outbox = Rc::new(opened.map_err(bad_state_dir)?);
    let is_apart = state_dir.is_some();
    let targets: Vec<Target> = pools.into_iter().map(Target::Pool).chain(hosts.into_iter().map(Target::Host)).collect();
    info!(worker = %info.id, node = info.node, slots = settings.slots, targets = targets.len(), "worker starts");
    outbox.send_left_over().await;
    let (phase, phases) = watch::channel(Phase::Working);
    let registration = match state_dir {
        Some(_) => {
            let directory = Arc::clone(&ports.directory);
            Some(Arc::new(Registration::begin(directory, info.clone(), phases.clone()).await))
        }
        None => None,
    };
    let attempt_timeout = Duration::from_millis(settings.attempt_timeout_ms);
    let stall_ms = settings.stall_ms;
    let shared =
        Rc::new(Shared { ports, info, runners, places, outbox, attempt_timeout, stall_ms, owner_came: Notify::new() });
    let heartbeat = Duration::from_millis(settings.heartbeat_ms);
    let link = LinkConfig { shared, keeper, targets, slots: settings.slots, heartbeat, is_apart, phase, metrics };
    let (link, stop) = supervise(link);
    Ok(WorkerHandle { link, stop, phase: phases, registration })
}

fn info_of(config: &WorkerConfig) -> WorkerInfo {
    WorkerInfo {
        id: config.id.clone(),
        node: config.node.clone(),
        pools: config.pools.clone(),
        hosts: config.hosts.clone(),
        slots: u32::try_from(config.settings.slots).unwrap_or(u32::MAX),
        labels: config.labels.clone(),
        draining: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Makes a Link, and a new one when it dies of a fault. Its attempts end with it: their owners hear no heartbeat of
/// them any more.
fn supervise(config: LinkConfig) -> (watch::Receiver<Addr<Link>>, watch::Sender<bool>) {
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
    (link, stop)
}

impl WorkerHandle {
    /// Ends all attempts and waits until every process of theirs is gone.
    pub async fn stop(self) {
        let link = self.current();
        self.stop.send_replace(true);
        let _ = link.send(StopWorker).await;
        // The record is that of the one that took over.
        let is_superseded = *self.phase.borrow() == Phase::Superseded;
        if let Some(registration) = self.registration.filter(|_| !is_superseded) {
            registration.end().await;
        }
    }

    /// Waits until the worker was told to drain and the last of its attempts is over. It takes nothing new then, and
    /// still has to be stopped.
    pub async fn drained(&self) {
        let _ = self.phase.clone().wait_for(|phase| *phase == Phase::Drained).await;
    }

    /// Waits until an owner says that another process speaks for its node, as when two machines were made from one image.
    /// It has nothing to do any more then, and still has to be stopped.
    pub async fn superseded(&self) {
        if self.phase.clone().wait_for(|phase| *phase == Phase::Superseded).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes nothing new, waits for the attempts that run, and ends (A8).
    pub async fn drain(self) {
        let _ = self.current().send(Drain).await;
        self.stop().await;
    }

    /// Whether it takes new tasks: it was not told to drain.
    #[must_use]
    pub fn takes_tasks(&self) -> bool {
        *self.phase.borrow() == Phase::Working
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

    #[derive(Debug)]
    struct Panicking;

    #[async_trait(?Send)]
    impl Runner for Panicking {
        async fn run(&self, _: &Work, _: &mut Stop) -> Ended {
            panic!("a fault in a runner")
        }
    }

    async fn begin(world: &Arc<World>, slots: usize) -> WorkerHandle {
        let settings = WorkerSettings { slots, ..WorkerSettings::default() };
        let config = WorkerConfig {
            ports: world.ports(),
            id: WorkerId("node-0.test".into()),
            node: "node-0".into(),
            labels: BTreeMap::new(),
            state_dir: None,
            settings,
            executable: PathBuf::new(),
            attempts_dir: PathBuf::new(),
            root: None,
            pools: vec!["default".into()],
            hosts: Vec::new(),
            metrics: Metrics::unwatched().expect("metrics"),
        };
        let keeper = Rc::new(Keeper::new(PathBuf::new(), PathBuf::new(), Duration::ZERO));
        let runners = Runners {
            command: Box::new(Panicking),
            simulated: Box::new(SimulatedRunner),
            llm: Box::new(MissingRunner(RunnerKind::Llm)),
            cli: Box::new(MissingRunner(RunnerKind::Cli)),
        };
        let places = Rc::new(Places::new(None, &[]).expect("no root"));
        start_with(config, places, keeper, runners).await.expect("starts")
    }

    #[actix_rt::test]
    async fn an_attempt_that_panics_is_reported_lost_and_its_slot_comes_back() {
        let (world, run) = (World::new(agreeable(60_000)), new_run());
        let worker = begin(&world, 1).await;
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
        let worker = begin(&world, 4).await;
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
        let worker = begin(&world, 16).await;
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
