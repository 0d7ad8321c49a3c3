//! Coordinators of one cluster in the test's own process: which of them executes a run, and what the others answer.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use skein_backend::embedded::Store;
use skein_backend::nats::server::TestServer;
use skein_backend::nats::{NatsBackend, NatsConfig};
use skein_common::config::{CoordinatorSettings, NatsSettings};
use skein_common::ports::{Journal, JournalError, Lease, LeaseError, Leases, Ports, Shard, Shards, ShardsError};
use skein_common::run::{RunSpec, RunStatus};
use skein_common::{Payload, RunId};
use skein_coordinator::actors::ControlError;
use skein_coordinator::driver::{Alive, Driver, DriverContext, DriverError, HibernationRule, Journalled, Performer};
use skein_coordinator::{
    Coordinator, CoordinatorConfig, IdempotencyKey, RunOutcome, Standing, SystemClock, Telemetry, load_run, stored,
    submit,
};
use skein_engine::{Command, Effect, Refused, RunState};
use skein_script::{HostLimits, HostPool};
use skein_tests::{skein_binary, system};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

const LEASE_MS: u64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// Goes on until somebody stops it.
const WAITS: &str = "await new Promise(resolve => setTimeout(resolve, 3600 * 1000))";

struct Cluster {
    server: TestServer,
    hosts: HostPool,
}

impl Cluster {
    async fn start() -> Cluster {
        let server = TestServer::start().await.expect("a NATS server");
        let hosts = HostPool::start(skein_binary().to_path_buf()).await.expect("a zygote");
        Cluster { server, hosts }
    }

    async fn coordinator(&self, node: &str) -> Coordinator {
        self.coordinator_with(node, |ports| ports).await
    }

    async fn coordinator_with(&self, node: &str, wrap: impl FnOnce(Ports) -> Ports) -> Coordinator {
        let settings = NatsSettings { url: self.server.url(), lease_ms: LEASE_MS, ..NatsSettings::default() };
        let config = NatsConfig { settings, node: Some(node.to_owned()), bootstrap: true, role: None };
        let backend = NatsBackend::connect(config).await.expect("joins");
        Coordinator::start(CoordinatorConfig {
            ports: wrap(backend.ports()),
            hosts: self.hosts.clone(),
            host_limits: HostLimits::default(),
            settings: CoordinatorSettings::default(),
            owner: format!("coordinator {node}"),
            node: node.to_owned(),
            lease: Duration::from_millis(LEASE_MS),
            telemetry: Telemetry::unwatched().expect("metrics"),
        })
    }

    /// Two that share all shards.
    async fn two(&self) -> (Coordinator, Coordinator) {
        let (first, second) = (self.coordinator("first").await, self.coordinator("second").await);
        until("each has its part", async || {
            (owned(&first).await == 8 && owned(&second).await == 8 && sees_two(&first).await).then_some(())
        })
        .await;
        (first, second)
    }
}

async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

async fn shards(coordinator: &Coordinator) -> skein_coordinator::ShardsStanding {
    coordinator.standing().await.shards.expect("runs are shared")
}

async fn owned(coordinator: &Coordinator) -> usize {
    shards(coordinator).await.owned.len()
}

async fn sees_two(coordinator: &Coordinator) -> bool {
    shards(coordinator).await.members == ["first", "second"]
}

async fn status(coordinator: &Coordinator, run: &RunId) -> RunStatus {
    stored::view(coordinator.ports(), run).await.expect("a run").status
}

/// Submits a run and takes it up, as the API does.
async fn start(coordinator: &Coordinator, body: &str) -> RunId {
    let run = coordinator.submit(system::spec(body)).await.expect("submits");
    coordinator.begin(run.clone()).await.expect("is taken up");
    until("it runs", async || (status(coordinator, &run).await == RunStatus::Running).then_some(())).await;
    run
}

fn spec_with_args(body: &str) -> RunSpec {
    RunSpec { args: Some(Payload::json(String::from("{}"))), ..system::spec(body) }
}

