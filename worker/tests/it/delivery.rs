//! Tasks that are delivered twice, and claims that are asked twice.

use crate::support::{State, World, agree, agreeable, attempt, config, new_run, task};
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::agent::{RunnerKind, Simulation};
use skein_common::config::WorkerSettings;
use skein_common::ports::{Answers, Control, ControlError, ControlServer, FeedSubscription, Target, TaskDelivery};
use skein_common::wire::{Task, WorkerOrder, WorkerRequest, encode};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

#[actix_rt::test]
async fn a_task_that_is_delivered_twice_while_no_slot_is_free_is_carried_out_once() {
    let (world, run) = (World::new(agreeable(60_000)), new_run());
    let mut config = config(&world, Path::new("/nonexistent"));
    config.settings = WorkerSettings { slots: 2, ..config.settings };
    config.pools = vec!["default".into(), "other".into()];
    let worker = skein_worker::start(config).await.unwrap();
    let quick = |agent| task(&run, agent, RunnerKind::Simulated, Path::new("/"));
    let simulation = Simulation { latency_ms: 86_400_000, ..Simulation::default() };
    let slow = Task { simulation, timeout_ms: Some(100_000_000), ..quick(2) };
    // Both pulls answer with as many tasks as there are slots.
    world.put([("default", quick(1)), ("default", slow), ("other", quick(3)), ("other", quick(3))]);
    world.report(&attempt(&run, 3)).await;
    world.put([("default", quick(4))]);
    world.report(&attempt(&run, 4)).await;
    let reports = world.state.lock().unwrap().reports.clone();
    let of_third = reports.iter().filter(|report| report.attempt.agent == 3).count();
    assert_eq!(of_third, 1);
    worker.stop().await;
}

fn claims(state: &State, agent: u32) -> usize {
    let claims = state.requests.iter().filter(|it| matches!(it, WorkerRequest::Claim(c) if c.attempt.agent == agent));
    claims.count()
}

fn simulated(run: &RunId, agent: u32) -> Task {
    task(run, agent, RunnerKind::Simulated, Path::new("/"))
}

#[actix_rt::test]
async fn a_claim_that_nobody_answers_is_asked_again() {
    let run = new_run();
    let mut unanswered = 3;
    let world = World::new(Box::new(move |request| match &request {
        WorkerRequest::Claim(_) if unanswered > 0 => {
            unanswered -= 1;
            None
        }
        _ => Some(agree(&request, 60_000)),
    }));
    let worker = skein_worker::start(config(&world, Path::new("/nonexistent"))).await.unwrap();
    world.dispatch(&simulated(&run, 1));
    world.report(&attempt(&run, 1)).await;
    assert_eq!(claims(&world.state.lock().unwrap(), 1), 4);
    worker.stop().await;
}

/// With one slot: the second task begins when the first one has given up.
#[actix_rt::test]
async fn a_task_whose_claim_nobody_ever_answers_is_left_to_others() {
    tokio::time::pause();
    let run = new_run();
    let world = World::new(Box::new(|request| match &request {
        WorkerRequest::Claim(claim) if claim.attempt.agent == 1 => None,
        _ => Some(agree(&request, 60_000)),
    }));
    let mut config = config(&world, Path::new("/nonexistent"));
    config.settings.slots = 1;
    let worker = skein_worker::start(config).await.unwrap();
    world.dispatch(&simulated(&run, 1));
    world.dispatch(&simulated(&run, 2));
    world.report(&attempt(&run, 2)).await;
    let (done, claims) = world.when("a report", |state| Some((state.done.clone(), claims(state, 1)))).await;
    assert_eq!((world.reports(), done), (1, vec![2]));
    // 100, 200, 400, 800 ms, then each second of the ten.
    assert!((10..=15).contains(&claims), "{claims} claims");
    worker.stop().await;
}

#[actix_rt::test]
async fn a_task_that_comes_again_while_its_claim_is_not_answered_is_not_marked_done() {
    let run = new_run();
    let world = World::new(Box::new(|request| match &request {
        WorkerRequest::Claim(claim) if claim.attempt.agent == 1 => None,
        _ => Some(agree(&request, 60_000)),
    }));
    let mut config = config(&world, Path::new("/nonexistent"));
    config.pools = vec!["default".into(), "other".into()];
    let worker = skein_worker::start(config).await.unwrap();
    world.put([("default", simulated(&run, 1))]);
    world.when("it is claimed", |state| (claims(state, 1) > 0).then_some(())).await;
    world.put([("other", simulated(&run, 1)), ("other", simulated(&run, 2))]);
    world.report(&attempt(&run, 2)).await;
    world.set_owner(agreeable(60_000));
    world.report(&attempt(&run, 1)).await;
    assert_eq!(world.state.lock().unwrap().done, [3, 1]);
    worker.stop().await;
}

impl World {
    /// Makes tasks of pools available in the same moment.
    fn put<const N: usize>(&self, tasks: [(&str, Task); N]) {
        let mut state = self.state.lock().unwrap();
        for (pool, task) in tasks {
            state.deliveries += 1;
            let delivery = TaskDelivery { delivery: state.deliveries, task: encode(&task).unwrap() };
            state.queues.entry(Target::Pool(pool.into())).or_default().push_back(delivery);
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

/// Takes the first question with it.
struct DiesWithQuestion {
    inner: Arc<dyn Control>,
    asked: Notify,
    is_dead: AtomicBool,
}

#[async_trait]
impl Control for DiesWithQuestion {
    async fn request(&self, run: &RunId, request: Bytes) -> Result<Bytes, ControlError> {
        if !self.is_dead.swap(true, Ordering::Relaxed) {
            self.asked.notify_one();
            std::future::pending::<()>().await;
        }
        self.inner.request(run, request).await
    }

    async fn ask_owners(&self, request: Bytes) -> Result<Box<dyn Answers>, ControlError> {
        self.inner.ask_owners(request).await
    }

    async fn serve(&self) -> Result<Box<dyn ControlServer>, ControlError> {
        self.inner.serve().await
    }

    async fn broadcast(&self, message: Bytes) -> Result<(), ControlError> {
        self.inner.broadcast(message).await
    }

    async fn subscribe(&self) -> Result<Box<dyn FeedSubscription>, ControlError> {
        self.inner.subscribe().await
    }
}

/// The bus would tell the worker only much later that nobody answers, and the worker would leave the task to others.
#[actix_rt::test]
async fn a_claim_that_died_with_its_owner_is_asked_again_when_the_next_one_comes() {
    let (world, run) = (World::new(agreeable(60_000)), new_run());
    let mut config = config(&world, Path::new("/nonexistent"));
    let inner = config.ports.control.clone();
    let control = Arc::new(DiesWithQuestion { inner, asked: Notify::new(), is_dead: AtomicBool::new(false) });
    config.ports.control = control.clone();
    let worker = skein_worker::start(config).await.unwrap();
    world.heard().await;
    world.dispatch(&simulated(&run, 1));
    control.asked.notified().await;
    world.order(WorkerOrder::Report { round: 1 });
    world.report(&attempt(&run, 1)).await;
    assert_eq!(claims(&world.state.lock().unwrap(), 1), 1);
    worker.stop().await;
}
