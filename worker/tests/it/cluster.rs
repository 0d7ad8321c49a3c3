//! A worker that several owners share: one heartbeat for all, orders, its record.

use crate::support::{Owner, State, World, agree, agreeable, attempt, config, new_run, task};
use skein_common::agent::{RunnerKind, Simulation};
use skein_common::wire::{
    AttemptEnd, Cancel, Heartbeat, HeartbeatAnswer, OwnerAnswer, Task, WorkerInfo, WorkerOrder, WorkerRequest,
};
use skein_common::{RunId, WorkerId};
use skein_worker::WorkerConfig;
use std::path::Path;
use std::sync::Arc;

const A_DAY_MS: u64 = 86_400_000;

fn slow(run: &RunId, agent: u32) -> Task {
    let simulation = Simulation { latency_ms: A_DAY_MS, ..Simulation::default() };
    Task { simulation, timeout_ms: Some(2 * A_DAY_MS), ..task(run, agent, RunnerKind::Simulated, Path::new("/")) }
}

/// A worker of a cluster, whose next heartbeat is due tomorrow.
fn of_cluster(world: &Arc<World>, state_dir: &Path) -> WorkerConfig {
    let mut config = config(world, Path::new("/nonexistent"));
    config.state_dir = Some(state_dir.to_owned());
    config.settings.heartbeat_ms = A_DAY_MS;
    config.labels = [("rack".to_owned(), "7".to_owned())].into();
    config
}

fn record(state: &State) -> Option<WorkerInfo> {
    let json = state.directory.get(&("workers".to_owned(), "node-0".to_owned()))?;
    Some(serde_json::from_slice(json).unwrap())
}

async fn heartbeat(world: &World, number: usize) -> Heartbeat {
    world.when("a heartbeat", |state| state.heartbeats.get(number - 1).map(|(beat, _)| beat.clone())).await
}

async fn running(world: &World, agents: usize) {
    world.when("they run", |state| (state.done.len() == agents).then_some(())).await;
}

#[actix_rt::test]
async fn a_worker_tells_of_itself_at_once_and_is_in_the_table_while_it_is_there() {
    let (world, state) = (World::new(agreeable(60_000)), tempfile::tempdir().unwrap());
    let mut config = of_cluster(&world, state.path());
    config.hosts = vec!["db-1".into()];
    let worker = skein_worker::start(config).await.unwrap();
    let first = heartbeat(&world, 1).await;
    let info = first.info.clone().unwrap();
    let expected = WorkerInfo {
        id: WorkerId("node-0.test".into()),
        node: "node-0".into(),
        pools: vec!["default".into()],
        hosts: vec!["db-1".into()],
        slots: 16,
        labels: [("rack".to_owned(), "7".to_owned())].into(),
        draining: false,
        version: info.version.clone(),
    };
    assert_eq!((&info, first.attempts.len(), first.rounds.len()), (&expected, 0, 0));
    assert!(info.version.starts_with(|c: char| c.is_ascii_digit()), "{}", info.version);
    assert_eq!(record(&world.state.lock().unwrap()), Some(expected));
    worker.stop().await;
    assert_eq!(record(&world.state.lock().unwrap()), None);
}

#[actix_rt::test]
async fn a_worker_without_a_state_directory_is_in_no_table() {
    let world = World::new(agreeable(60_000));
    let worker = skein_worker::start(config(&world, Path::new("/nonexistent"))).await.unwrap();
    heartbeat(&world, 1).await;
    assert!(world.state.lock().unwrap().directory.is_empty());
    worker.stop().await;
}

#[actix_rt::test]
async fn reports_that_owners_ask_for_in_one_moment_are_one_heartbeat() {
    tokio::time::pause();
    let (world, state, run) = (World::new(agreeable(2 * A_DAY_MS)), tempfile::tempdir().unwrap(), new_run());
    let worker = skein_worker::start(of_cluster(&world, state.path())).await.unwrap();
    world.heard().await;
    world.dispatch(&slow(&run, 1));
    running(&world, 1).await;
    for round in [3, 1, 2, 3] {
        world.order(WorkerOrder::Report { round });
    }
    let second = heartbeat(&world, 2).await;
    let named: Vec<_> = second.attempts.iter().map(|running| running.attempt.clone()).collect();
    assert_eq!((second.rounds, named), (vec![1, 2, 3], vec![attempt(&run, 1)]));
    world.order(WorkerOrder::Report { round: 4 });
    assert_eq!(heartbeat(&world, 3).await.rounds, [4], "the one after it is another one");
    worker.observe().await;
    assert_eq!(world.state.lock().unwrap().heartbeats.len(), 3);
    worker.stop().await;
}

