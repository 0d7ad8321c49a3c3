//! Reports that are not accepted at once.

use crate::support::{State, World, agree, agreeable, attempt, config, eventually, new_run, task};
use skein_common::agent::RunnerKind;
use skein_common::wire::{AttemptRef, HeartbeatAnswer, OwnerAnswer, WorkerOrder, WorkerRequest};
use skein_worker::{WorkerConfig, WorkerHandle};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Bench {
    world: Arc<World>,
    state_dir: tempfile::TempDir,
    attempt: AttemptRef,
}

impl Bench {
    fn new() -> Bench {
        let attempt = attempt(&new_run(), 1);
        Bench { world: World::new(agreeable(60_000)), state_dir: tempfile::tempdir().unwrap(), attempt }
    }

    /// A bench on which nothing is accepted.
    fn refusing() -> Bench {
        let bench = Bench::new();
        bench.world.change(|state| state.publish_failures = usize::MAX);
        bench
    }

    fn accept_again(&self) {
        self.world.change(|state| {
            state.publish_failures = 0;
            state.publish_hangs = false;
        });
    }

    fn config(&self) -> WorkerConfig {
        let state_dir = Some(self.state_dir.path().to_owned());
        WorkerConfig { state_dir, ..config(&self.world, Path::new("/nonexistent")) }
    }

    async fn start(&self) -> WorkerHandle {
        skein_worker::start(self.config()).await.unwrap()
    }

    fn dispatch(&self) {
        self.world.dispatch(&task(&self.attempt.run, 1, RunnerKind::Simulated, Path::new("/")));
    }

    fn outbox(&self) -> PathBuf {
        self.state_dir.path().join("outbox")
    }