#[actix::test]
async fn r06_runs_go_on_elsewhere_when_another_comes_and_when_one_leaves() {
    let cluster = Cluster::start().await;
    let first = cluster.coordinator("first").await;
    until("one has all", async || (owned(&first).await == 16).then_some(())).await;
    let runs = join_all((0..24).map(|_| start(&first, WAITS))).await;
    let ends = runs.iter().map(|run| first.run_to_its_end(run.clone()));
    let moved = async {
        let second = cluster.coordinator("second").await;
        until("both have their part", async || {
            let (of_first, of_second) = (first.standing().await, second.standing().await);
            let owned = |standing: &Standing| standing.shards.as_ref().map(|shards| shards.owned.len());
            let is_spread = (owned(&of_first), owned(&of_second)) == (Some(8), Some(8));
            (is_spread && of_first.live_runs + of_second.live_runs == runs.len()).then_some(of_second.live_runs)
        })
        .await;
        for run in &runs {
            assert_eq!(status(&first, run).await, RunStatus::Running);
            assert_eq!(status(&second, run).await, RunStatus::Running);
        }
        let of_second = second.standing().await.live_runs;
        first.shutdown().await;
        until("the other has all", async || (second.standing().await.live_runs == runs.len()).then_some(())).await;
        // A script that waits for time has its grace first, so all of them at once.
        let stop = async |run: &RunId| {
            second.control(run.clone(), Command::Stop).await.expect("stops");
            until("it ends", async || (status(&second, run).await == RunStatus::Stopped).then_some(())).await;
        };
        join_all(runs.iter().map(stop)).await;
        second.shutdown().await;
        of_second
    };
    let (ends, of_second) = futures::join!(join_all(ends), moved);
    assert!(of_second > 0 && of_second < runs.len(), "{of_second} of {} runs moved", runs.len());
    let left = ends.iter().filter(|end| matches!(end, RunOutcome::Interrupted { .. })).count();
    assert_eq!(left, runs.len(), "who waits for a run at its first owner is told that it left");
}

#[actix::test]
async fn r08_whoever_is_asked_steers_a_run_of_another() {
    let cluster = Cluster::start().await;
    let (first, second) = cluster.two().await;
    let run = start(&first, WAITS).await;
    assert_eq!((first.standing().await.live_runs, second.standing().await.live_runs), (1, 0), "a new run stays");
    until("the other knows", async || {
        let known = second.ports().leases.holder(run.as_str()).await.expect("known");
        (known.as_deref() == Some("first")).then_some(())
    })
    .await;
    second.control(run.clone(), Command::Pause).await.expect("pauses");
    assert_eq!(status(&second, &run).await, RunStatus::Paused);
    second.control(run.clone(), Command::Resume).await.expect("resumes");
    assert_eq!(status(&first, &run).await, RunStatus::Running);
    let refused = second.control(run.clone(), Command::Resume).await;
    assert_eq!(refused, Err(ControlError::Refused(Refused::NotPaused)));
    let refused = second.control(run.clone(), Command::SkipAgent { agent: 7 }).await;
    assert_eq!(refused, Err(ControlError::Refused(Refused::NoSuchAgent { agent: 7, agents: 0 })));
    second.control(run.clone(), Command::Stop).await.expect("stops");
    until("it ends", async || (status(&second, &run).await == RunStatus::Stopped).then_some(())).await;
    let gone = second.control(run.clone(), Command::Stop).await;
    assert!(matches!(gone, Err(ControlError::NotHere(_) | ControlError::Refused(Refused::Ended))), "{gone:?}");
    first.shutdown().await;
    second.shutdown().await;
}

#[actix::test]
async fn r11_a_request_sent_again_to_another_gives_the_same_run() {
    let cluster = Cluster::start().await;
    let (first, second) = cluster.two().await;
    let key = IdempotencyKey::new("once", b"body").expect("a key");
    let submitted = first.submit_once(spec_with_args(WAITS), &key).await.expect("submits");
    let again = second.submit_once(spec_with_args(WAITS), &key).await.expect("submits");
    assert_eq!((again.run.clone(), again.is_new), (submitted.run.clone(), false));
    second.begin(again.run.clone()).await.expect("is taken up where it belongs");
    until("it runs", async || (status(&second, &again.run).await == RunStatus::Running).then_some(())).await;
    assert_eq!((first.standing().await.live_runs, second.standing().await.live_runs), (1, 0));
    first.shutdown().await;
    until("the other has it", async || (second.standing().await.live_runs == 1).then_some(())).await;
    second.control(submitted.run.clone(), Command::Stop).await.expect("stops");
    second.shutdown().await;
}

/// What one owner of many has: it is asked for each run whether that is still its own.
struct Owner {
    is_certain: bool,
}

#[async_trait]
impl Leases for Owner {
    async fn acquire(&self, name: &str, _: &str) -> Result<Lease, LeaseError> {
        Ok(Lease { name: name.to_owned(), epoch: 1 })
    }

    async fn renew(&self, lease: &Lease) -> Result<(), LeaseError> {
        if self.is_certain { Ok(()) } else { Err(LeaseError::Lost { name: lease.name.clone() }) }
    }

    async fn release(&self, _: &Lease) -> Result<(), LeaseError> {
        Ok(())
    }

    async fn holder(&self, _: &str) -> Result<Option<String>, LeaseError> {
        Ok(None)
    }