#[actix_rt::test]
async fn missed_broadcasts_make_a_heartbeat() {
    let (world, state) = (World::new(agreeable(60_000)), tempfile::tempdir().unwrap());
    let worker = skein_worker::start(of_cluster(&world, state.path())).await.unwrap();
    world.heard().await;
    heartbeat(&world, 1).await;
    // More than the channel of the world holds, before the worker looks.
    for _ in 0..100 {
        world.cancel(&Cancel { run: new_run(), epoch: 1, attempt: None });
    }
    heartbeat(&world, 2).await;
    worker.stop().await;
}

/// Extends what belongs to one run and does not mention others, as owners do that share workers.
fn owner_of(run: &RunId) -> Owner {
    let run = run.clone();
    Box::new(move |request| match &request {
        WorkerRequest::Heartbeat(beat) => {
            let ours = beat.attempts.iter().map(|running| running.attempt.clone()).filter(|it| it.run == run);
            Some(OwnerAnswer::Heartbeat(HeartbeatAnswer { extended: ours.collect(), ..HeartbeatAnswer::default() }))
        }
        WorkerRequest::Claim(_) => Some(agree(&request, 1_000)),
    })
}

#[actix_rt::test]
async fn l05_each_owner_speaks_for_its_own_runs_and_what_none_mentions_ends() {
    let (world, one, other, nobodys) = (World::new(agreeable(1_000)), new_run(), new_run(), new_run());
    world.set_owner(owner_of(&one));
    world.add_owner(owner_of(&other));
    let mut config = config(&world, Path::new("/nonexistent"));
    config.settings.heartbeat_ms = 100;
    let worker = skein_worker::start(config).await.unwrap();
    for run in [&one, &other, &nobodys] {
        world.dispatch(&slow(run, 1));
    }
    running(&world, 3).await;
    // Many times the deadline: the two that are extended live on.
    let names = |beat: &Heartbeat| beat.attempts.iter().map(|it| it.attempt.run.clone()).collect::<Vec<_>>();
    let expected = vec![one, other];
    let alike = |state: &State| state.heartbeats.iter().filter(|(beat, _)| names(beat) == expected).count();
    world.when("40 heartbeats of two", |state| (alike(state) >= 40).then_some(())).await;
    let observed = worker.observe().await;
    assert_eq!((observed.attempts, observed.deadlines_passed_total >= 1, world.reports()), (2, true, 0));
    worker.stop().await;
}

#[actix_rt::test]
async fn a08_a_worker_that_is_told_to_drain_says_so_and_finishes_what_it_runs() {
    let (world, state, run) = (World::new(agreeable(2 * A_DAY_MS)), tempfile::tempdir().unwrap(), new_run());
    let worker = skein_worker::start(of_cluster(&world, state.path())).await.unwrap();
    world.heard().await;
    world.dispatch(&slow(&run, 1));
    running(&world, 1).await;
    world.order(WorkerOrder::Drain { worker: "node-1".into() });
    world.order(WorkerOrder::Report { round: 1 });
    let still_working = heartbeat(&world, 2).await;
    assert!(!still_working.info.unwrap().draining, "another one was meant");

    world.order(WorkerOrder::Drain { worker: "node-0".into() });
    let draining = heartbeat(&world, 3).await;
    assert!(draining.info.unwrap().draining);
    assert_eq!(draining.attempts.len(), 1, "what runs goes on");
    let says_so = |state: &State| record(state).filter(|record| record.draining).map(|_| ());
    world.when("the table says so", says_so).await;
    world.dispatch(&slow(&run, 2));
    // It hears its owners still.
    world.cancel(&Cancel { run: run.clone(), epoch: 1, attempt: None });
    tokio::time::timeout(crate::support::DEADLINE, worker.drained()).await.unwrap();
    assert_eq!(world.report(&attempt(&run, 1)).await.end, AttemptEnd::Cancelled);
    let waiting = world.state.lock().unwrap().queues.values().map(|queue| queue.len()).sum::<usize>();
    assert_eq!((waiting, worker.observe().await.attempts), (1, 0));
    worker.stop().await;
    assert_eq!(record(&world.state.lock().unwrap()), None);
}

#[actix_rt::test]
async fn a08_a_worker_drains_by_its_own_id_too() {
    let (world, state) = (World::new(agreeable(60_000)), tempfile::tempdir().unwrap());
    let worker = skein_worker::start(of_cluster(&world, state.path())).await.unwrap();
    world.heard().await;
    world.order(WorkerOrder::Drain { worker: "node-0.test".into() });
    tokio::time::timeout(crate::support::DEADLINE, worker.drained()).await.unwrap();
    worker.stop().await;
}