    /// What is kept, without what was moved aside.
    fn kept(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.outbox()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_file()).collect()
    }

    /// The one report that is kept, whole.
    async fn kept_report(&self) -> PathBuf {
        let whole = |kept: Vec<PathBuf>| kept.into_iter().find(|path| path.extension().is_none());
        eventually("the report is kept", || whole(self.kept())).await
    }

    async fn nothing_is_kept(&self) {
        eventually("nothing is kept", || self.kept().is_empty().then_some(())).await;
    }

    /// A report that a worker which is gone has kept.
    async fn left_behind(&self) -> PathBuf {
        let worker = self.start().await;
        self.dispatch();
        let path = self.kept_report().await;
        worker.stop().await;
        assert_eq!(self.kept(), [path.as_path()]);
        path
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[actix_rt::test]
async fn a_report_that_is_refused_is_kept_until_it_is_accepted() {
    let bench = Bench::refusing();
    let worker = bench.start().await;
    bench.dispatch();
    let path = bench.kept_report().await;
    assert_eq!((mode(&bench.outbox()), mode(&path)), (0o700, 0o600));
    assert_eq!((bench.world.reports(), worker.observe().await.attempts), (0, 1), "it is named in heartbeats still");
    bench.accept_again();
    bench.world.report(&bench.attempt).await;
    bench.nothing_is_kept().await;
    assert_eq!(bench.world.reports(), 1);
    worker.stop().await;
}

#[actix_rt::test]
async fn a_report_that_is_not_answered_is_kept_until_it_is_accepted() {
    let bench = Bench::new();
    bench.world.change(|state| state.publish_hangs = true);
    let worker = bench.start().await;
    bench.dispatch();
    bench.kept_report().await;
    bench.accept_again();
    bench.world.report(&bench.attempt).await;
    bench.nothing_is_kept().await;
    worker.stop().await;
    assert_eq!(bench.world.reports(), 1);
}

#[actix_rt::test]
async fn r04_what_a_worker_kept_is_published_before_the_next_one_is_heard_of() {
    let bench = Bench::refusing();
    bench.left_behind().await;
    let before = bench.world.state.lock().unwrap().heartbeats.len();
    bench.accept_again();
    let worker = bench.start().await;
    let reports =
        bench.world.when("a heartbeat", |state| state.heartbeats.get(before).map(|(_, reports)| *reports)).await;
    assert_eq!(reports, 1);
    assert_eq!(bench.world.report(&bench.attempt).await.attempt, bench.attempt);
    bench.nothing_is_kept().await;
    worker.stop().await;
}

#[actix_rt::test]
async fn r04_a_start_does_not_wait_for_ever_for_what_was_kept() {
    let bench = Bench::refusing();
    bench.left_behind().await;
    let before = bench.world.state.lock().unwrap().heartbeats.len();
    let worker = bench.start().await;
    bench.world.when("a heartbeat", |state| (state.heartbeats.len() > before).then_some(())).await;
    assert_eq!(bench.world.reports(), 0);
    bench.accept_again();
    bench.world.report(&bench.attempt).await;
    bench.nothing_is_kept().await;
    worker.stop().await;
}

#[actix_rt::test]
async fn r04_damaged_files_are_moved_aside() {
    let bench = Bench::refusing();
    let path = bench.left_behind().await;
    let report = std::fs::read(&path).unwrap();
    let changed = report.iter().rev().copied().collect::<Vec<_>>();
    let mut flipped = report.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let outbox = bench.outbox();
    let bad =
        [("a", Vec::new()), ("b", changed), ("c", flipped), ("d", report[..report.len() / 2].to_vec()), ("e", report)];
    for (name, bytes) in &bad {
        // The last one is whole, under a name that is not its own.
        std::fs::write(outbox.join(name.repeat(64)), bytes).unwrap();
    }
    std::fs::write(path.with_extension("new"), "half a rep").unwrap();
    bench.accept_again();
    let worker = bench.start().await;
    bench.world.report(&bench.attempt).await;
    bench.nothing_is_kept().await;
    let mut aside: Vec<_> =
        std::fs::read_dir(outbox.join("damaged")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    aside.sort();
    assert_eq!(aside, bad.map(|(name, _)| std::ffi::OsString::from(name.repeat(64))));
    assert_eq!(bench.world.reports(), 1);
    worker.stop().await;
}

#[actix_rt::test]
async fn a_report_of_an_attempt_that_no_owner_vouches_for_any_more_goes_its_way() {
    let bench = Bench::refusing();
    bench.world.set_owner(Box::new(|request| match &request {
        WorkerRequest::Claim(_) => Some(agree(&request, 1_000)),
        WorkerRequest::Heartbeat(_) => None,
    }));
    let mut config = bench.config();
    config.settings.heartbeat_ms = 100;
    let worker = skein_worker::start(config).await.unwrap();
    bench.dispatch();
    bench.kept_report().await;
    while worker.observe().await.attempts > 0 {
        // Each heartbeat that is not answered is a chance for it to end.
        let heartbeats = bench.world.state.lock().unwrap().heartbeats.len();
        bench.world.when("a heartbeat", |state| (state.heartbeats.len() > heartbeats).then_some(())).await;
    }
    bench.kept_report().await;
    // A new owner would begin anew what it is not told of.
    bench.world.order(WorkerOrder::Report { round: 7 });
    let heard = bench.world.state.lock().unwrap().heartbeats.len();
    let later = |count| move |state: &State| (state.heartbeats.len() >= heard + count).then_some(());
    bench.world.when("two more heartbeats", later(2)).await;
    let reported = |state: &State| state.heartbeats.iter().any(|(beat, _)| beat.rounds == [7]);
    assert!(!reported(&bench.world.state.lock().unwrap()), "its result is still here");
    bench.accept_again();
    bench.world.report(&bench.attempt).await;
    bench.world.when("it says that it has handed over everything", |state| reported(state).then_some(())).await;
    bench.nothing_is_kept().await;
    worker.stop().await;
}

#[actix_rt::test]
async fn a_report_of_an_attempt_that_its_owner_disowns_is_dropped() {
    let bench = Bench::refusing();
    let mut config = bench.config();
    config.settings.heartbeat_ms = 100;
    let worker = skein_worker::start(config).await.unwrap();
    bench.dispatch();
    bench.kept_report().await;
    bench.world.set_owner(Box::new(|request| match &request {
        WorkerRequest::Claim(_) => Some(agree(&request, 60_000)),
        WorkerRequest::Heartbeat(beat) => {
            let gone = beat.attempts.iter().map(|running| running.attempt.clone()).collect();
            Some(OwnerAnswer::Heartbeat(HeartbeatAnswer { gone, ..HeartbeatAnswer::default() }))
        }
    }));
    bench.nothing_is_kept().await;
    worker.stop().await;
    assert_eq!((bench.kept(), bench.world.reports()), (Vec::new(), 0));
}

#[actix_rt::test]
async fn a_state_directory_that_cannot_be_used_is_named() {
    let bench = Bench::new();
    let file = bench.state_dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let config = WorkerConfig { state_dir: Some(file.clone()), ..bench.config() };
    let refused = skein_worker::start(config).await.unwrap_err().to_string();
    assert!(refused.contains(&file.display().to_string()), "{refused}");
}