    async fn holders(&self, _: &str) -> Result<Vec<(String, String)>, LeaseError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Shards for Owner {
    fn count(&self) -> Shard {
        1
    }

    async fn attach(&self, _: Shard) -> Result<(), ShardsError> {
        Ok(())
    }

    async fn detach(&self, _: Shard) {}
}

#[derive(Default)]
struct Performed(Vec<Effect>);

#[async_trait(?Send)]
impl Performer for Performed {
    async fn perform(&mut self, _: &RunState, _: &Journalled, effects: Vec<Effect>) {
        self.0.extend(effects);
    }
}

/// Takes a run of one agent up as such an owner; gives how that went, what was performed, and records of the journal.
async fn taken_up(is_certain: bool) -> (Result<(), DriverError>, Vec<Effect>, u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let ports = Store::open(dir.path()).expect("a store").ports();
    let run = submit(&ports, &SystemClock, system::spec("return await agent('p')")).await.expect("submits");
    let shards: Option<Arc<dyn Shards>> = Some(Arc::new(Owner { is_certain }));
    let ports = Ports { leases: Arc::new(Owner { is_certain }), shards, ..ports };
    let context = DriverContext {
        ports: ports.clone(),
        hosts: Arc::new(HostPool::start(skein_binary().to_path_buf()).await.expect("a zygote")),
        host_limits: HostLimits::default(),
        clock: Arc::new(SystemClock),
        replaces_lost_hosts: true,
        hibernation: HibernationRule::of(&CoordinatorSettings::default()),
        metrics: Telemetry::unwatched().expect("metrics").metrics,
    };
    let mut performed = Performed::default();
    let opened = Driver::open(run.clone(), 1, context, &Alive::All, &mut performed).await;
    let records = load_run(ports.journal.as_ref(), &run).await.expect("the journal").records;
    (opened.map(drop), performed.0, records)
}

#[test]
fn r04_what_an_owner_wrote_that_is_not_certain_any_more_is_for_the_next_one_to_act_on() {
    actix::System::new().block_on(async {
        let (opened, performed, _) = taken_up(true).await;
        let is_dispatch = |effect: &Effect| matches!(effect, Effect::Dispatch { .. });
        assert!(opened.is_ok() && performed.iter().any(is_dispatch), "{opened:?} {performed:?}");
        let (opened, performed, records) = taken_up(false).await;
        assert!(matches!(opened, Err(DriverError::NotOurs)), "{opened:?}");
        assert!(performed.is_empty() && records > 1, "{records} records, and {performed:?}");
    });
}

/// A journal whose reads wait for leave, and are counted.
struct Gated {
    inner: Arc<dyn Journal>,
    open: watch::Sender<bool>,
    reading: AtomicUsize,
    reading_max: AtomicUsize,
}

#[async_trait]
impl Journal for Gated {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        self.inner.append(run, expected, records).await
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        let reading = self.reading.fetch_add(1, Ordering::Relaxed) + 1;
        self.reading_max.fetch_max(reading, Ordering::Relaxed);
        drop(self.open.subscribe().wait_for(|open| *open).await);
        let read = self.inner.read(run, from).await;
        self.reading.fetch_sub(1, Ordering::Relaxed);
        read
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        self.inner.list().await
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        self.inner.remove(run).await
    }

    fn durability(&self) -> String {
        self.inner.durability()
    }
}

/// More than are opened at the same time.
const LEFT: usize = 40;

#[test]
fn r06_of_many_runs_that_an_owner_left_some_are_opened_at_a_time() {
    actix::System::new().block_on(async {
        let cluster = Cluster::start().await;
        let first = cluster.coordinator("first").await;
        until("it owns all", async || (owned(&first).await == 16).then_some(())).await;
        let mut runs = Vec::new();
        for _ in 0..LEFT {
            let run = first.submit(system::spec(WAITS)).await.expect("submits");
            first.begin(run.clone()).await.expect("begins");
            runs.push(run);
        }
        until("they run", async || (first.standing().await.live_runs == LEFT).then_some(())).await;
        first.shutdown().await;

        let mut gated = None;
        let second = cluster.coordinator_with("second", |ports| {
            let (open, reading, reading_max) = (watch::Sender::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
            let journal = Arc::new(Gated { inner: ports.journal.clone(), open, reading, reading_max });
            gated = Some(journal.clone());
            Ports { journal, ..ports }
        });
        let second = second.await;
        let gated = gated.expect("it has a journal");
        until("they are all here", async || (second.standing().await.live_runs == LEFT).then_some(())).await;
        let reads = || gated.reading.load(Ordering::Relaxed);
        until("some are read", async || (reads() >= 16).then_some(())).await;
        gated.open.send_replace(true);
        for run in runs {
            second.control(run, Command::Stop).await.expect("is there");
        }
        until("all end", async || (second.standing().await.live_runs == 0).then_some(())).await;
        assert_eq!(gated.reading_max.load(Ordering::Relaxed), 16);
        second.shutdown().await;
    });
}
