//! Tasks that are delivered twice.

use crate::support::{World, agreeable, attempt, config, new_run, task};
use skein_common::agent::{RunnerKind, Simulation};
use skein_common::config::WorkerSettings;
use skein_common::ports::{Target, TaskDelivery};
use skein_common::wire::{Task, encode};
use std::path::Path;

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
