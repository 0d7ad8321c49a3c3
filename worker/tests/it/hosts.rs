//! One worker for many hosts.

use crate::bench::{failure, text};
use crate::support::{World, agreeable, attempt, config, new_run, shell, task};
use skein_common::agent::{Cause, RunnerKind};
use skein_common::ports::Target;
use skein_common::wire::{AttemptEnd, Task, encode};
use skein_worker::WorkerError;
use skein_worker::host_pattern::expand_hosts;
use std::path::{Path, PathBuf};

fn pinned(task: Task, host: &str) -> Task {
    Task { host: Some(host.to_owned()), ..task }
}

#[actix_rt::test]
async fn c23_a_task_for_a_host_works_in_the_folder_of_the_host() {
    let (world, run, directory) = (World::new(agreeable(60_000)), new_run(), tempfile::tempdir().unwrap());
    let fleet = directory.path().canonicalize().unwrap();
    let mut config = config(&world, &fleet.join("attempts"));
    config.hosts = vec!["web-1".into(), "web-2".into()];
    config.root = Some(fleet.join("{host}"));
    for host in &config.hosts {
        std::fs::create_dir(fleet.join(host)).unwrap();
    }
    let worker = skein_worker::start(config).await.unwrap();
    for (agent, host) in [(1, "web-1"), (2, "web-2")] {
        let task = pinned(shell(&run, agent, &fleet, "pwd"), host);
        world.dispatch_to(Target::Host(host.into()), encode(&task).unwrap());
        assert_eq!(Path::new(text(&world.report(&attempt(&run, agent)).await).trim()), fleet.join(host));
    }
    world.dispatch(&shell(&run, 3, &fleet, "pwd"));
    let of_no_host = world.report(&attempt(&run, 3)).await;
    assert_eq!(Path::new(text(&of_no_host).trim()), fleet, "the project");
    worker.stop().await;
}

#[actix_rt::test]
async fn c23_a_task_for_a_host_that_is_not_served_here_is_refused() {
    let (world, run, directory) = (World::new(agreeable(60_000)), new_run(), tempfile::tempdir().unwrap());
    let mut config = config(&world, &directory.path().join("attempts"));
    config.hosts = vec!["web-1".into()];
    config.root = Some(directory.path().join("{host}"));
    let worker = skein_worker::start(config).await.unwrap();
    let hosts = ["web-2", "", ".", "..", "../web-1", "web-1/..", "/etc", "web-1\0", "{host}"];
    for (agent, host) in (1..).zip(hosts) {
        world.dispatch(&pinned(shell(&run, agent, directory.path(), "touch never"), host));
        let report = world.report(&attempt(&run, agent)).await;
        let (cause, detail, message, retryable) = failure(&report);
        assert_eq!((cause, detail, retryable), (Cause::Failed, "wrong_host", false), "{host:?}");
        assert!(message.contains("host"), "{message}");
    }
    assert!(!directory.path().join("never").exists());
    worker.stop().await;
}

#[actix_rt::test]
async fn host_names_that_could_leave_a_folder_are_refused_at_the_start() {
    let world = World::new(agreeable(60_000));
    for host in ["", ".", "..", "a..b", "../etc", "a/b", "/", "a\0b"] {
        let mut config = config(&world, Path::new("/nonexistent"));
        config.hosts = vec!["web-1".into(), host.into()];
        let refused = skein_worker::start(config).await.unwrap_err();
        assert!(matches!(&refused, WorkerError::BadHost { .. }), "{host:?}: {refused}");
    }
    let mut config = config(&world, Path::new("/nonexistent"));
    config.root = Some(PathBuf::from("/fleet/{host}"));
    let refused = skein_worker::start(config).await.unwrap_err().to_string();
    assert!(refused.contains("/fleet/{host}") && refused.contains("--host"), "{refused}");
    assert_eq!(world.state.lock().unwrap().requests.len(), 0);
}

#[actix_rt::test]
async fn one_worker_serves_a_thousand_hosts() {
    let (world, run) = (World::new(agreeable(60_000)), new_run());
    let mut config = config(&world, Path::new("/nonexistent"));
    config.hosts = expand_hosts(&["nginx-[0001-1000]"]).unwrap();
    config.pools = Vec::new();
    let hosts = config.hosts.clone();
    let worker = skein_worker::start(config).await.unwrap();
    for (agent, host) in (1..).zip(&hosts) {
        let task = pinned(task(&run, agent, RunnerKind::Simulated, Path::new("/")), host);
        world.dispatch_to(Target::Host(host.clone()), encode(&task).unwrap());
    }
    world.when("1000 reports", |state| (state.reports.len() == 1000).then_some(())).await;
    let reports = world.state.lock().unwrap().reports.clone();
    assert!(reports.iter().all(|report| matches!(report.end, AttemptEnd::Done { .. })));
    assert_eq!(worker.observe().await.slots_free, 16);
    worker.stop().await;
}
