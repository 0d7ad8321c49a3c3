//! Metrics of a worker: its slots as they are, and what came for nothing.

use crate::support::{World, agree, attempt, config, new_run, task};
use skein_common::AttemptToken;
use skein_common::agent::{RunnerKind, Simulation};
use skein_common::config::WorkerSettings;
use skein_common::metrics::{Deliveries, Meters};
use skein_common::wire::{ClaimAnswer, OwnerAnswer, Task, WorkerRequest};
use skein_worker::Metrics;
use std::path::Path;

fn has(meters: &Meters, line: &str) -> bool {
    meters.text().unwrap().lines().any(|there| there == line)
}

#[actix_rt::test]
async fn slots_are_told_as_they_are_and_what_comes_twice_or_too_late_is_counted() {
    let (meters, run) = (Meters::default(), new_run());
    let deliveries = Deliveries::register(&meters).unwrap();
    let metrics = Metrics::register(&meters, deliveries).unwrap();
    let world = World::new(Box::new(|request| match request {
        WorkerRequest::Claim(_) => {
            let (token, deadline_ms) = (AttemptToken(1), 60_000);
            Some(OwnerAnswer::Claim(ClaimAnswer::Go { token, epoch: 5, deadline_ms }))
        }
        request @ WorkerRequest::Heartbeat(_) => Some(agree(&request, 60_000)),
    }));
    let mut config = config(&world, Path::new("/nonexistent"));
    config.settings = WorkerSettings { slots: 3, ..config.settings };
    config.metrics = metrics;
    let worker = skein_worker::start(config).await.unwrap();
    let of_epoch = |agent, epoch| Task { epoch, ..task(&run, agent, RunnerKind::Simulated, Path::new("/")) };
    let simulation = Simulation { latency_ms: 86_400_000, ..Simulation::default() };
    let slow = Task { simulation, timeout_ms: Some(100_000_000), ..of_epoch(1, 5) };
    world.dispatch(&slow);
    world.when("it is marked done", |state| (state.done.len() == 1).then_some(())).await;
    assert!(
        has(&meters, "skein_worker_slots{state=\"busy\"} 1") && has(&meters, "skein_worker_slots{state=\"free\"} 2")
    );
    // The same again, and one of an owner that was replaced.
    world.dispatch(&slow);
    world.dispatch(&of_epoch(2, 4));
    world.dispatch(&of_epoch(3, 5));
    world.report(&attempt(&run, 3)).await;
    assert!(has(&meters, "skein_redeliveries_total 1"), "{}", meters.text().unwrap());
    assert!(has(&meters, "skein_stale_answers_total{kind=\"owner\"} 1"), "{}", meters.text().unwrap());
    worker.stop().await;
    assert!(has(&meters, "skein_worker_slots{state=\"free\"} 3"), "{}", meters.text().unwrap());
}
