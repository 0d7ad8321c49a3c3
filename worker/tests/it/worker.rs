//! The worker's protocol and its end: claims, heartbeats, cancels, reports, and what is left when somebody is killed.

use crate::support::{
    DEADLINE, Owner, State, World, agree, agreeable, attempt, config, eventually, kill, new_run, processes_with, shell,
    task,
};
use skein_common::agent::{Cause, RunnerKind, Simulation};
use skein_common::wire::{
    AttemptEnd, AttemptReport, Cancel, ClaimAnswer, HeartbeatAnswer, OwnerAnswer, Task, WorkerRequest,
};
use skein_common::{AttemptToken, Payload};
use skein_worker::{Observed, WorkerHandle};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

fn simulated(run: &skein_common::RunId, agent: u32) -> Task {
    task(run, agent, RunnerKind::Simulated, Path::new("/"))
}

fn slow(run: &skein_common::RunId, agent: u32) -> Task {
    let simulation = Simulation { latency_ms: 86_400_000, ..Simulation::default() };
    Task { simulation, timeout_ms: Some(100_000_000), ..simulated(run, agent) }
}

async fn observe_until(worker: &WorkerHandle, so: impl Fn(&Observed) -> bool) -> Observed {
    let looking = async {
        loop {
            let observed = worker.observe().await;
            if so(&observed) {
                return observed;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap()
}

fn cause(report: &AttemptReport) -> (Cause, bool) {
    match &report.end {
        AttemptEnd::Failed { cause, retryable, .. } => (*cause, *retryable),
        other => panic!("not failed: {other:?}"),
    }
}

#[actix_rt::test]
async fn a01_simulated_agents_answer_with_text_or_an_instance_of_the_schema() {
    let (world, run) = (World::new(agreeable(60_000)), new_run());
    let worker = skein_worker::start(config(&world, Path::new("/nonexistent"))).await.unwrap();
    world.dispatch(&simulated(&run, 1));
    let report = world.report(&attempt(&run, 1)).await;
    let AttemptEnd::Done { value } = &report.end else { panic!("{report:?}") };
    assert!(value.inline().unwrap().starts_with("simulated answer "), "{value:?}");
    assert_eq!((report.usage.total(), report.token), (110, AttemptToken(1)));

    let schema =
        Some(Payload::json(r#"{"type":"object","required":["n"],"properties":{"n":{"minimum":4,"type":"integer"}}}"#));
    world.dispatch(&Task { schema, ..simulated(&run, 2) });
    let report = world.report(&attempt(&run, 2)).await;
    assert_eq!(report.end, AttemptEnd::Done { value: Payload::json(r#"{"n":4}"#) });

    let simulation = Simulation { fail: 1.0, ..Simulation::default() };
    world.dispatch(&Task { simulation, ..simulated(&run, 3) });
    assert_eq!(cause(&world.report(&attempt(&run, 3)).await), (Cause::Failed, false));

    let timeout_ms = Some(20);
    world.dispatch(&Task { timeout_ms, ..slow(&run, 4) });
    assert_eq!(cause(&world.report(&attempt(&run, 4)).await), (Cause::TimedOut, false));

    world.dispatch(&task(&run, 5, RunnerKind::Llm, Path::new("/")));
    assert_eq!(cause(&world.report(&attempt(&run, 5)).await), (Cause::Failed, false));
    worker.stop().await;
}

#[actix_rt::test]
async fn a_thousand_attempts_use_the_slots_there_are_and_no_more() {
    let (world, run) = (World::new(agreeable(60_000)), new_run());
    let worker = skein_worker::start(config(&world, Path::new("/nonexistent"))).await.unwrap();
    for agent in 1..=1000 {
        world.dispatch(&simulated(&run, agent));
    }
    world.when("1000 reports", |state| (state.reports.len() == 1000).then_some(())).await;
    let agents: BTreeSet<u32> = world.state.lock().unwrap().reports.iter().map(|report| report.attempt.agent).collect();
    assert_eq!(agents.len(), 1000);
    world.when("all are marked done", |state| (state.done.len() == 1000).then_some(())).await;

    for agent in 2001..=2020 {
        world.dispatch(&slow(&run, agent));
    }
    let claims = |state: &State| {
        let of_slow = |request: &&WorkerRequest| matches!(request, WorkerRequest::Claim(c) if c.attempt.agent > 2000);
        state.requests.iter().filter(of_slow).count()
    };
    world.when("16 claims", |state| (claims(state) == 16).then_some(())).await;
    let observed = worker.observe().await;
    assert_eq!((observed.slots_free, observed.attempts, claims(&world.state.lock().unwrap())), (0, 16, 16));
    worker.stop().await;
}

#[actix_rt::test]
async fn a_task_whose_claim_is_refused_is_dropped_and_marked_done() {
    let run = new_run();
    let world = World::new(Box::new(|request| match request {
        WorkerRequest::Claim(claim) if claim.attempt.agent == 1 => Some(OwnerAnswer::Claim(ClaimAnswer::Gone)),
        WorkerRequest::Claim(claim) if claim.attempt.agent == 2 => {
            Some(OwnerAnswer::Heartbeat(HeartbeatAnswer::default()))
        }
        request => Some(agree(&request, 60_000)),
    }));
    let worker = skein_worker::start(config(&world, Path::new("/nonexistent"))).await.unwrap();
    for agent in 1..=3 {
        world.dispatch(&simulated(&run, agent));
    }
    world.when("all are marked done", |state| (state.done.len() == 3).then_some(())).await;
    world.report(&attempt(&run, 3)).await;
    assert_eq!(world.reports(), 1);
    assert_eq!(worker.observe().await.bad_messages_total, 1);
    worker.stop().await;
}

#[actix_rt::test]
async fn nonsense_is_dropped_and_counted() {
    let (world, run) = (World::new(agreeable(60_000)), new_run());
    let worker = skein_worker::start(config(&world, Path::new("/nonexistent"))).await.unwrap();
    world.dispatch(&simulated(&run, 1));
    world.report(&attempt(&run, 1)).await;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for length in 0..100 {
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()[0]
        };
        let bytes: Vec<u8> = (0..length).map(|_| random()).collect();
        world.dispatch_bytes(bytes.clone().into());
        if length < 40 {
            world.broadcast_bytes(&bytes);
        }
    }
    world.when("all are marked done", |state| (state.done.len() == 101).then_some(())).await;
    observe_until(&worker, |observed| observed.bad_messages_total == 140).await;
    world.dispatch(&simulated(&run, 2));
    world.report(&attempt(&run, 2)).await;
    worker.stop().await;
}

#[actix_rt::test]
async fn a_cancel_ends_the_attempts_and_says_so() {
    let (world, run, other) = (World::new(agreeable(60_000)), new_run(), new_run());
    let directory = tempfile::tempdir().unwrap();
    let worker = skein_worker::start(config(&world, directory.path())).await.unwrap();
    world.dispatch(&slow(&run, 1));
    world.dispatch(&slow(&run, 2));
    world.dispatch(&shell(&run, 3, directory.path(), "sleep 86406.25"));
    world.dispatch(&slow(&other, 4));
    eventually("the program runs", || (!processes_with("86406.25").is_empty()).then_some(())).await;
    world.when("4 are marked done", |state| (state.done.len() == 4).then_some(())).await;
    world.cancel(&Cancel { run: run.clone(), epoch: 0, attempt: None });
    world.cancel(&Cancel { run: run.clone(), epoch: 1, attempt: Some(attempt(&run, 1)) });
    assert_eq!(world.report(&attempt(&run, 1)).await.end, AttemptEnd::Cancelled);
    assert_eq!(world.reports(), 1, "an older owner's cancel counts for nothing");
    assert_eq!(worker.observe().await.stale_owners_total, 1);
    world.cancel(&Cancel { run: run.clone(), epoch: 1, attempt: None });
    assert_eq!(world.report(&attempt(&run, 2)).await.end, AttemptEnd::Cancelled);
    assert_eq!(world.report(&attempt(&run, 3)).await.end, AttemptEnd::Cancelled);
    assert_eq!(processes_with("86406.25"), Vec::<i32>::new());
    assert_eq!(worker.observe().await.attempts, 1);
    worker.stop().await;
}

#[actix_rt::test]
async fn l05_an_attempt_that_no_owner_extends_ends_without_a_report() {
    let run = new_run();
    let world = World::new(Box::new(|request| match request {
        WorkerRequest::Claim(_) => Some(agree(&request, 300)),
        WorkerRequest::Heartbeat(_) => None,
    }));
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&world, directory.path());
    config.settings.heartbeat_ms = 100;
    let worker = skein_worker::start(config).await.unwrap();
    let program = "trap 'touch asked' TERM; touch up; sleep 86407.25 & wait";
    world.dispatch(&shell(&run, 1, directory.path(), program));
    eventually("the program runs", || directory.path().join("up").exists().then_some(())).await;
    eventually("it is gone", || processes_with("86407.25").is_empty().then_some(())).await;
    assert!(!directory.path().join("asked").exists(), "another worker may begin it now: there is no time to clear up");
    let observed = observe_until(&worker, |observed| observed.attempts == 0).await;
    assert_eq!((observed.deadlines_passed_total >= 1, world.reports()), (true, 0));
    worker.stop().await;
}

#[actix_rt::test]
async fn heartbeats_name_every_attempt_with_its_token_and_obey_the_answer() {
    let run = new_run();
    let owner: Owner = Box::new(|request| match &request {
        WorkerRequest::Claim(_) => Some(agree(&request, 400)),
        WorkerRequest::Heartbeat(heartbeat) => {
            let (gone, extended): (Vec<_>, Vec<_>) =
                heartbeat.attempts.iter().map(|running| running.attempt.clone()).partition(|it| it.agent == 1);
            Some(OwnerAnswer::Heartbeat(HeartbeatAnswer { extended, gone, ..HeartbeatAnswer::default() }))
        }
    });
    let world = World::new(owner);
    let mut config = config(&world, Path::new("/nonexistent"));
    config.settings.heartbeat_ms = 50;
    let worker = skein_worker::start(config).await.unwrap();
    world.dispatch(&slow(&run, 1));
    world.dispatch(&slow(&run, 2));
    // Many times the deadline: the second one lives on its extensions.
    let beats = |state: &State| {
        let named = state.requests.iter().filter_map(|request| match request {
            WorkerRequest::Heartbeat(heartbeat) => Some(heartbeat.attempts.clone()),
            WorkerRequest::Claim(_) => None,
        });
        let second: Vec<_> = named.filter(|attempts| attempts.len() == 1).collect();
        (second.len() >= 20).then_some(second)
    };
    let second = world.when("20 heartbeats of the second one alone", beats).await;
    assert!(second.iter().all(|attempts| attempts[0].attempt.agent == 2 && attempts[0].token == AttemptToken(2)));
    assert_eq!((worker.observe().await.attempts, world.reports()), (1, 0));
    worker.stop().await;
}

#[actix_rt::test]
async fn an_owner_older_than_the_newest_is_not_obeyed() {
    let run = new_run();
    let world = World::new(Box::new(|request| match request {
        WorkerRequest::Claim(claim) => Some(OwnerAnswer::Claim(ClaimAnswer::Go {
            token: AttemptToken(1),
            epoch: if claim.attempt.agent == 1 { 5 } else { 4 },
            deadline_ms: 60_000,
        })),
        request @ WorkerRequest::Heartbeat(_) => Some(agree(&request, 60_000)),
    }));
    let worker = skein_worker::start(config(&world, Path::new("/nonexistent"))).await.unwrap();
    world.dispatch(&simulated(&run, 1));
    world.report(&attempt(&run, 1)).await;
    // A task of the older owner is not even claimed; one whose claim an older owner answers is not carried out.
    world.dispatch(&simulated(&run, 2));
    world.dispatch(&Task { epoch: 5, ..simulated(&run, 3) });
    world.when("all are marked done", |state| (state.done.len() == 3).then_some(())).await;
    let observed = worker.observe().await;
    assert_eq!((world.reports(), observed.stale_owners_total), (1, 2));
    worker.stop().await;
}

#[actix_rt::test]
async fn a_report_is_published_until_it_is_accepted() {
    let (world, run) = (World::new(agreeable(60_000)), new_run());
    world.state.lock().unwrap().publish_failures = 3;
    let worker = skein_worker::start(config(&world, Path::new("/nonexistent"))).await.unwrap();
    world.dispatch(&simulated(&run, 1));
    world.report(&attempt(&run, 1)).await;
    assert_eq!(world.reports(), 1);
    worker.stop().await;
}

#[actix_rt::test]
async fn a08_a_worker_that_drains_finishes_what_it_runs_and_takes_nothing_new() {
    let (world, run) = (World::new(agreeable(60_000)), new_run());
    let directory = tempfile::tempdir().unwrap();
    let worker = skein_worker::start(config(&world, directory.path())).await.unwrap();
    let line = "touch up; while [ ! -e go ]; do sleep 0.01; done; echo finished";
    world.dispatch(&shell(&run, 1, directory.path(), line));
    eventually("the program runs", || directory.path().join("up").exists().then_some(())).await;
    let draining = actix_rt::spawn(worker.clone().drain());
    // Draining began when the worker answers a question that was asked after it.
    tokio::task::yield_now().await;
    worker.observe().await;
    world.dispatch(&simulated(&run, 2));
    std::fs::write(directory.path().join("go"), "").unwrap();
    tokio::time::timeout(DEADLINE, draining).await.unwrap().unwrap();
    let report = world.report(&attempt(&run, 1)).await;
    assert_eq!(report.end, AttemptEnd::Done { value: Payload::text("finished") });
    assert_eq!(world.state.lock().unwrap().queues.values().map(|queue| queue.len()).sum::<usize>(), 1);
}

#[actix_rt::test]
async fn a_worker_that_stops_leaves_no_process_and_says_what_it_lost() {
    let (world, run) = (World::new(agreeable(60_000)), new_run());
    let directory = tempfile::tempdir().unwrap();
    let worker = skein_worker::start(config(&world, directory.path())).await.unwrap();
    world.dispatch(&shell(&run, 1, directory.path(), "(setsid sleep 86408.25 &); touch up; sleep 86408.25"));
    eventually("the program runs", || directory.path().join("up").exists().then_some(())).await;
    worker.stop().await;
    assert_eq!(processes_with("86408.25"), Vec::<i32>::new());
    assert_eq!(cause(&world.report(&attempt(&run, 1)).await), (Cause::Lost, true));
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().flatten().map(|it| it.file_name()).collect();
    assert_eq!(left, ["up"], "the lock is gone");
}

#[actix_rt::test]
async fn a02_a_keeper_that_is_killed_leaves_nothing_and_its_attempts_are_lost() {
    let (world, run) = (World::new(agreeable(60_000)), new_run());
    let directory = tempfile::tempdir().unwrap();
    let worker = skein_worker::start(config(&world, directory.path())).await.unwrap();
    let mut bystander = Command::new("sleep").arg("86410.25").spawn().unwrap();
    let line = "(setsid sh -c 'sleep 86409.25 & sleep 86409.25' &); echo $PPID > up; sleep 86409.25";
    world.dispatch(&shell(&run, 1, directory.path(), line));
    let keeper = || std::fs::read_to_string(directory.path().join("up")).ok()?.trim().parse::<i32>().ok();
    let keeper = eventually("the program runs", keeper).await;
    kill(keeper);
    assert_eq!(cause(&world.report(&attempt(&run, 1)).await), (Cause::Lost, true));
    assert_eq!(processes_with("86409.25"), Vec::<i32>::new());
    world.dispatch(&shell(&run, 2, directory.path(), "echo again"));
    let report = world.report(&attempt(&run, 2)).await;
    assert_eq!(report.end, AttemptEnd::Done { value: Payload::text("again") });
    assert!(bystander.try_wait().unwrap().is_none(), "another child of this process was touched");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    worker.stop().await;
}

/// Not a test: a worker process for the tests below to kill, which run this binary again.
#[ignore = "is started by other tests"]
#[actix_rt::test]
async fn stand_in_worker() {
    let Ok(directory) = std::env::var("STAND_IN_DIRECTORY") else { return };
    let line = std::env::var("STAND_IN_LINE").unwrap();
    let run = std::env::var("STAND_IN_RUN").unwrap().parse().unwrap();
    let world = World::new(agreeable(60_000));
    let _worker = skein_worker::start(config(&world, Path::new(&directory))).await.unwrap();
    world.dispatch(&shell(&run, 1, Path::new(&directory), &line));
    world.report(&attempt(&run, 1)).await;
    std::future::pending().await
}

fn start_stand_in(directory: &Path, run: &skein_common::RunId, line: &str) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "worker::stand_in_worker", "--ignored"]);
    command.env("STAND_IN_DIRECTORY", directory).env("STAND_IN_RUN", run.as_str()).env("STAND_IN_LINE", line);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[actix_rt::test]
async fn a08_a_worker_that_is_killed_leaves_nothing() {
    let (directory, run) = (tempfile::tempdir().unwrap(), new_run());
    let line = "(setsid sh -c 'trap \"\" TERM HUP; sleep 86411.25 & sleep 86411.25' &); touch up; sleep 86411.25";
    let mut worker = start_stand_in(directory.path(), &run, line);
    eventually("the program runs", || directory.path().join("up").exists().then_some(())).await;
    worker.kill().unwrap();
    worker.wait().unwrap();
    eventually("all is gone", || processes_with("86411.25").is_empty().then_some(())).await;
    let lock = directory.path().join(format!("{run}.attempts"));
    eventually("the lock is gone", || (!lock.exists()).then_some(())).await;
}

#[actix_rt::test]
async fn a_new_owner_waits_for_the_processes_of_the_one_before() {
    let (directory, run) = (tempfile::tempdir().unwrap(), new_run());
    let mut first = start_stand_in(directory.path(), &run, "touch up; sleep 86412.25");
    eventually("the program runs", || directory.path().join("up").exists().then_some(())).await;

    let world = World::new(agreeable(60_000));
    let mut config = config(&world, directory.path());
    config.settings.attempts_lock_wait_ms = 200;
    let impatient = skein_worker::start(config.clone()).await.unwrap();
    world.dispatch(&shell(&run, 2, directory.path(), "touch never"));
    let report = world.report(&attempt(&run, 2)).await;
    let AttemptEnd::Failed { cause: Cause::Lost, message, retryable: true, .. } = &report.end else {
        panic!("{report:?}");
    };
    assert!(message.contains("still run") && message.contains("(sleep)"), "{message}");
    assert!(!directory.path().join("never").exists());
    impatient.stop().await;

    config.settings.attempts_lock_wait_ms = 60_000;
    let patient = skein_worker::start(config).await.unwrap();
    world.dispatch(&shell(&run, 3, directory.path(), "pgrep -f '^sleep 86412.25' | wc -l"));
    world.when("the third one is claimed", |state| (state.done.len() == 2).then_some(())).await;
    first.kill().unwrap();
    first.wait().unwrap();
    let report = world.report(&attempt(&run, 3)).await;
    assert_eq!(report.end, AttemptEnd::Done { value: Payload::text("0") });
    patient.release_run(&run).await;
    let lock = directory.path().join(format!("{run}.attempts"));
    eventually("the lock is given back", || (!lock.exists()).then_some(())).await;
    patient.stop().await;
}

#[actix_rt::test]
async fn r04_what_a_killed_worker_and_its_killed_keeper_leave_is_ended_by_the_next_owner() {
    let (directory, run) = (tempfile::tempdir().unwrap(), new_run());
    let mut first =
        start_stand_in(directory.path(), &run, "echo $PPID > up; (setsid sleep 86413.25 &); sleep 86413.25");
    let keeper = || std::fs::read_to_string(directory.path().join("up")).ok()?.trim().parse::<i32>().ok();
    let keeper = eventually("the program runs", keeper).await;
    first.kill().unwrap();
    kill(keeper);
    first.wait().unwrap();

    let world = World::new(agreeable(60_000));
    let worker = skein_worker::start(config(&world, directory.path())).await.unwrap();
    world.dispatch(&shell(&run, 2, directory.path(), "pgrep -f '^sleep 86413.25' | wc -l"));
    let report = world.report(&attempt(&run, 2)).await;
    assert_eq!(report.end, AttemptEnd::Done { value: Payload::text("0") });
    worker.stop().await;
    assert_eq!(processes_with("86413.25"), Vec::<i32>::new());
}
