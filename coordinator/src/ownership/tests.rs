//! Several processes on one store: who owns what, whatever becomes of them.

use super::fakes::{LEASE, Process, SHARDS, Store};
use super::fenced_journal::FencedJournal;
use super::holdings::Holdings;
use super::names::{member_name, shard_name};
use super::terms::Terms;
use crate::retention::REMOVALS_TABLE;
use crate::submission::RUNS_TABLE;
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{Journal, JournalError, Lease, LeaseError, Leases as _, Shard, shard_of};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::Instant;
use uuid::Uuid;

/// Between two looks at the whole cluster.
const STEP: Duration = Duration::from_millis(10);
/// Longer than anything here takes, by the clock of the test.
const LONG: Duration = Duration::from_secs(30);

/// Runs a test in which time goes by as soon as everybody waits.
fn in_time<F: Future>(test: impl FnOnce(Arc<Store>) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    LocalSet::new().block_on(&runtime, async { test(Arc::default()).await })
}

/// A run of this shard.
fn run_of(shard: Shard) -> RunId {
    static RUNS: LazyLock<Vec<RunId>> = LazyLock::new(|| (0..SHARDS).map(find_run_of).collect());
    RUNS[usize::from(shard)].clone()
}

fn find_run_of(shard: Shard) -> RunId {
    let fits = |number: u128| {
        let run = RunId::from_uuid(Uuid::from_u128(number));
        (shard_of(&run, SHARDS) == shard).then_some(run)
    };
    (0..).find_map(fits).expect("a run")
}

/// No shard belongs to two, and to none that the store does not know as its holder. No run lives in two processes, but
/// for those that do nothing.
fn assert_fenced(store: &Store, processes: &[Process]) {
    for shard in 0..SHARDS {
        let run = run_of(shard);
        let owners: Vec<&str> =
            processes.iter().filter(|process| process.holdings.may_write(&run)).map(Process::node).collect();
        assert!(owners.len() <= 1, "shard {shard} belongs to {owners:?}");
        if let Some(owner) = owners.first() {
            assert_eq!(store.holder(&shard_name(shard)).as_deref(), Some(*owner), "shard {shard}");
        }
    }
    let mut live = BTreeSet::new();
    for process in processes.iter().filter(|process| !process.is_stopped()) {
        for run in process.runs.list() {
            assert!(live.insert(run.clone()), "{run} lives twice");
        }
    }
}

async fn watch(store: &Store, processes: &[Process], time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert_fenced(store, processes);
        tokio::time::sleep(STEP).await;
    }
}

/// Until this holds; the fence holds meanwhile.
async fn until(store: &Store, processes: &[Process], holds: impl Fn(&[Process]) -> bool) {
    let end = Instant::now() + LONG;
    while !holds(processes) {
        assert_fenced(store, processes);
        let owned: Vec<usize> = processes.iter().map(Process::owned).collect();
        assert!(Instant::now() < end, "owned in the end: {owned:?}");
        tokio::time::sleep(STEP).await;
    }
}

/// Everybody who runs has an equal part, and no shard is left over.
fn is_balanced(processes: &[Process]) -> bool {
    let owned: Vec<usize> =
        processes.iter().filter(|process| !process.is_stopped()).map(|process| process.holdings_kept()).collect();
    let (least, most) = (owned.iter().min().copied().unwrap_or(0), owned.iter().max().copied().unwrap_or(0));
    owned.iter().sum::<usize>() == usize::from(SHARDS) && most - least <= 1
}

impl Process {
    /// Shards whose runs and questions come here; nothing else is attached.
    fn holdings_kept(&self) -> usize {
        let open: BTreeSet<Shard> = self.holdings.open_shards().into_iter().collect();
        if *self.attached.shards() == open { open.len() } else { usize::MAX / 64 }
    }
}

async fn cluster(store: &Arc<Store>, nodes: &[&str]) -> Vec<Process> {
    let processes: Vec<Process> = nodes.iter().map(|node| Process::start(store, node, 1)).collect();
    until(store, &processes, is_balanced).await;
    processes
}

/// An entry of the index of runs, as it is stored.
fn index(store: &Store, run: &RunId, is_ended: bool) {
    let script = skein_common::Payload::text(String::from("export const meta = {name: 'a', description: 'b'}"));
    let spec = serde_json::json!({ "script": script, "origin": "test", "seed": 0, "project_dir": "/" });
    let spec = serde_json::from_value(spec).expect("a spec");
    let (submitted, _) = skein_engine::Run::submit(spec, 0);
    let mut view = skein_engine::run_view(run, submitted.state(), 0, None);
    if is_ended {
        view.status = skein_common::run::RunStatus::Completed;
    }
    store.put(RUNS_TABLE, run.as_str(), &serde_json::to_string(&view).expect("a view"));
}

#[test]
fn shards_are_spread_over_all_who_take_part() {
    in_time(async |store| {
        let processes = cluster(&store, &["a", "b", "c"]).await;
        let mut owned: Vec<usize> = processes.iter().map(Process::owned).collect();
        owned.sort_unstable();
        assert_eq!(owned, [5, 5, 6]);
        watch(&store, &processes, LONG).await;
        assert!(is_balanced(&processes), "and it stays so");
    });
}

#[test]
fn r04_the_shards_of_one_that_died_come_to_the_others_with_their_runs() {
    in_time(async |store| {
        let mut processes = cluster(&store, &["a", "b", "c"]).await;
        let run = run_of(processes[0].holdings.open_shards()[0]);
        store.append(&run, "submitted");
        index(&store, &run, false);
        until(&store, &processes, |all| all[0].runs.list().contains(&run)).await;
        processes.remove(0).kill();
        until(&store, &processes, |all| is_balanced(all) && all.iter().any(|one| one.runs.list().contains(&run))).await;
        let epochs: Vec<u64> = store.records(&run)[1..]
            .iter()
            .map(|record| std::str::from_utf8(record).expect("text").parse().expect("an epoch"))
            .collect();
        assert_eq!(epochs.len(), 2, "taken up twice: {epochs:?}");
        assert!(epochs.is_sorted() && epochs[0] != epochs[1], "{epochs:?}");
    });
}

#[test]
fn one_that_comes_gets_its_part_from_those_who_are_there() {
    in_time(async |store| {
        let mut processes = cluster(&store, &["b", "c"]).await;
        processes.push(Process::start(&store, "a", 1));
        until(&store, &processes, |all| is_balanced(all) && all[2].owned() > 0).await;
    });
}

#[test]
fn one_that_is_ended_gives_everything_back_at_once() {
    in_time(async |store| {
        let mut processes = cluster(&store, &["a", "b"]).await;
        let run = run_of(processes[0].holdings.open_shards()[0]);
        store.append(&run, "submitted");
        index(&store, &run, false);
        until(&store, &processes, |all| all[0].runs.list().contains(&run)).await;
        processes.remove(0).leave().await;
        assert_eq!(store.holder(&member_name("a")), None);
        for shard in 0..SHARDS {
            assert_ne!(store.holder(&shard_name(shard)).as_deref(), Some("a"));
        }
        until(&store, &processes, |all| is_balanced(all) && all[0].runs.list().contains(&run)).await;
    });
}

#[test]
fn r04_one_that_was_stopped_writes_nothing_after_it_woke() {
    in_time(async |store| {
        let processes = cluster(&store, &["a", "b"]).await;
        let run = run_of(processes[0].holdings.open_shards()[0]);
        store.append(&run, "submitted");
        index(&store, &run, false);
        until(&store, &processes, |all| all[0].runs.list().contains(&run)).await;
        processes[0].runs.write(&run).await.expect("the owner writes");
        processes[0].stop();
        until(&store, &processes, |all| all[1].owned() == usize::from(SHARDS) && !all[1].runs.list().is_empty()).await;
        let records = store.records(&run);
        // It has noticed nothing yet, and thinks that the run is its own.
        assert!(processes[0].runs.list().contains(&run));
        let refused = processes[0].runs.write(&run).await;
        assert!(matches!(&refused, Err(JournalError::Refused { reason }) if reason.contains("deposed")), "{refused:?}");
        assert!(matches!(processes[0].journal.remove(&run).await, Err(JournalError::Refused { .. })));
        assert_eq!(processes[0].counters.refused_appends(), 2);
        assert_eq!(store.records(&run), records, "nothing was written");
        processes[0].wake();
        tokio::time::sleep(STEP).await;
        until(&store, &processes, |all| is_balanced(all) && all[0].owned() > 0).await;
        until(&store, &processes, |all| all.iter().any(|one| one.runs.list().contains(&run))).await;
    });
}

#[test]
fn one_that_cannot_reach_the_store_stops_before_others_take_over() {
    in_time(async |store| {
        let processes = cluster(&store, &["a", "b"]).await;
        let shards = processes[0].holdings.open_shards();
        let run = run_of(shards[0]);
        store.append(&run, "submitted");
        index(&store, &run, false);
        until(&store, &processes, |all| all[0].runs.list().contains(&run)).await;
        processes[0].cut(true);
        until(&store, &processes, |all| all[0].runs.list().is_empty()).await;
        for shard in shards {
            assert_eq!(store.holder(&shard_name(shard)).as_deref(), Some("a"), "nobody could have it before");
        }
        assert!(processes[0].attached.shards().is_empty(), "nothing comes here any more");
        until(&store, &processes, |all| all[1].runs.list().contains(&run)).await;
        processes[0].cut(false);
        until(&store, &processes, is_balanced).await;
    });
}

#[test]
fn runs_of_a_lost_shard_end_here_although_the_store_does_not_answer() {
    in_time(async |store| {
        let processes = cluster(&store, &["a", "b"]).await;
        let run = run_of(processes[0].holdings.open_shards()[0]);
        store.append(&run, "submitted");
        index(&store, &run, false);
        until(&store, &processes, |all| all[0].runs.list().contains(&run)).await;
        processes[0].attached.hangs.store(true, Ordering::Relaxed);
        processes[0].cut(true);
        until(&store, &processes, |all| all[0].runs.list().is_empty()).await;
        until(&store, &processes, |all| all[1].runs.list().contains(&run)).await;
    });
}

#[test]
fn a_node_that_is_started_again_takes_what_it_had_without_waiting() {
    in_time(async |store| {
        let mut processes = cluster(&store, &["a", "b"]).await;
        let had = processes[0].holdings.open_shards();
        processes.remove(0).kill();
        processes.insert(0, Process::start(&store, "a", 2));
        until(&store, &processes, is_balanced).await;
        assert_eq!(processes[0].holdings.open_shards(), had);
    });
}

#[test]
fn a_shard_whose_results_do_not_come_is_given_back() {
    in_time(async |store| {
        let process = Process::start(&store, "a", 1);
        process.attached.fails.store(true, Ordering::Relaxed);
        tokio::time::sleep(LEASE * 3).await;
        assert_eq!(process.owned(), 0);
        process.attached.fails.store(false, Ordering::Relaxed);
        until(&store, &[process], is_balanced).await;
    });
}

/// Whoever cannot attach tries ever more rarely; meanwhile the others have its part.
#[test]
fn shards_that_one_process_cannot_attach_are_those_of_the_others() {
    in_time(async |store| {
        let processes = vec![Process::start(&store, "a", 1), Process::start(&store, "b", 1)];
        processes[0].attached.fails.store(true, Ordering::Relaxed);
        until(&store, &processes, |all| all[1].owned() == usize::from(SHARDS)).await;
        watch(&store, &processes, Duration::from_secs(600)).await;
        let tries = processes[0].attached.tries.load(Ordering::Relaxed);
        // It may try for each shard of its part each time.
        assert!((1..=15 * usize::from(SHARDS)).contains(&tries), "{tries}");
        until(&store, &processes, |all| all[1].owned() == usize::from(SHARDS)).await;
        processes[0].attached.fails.store(false, Ordering::Relaxed);
        watch(&store, &processes, Duration::from_secs(300)).await;
        until(&store, &processes, is_balanced).await;
    });
}

#[test]
fn a_shard_that_has_no_epochs_left_is_taken_anew() {
    in_time(async |store| {
        let holdings = Holdings::new(SHARDS, Terms::new(LEASE), String::from("a")).with_count_max(2);
        let processes = vec![Process::with(&store, 1, holdings)];
        until(&store, &processes, is_balanced).await;
        let run = run_of(3);
        let mut epochs = Vec::new();
        while epochs.len() < 5 {
            match processes[0].leases.acquire(run.as_str(), "test").await {
                Ok(lease) => {
                    epochs.push(lease.epoch);
                    processes[0].leases.release(&lease).await.expect("releases");
                }
                Err(LeaseError::Unavailable { source }) => {
                    assert!(source.to_string().contains("shard-03"), "{source}");
                    tokio::time::sleep(STEP).await;
                }
                Err(error) => panic!("{error}"),
            }
            assert_fenced(&store, &processes);
        }
        assert!(epochs.is_sorted_by(|before, after| before < after), "{epochs:?}");
    });
}

#[test]
fn leases_of_runs_are_those_of_their_shards() {
    in_time(async |store| {
        let processes = cluster(&store, &["a", "b"]).await;
        let (ours, theirs) = (&processes[0], &processes[1]);
        let run = run_of(ours.holdings.open_shards()[0]);
        assert_eq!(ours.leases.holder(run.as_str()).await.expect("known"), None);
        let first = ours.leases.acquire(run.as_str(), "the first").await.expect("ours");
        assert!(matches!(
            ours.leases.acquire(run.as_str(), "the second").await,
            Err(LeaseError::Held { holder, .. }) if holder == "the first"
        ));
        assert!(matches!(
            theirs.leases.acquire(run.as_str(), "the third").await,
            Err(LeaseError::Held { holder, .. }) if holder == "a"
        ));
        assert_eq!(ours.leases.holder(run.as_str()).await.expect("known").as_deref(), Some("the first"));
        assert_eq!(theirs.leases.holder(run.as_str()).await.expect("known").as_deref(), Some("a"));
        ours.leases.renew(&first).await.expect("held");
        assert!(matches!(theirs.leases.renew(&first).await, Err(LeaseError::Lost { .. })));
        ours.leases.release(&first).await.expect("releases");
        ours.leases.release(&first).await.expect("twice");
        assert!(matches!(ours.leases.renew(&first).await, Err(LeaseError::Lost { .. })));
        let second = ours.leases.acquire(run.as_str(), "the second").await.expect("free");
        assert!(second.epoch > first.epoch);
        ours.leases.release(&first).await.expect("releases");
        ours.leases.renew(&second).await.expect("a late release of the first harms nobody");
    });
}

#[test]
fn other_leases_are_those_of_the_store() {
    in_time(async |store| {
        let processes = cluster(&store, &["a"]).await;
        let leases = &processes[0].leases;
        let lease = leases.acquire("sweep", "somebody").await.expect("free");
        leases.renew(&lease).await.expect("held");
        assert_eq!(store.holder("sweep").as_deref(), Some("somebody"));
        assert_eq!(leases.holder("sweep").await.expect("known").as_deref(), Some("somebody"));
        assert_eq!(leases.holders("shard-").await.expect("listed").len(), usize::from(SHARDS));
        leases.release(&lease).await.expect("releases");
        assert_eq!(store.holder("sweep"), None);
    });
}

#[test]
fn a_run_that_nobody_owns_yet_cannot_be_taken_and_says_why() {
    in_time(async |store| {
        let process = Process::start(&store, "a", 1);
        let run = run_of(7);
        let Err(LeaseError::Unavailable { source }) = process.leases.acquire(run.as_str(), "test").await else {
            panic!("not taken yet");
        };
        assert!(source.to_string().contains("nobody owns shard-07"), "{source}");
        assert_eq!(process.leases.holder(run.as_str()).await.expect("asked the store"), None);
    });
}

#[test]
fn the_first_record_of_a_run_needs_no_owner() {
    in_time(async |store| {
        let processes = cluster(&store, &["a", "b"]).await;
        let run = run_of(processes[0].holdings.open_shards()[0]);
        let record = || vec![bytes::Bytes::from_static(b"submitted")];
        processes[1].journal.append(&run, 0, record()).await.expect("stored");
        let second = processes[1].journal.append(&run, 1, record()).await;
        assert!(matches!(second, Err(JournalError::Refused { .. })), "{second:?}");
        assert_eq!(processes[1].journal.read(&run, 0).await.expect("reads pass").len(), 1);
    });
}

#[test]
fn new_runs_belong_to_who_was_asked() {
    in_time(async |store| {
        let processes = cluster(&store, &["a", "b", "c"]).await;
        for process in &processes {
            for _ in 0..50 {
                let run = process.holdings.new_run_id();
                assert!(process.holdings.is_free_here(&run), "{run}");
            }
        }
        let idle = Holdings::new(SHARDS, Terms::new(LEASE), String::from("d"));
        assert_ne!(idle.new_run_id(), idle.new_run_id(), "any id where nothing is owned");
    });
}

#[test]
fn r06_runs_without_an_end_are_taken_up_by_the_owner_of_their_shard() {
    in_time(async |store| {
        let (waits, ended, removed, unknown) = (run_of(1), run_of(2), run_of(3), run_of(4));
        for run in [&waits, &ended, &removed, &unknown] {
            store.append(run, "submitted");
        }
        index(&store, &waits, false);
        index(&store, &ended, true);
        index(&store, &removed, false);
        store.put(REMOVALS_TABLE, removed.as_str(), "");
        let processes = cluster(&store, &["a", "b"]).await;
        let live = |all: &[Process]| -> BTreeSet<RunId> { all.iter().flat_map(|one| one.runs.list()).collect() };
        until(&store, &processes, |all| live(all) == BTreeSet::from([waits.clone(), unknown.clone()])).await;
        let later = run_of(5);
        store.append(&later, "submitted");
        index(&store, &later, false);
        until(&store, &processes, |all| live(all).contains(&later)).await;
        watch(&store, &processes, LONG).await;
        assert_eq!(live(&processes), BTreeSet::from([waits, unknown, later]), "nothing else");
        assert_eq!(store.records(&ended).len(), 1, "nobody took it up");
    });
}

#[test]
fn a_run_that_does_not_stay_is_tried_less_and_less_often() {
    in_time(async |store| {
        let process = Process::start(&store, "a", 1);
        let run = run_of(1);
        store.append(&run, "submitted");
        index(&store, &run, false);
        process.runs.unfit.borrow_mut().insert(run.clone());
        let processes = vec![process];
        watch(&store, &processes, Duration::from_secs(600)).await;
        let tried = processes[0].runs.begun.borrow().len();
        assert!((5..=20).contains(&tried), "{tried}");
        processes[0].runs.unfit.borrow_mut().clear();
        watch(&store, &processes, Duration::from_secs(62)).await;
        assert_eq!(processes[0].runs.list(), [run], "it stays");
    });
}

/// A random number that a seed gives again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("fits") % limit.max(1)
    }
}

/// Processes come, go, die, stop, wake and lose the network in any order; a run is extended by all who think that it is
/// theirs. The fence holds at every moment, and in the end all is spread evenly.
async fn rough(store: Arc<Store>, seed: u64) {
    let mut random = Random(seed);
    let mut processes = vec![Process::start(&store, "node-0", 0)];
    let runs: Vec<RunId> = (0..4).map(|number| run_of(number * 5)).collect();
    for run in &runs {
        store.append(run, "0");
        index(&store, run, false);
    }
    for life in 1..40 {
        let pick = random.below(processes.len());
        match random.below(8) {
            0 | 1 if processes.len() < 6 => {
                let name = format!("node-{}", random.below(9));
                if processes.iter().all(|process| process.node() != name) {
                    processes.push(Process::start(&store, &name, life));
                }
            }
            2 if processes.len() > 1 => processes.swap_remove(pick).kill(),
            3 if processes.len() > 1 && !processes[pick].is_stopped() => {
                let leaves = processes.swap_remove(pick);
                leaves.cut(false);
                leaves.leave().await;
            }
            4 => processes[pick].stop(),
            5 => processes[pick].wake(),
            6 => processes[pick].cut(true),
            _ => processes[pick].cut(false),
        }
        for _ in 0..random.below(300) {
            tokio::time::sleep(STEP).await;
            assert_fenced(&store, &processes);
            let writer = &processes[random.below(processes.len())];
            let _only_an_owner_may = writer.runs.write(&runs[random.below(runs.len())]).await;
        }
    }
    for process in &processes {
        process.cut(false);
        process.wake();
    }
    tokio::time::sleep(STEP).await;
    until(&store, &processes, is_balanced).await;
    for run in &runs {
        let records = store.records(run);
        let epochs = records.iter().map(|record| std::str::from_utf8(record).expect("text").parse::<u64>());
        let epochs: Vec<u64> = epochs.collect::<Result<_, _>>().expect("epochs");
        assert!(epochs.is_sorted(), "seed {seed}: an older owner wrote after a newer one: {epochs:?}");
        assert!(epochs.len() > 2, "seed {seed}: somebody wrote");
    }
}

#[test]
fn r04_whatever_becomes_of_processes_no_two_own_a_shard() {
    for seed in 0..10 {
        in_time(|store| rough(store, seed));
    }
}

/// A store that answers after so long.
struct Slow(Duration);

#[async_trait]
impl Journal for Slow {
    async fn append(&self, _: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        tokio::time::sleep(self.0).await;
        Ok(expected + records.len() as u64)
    }

    async fn read(&self, _: &RunId, _: u64) -> Result<Vec<Bytes>, JournalError> {
        Ok(Vec::new())
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: &RunId) -> Result<(), JournalError> {
        Ok(())
    }

    fn durability(&self) -> String {
        String::from("none: a test")
    }
}

/// Until the append of one record has an answer, with a renewal of the lease each time so much has gone by.
async fn append_slowly(takes: Duration, renewed_every: Option<Duration>) -> (Result<u64, JournalError>, Duration) {
    let holdings = Arc::new(Holdings::new(SHARDS, Terms::new(LEASE), String::from("a")));
    let lease = Lease { name: shard_name(3), epoch: 1 };
    let begun = Instant::now();
    holdings.gain(3, lease.clone(), begun);
    let journal = FencedJournal::new(Arc::new(Slow(takes)), holdings.clone());
    let renewing = async {
        match renewed_every {
            None => std::future::pending().await,
            Some(pause) => loop {
                tokio::time::sleep(pause).await;
                holdings.renewed(3, &lease, Instant::now());
            },
        }
    };
    let (run, record) = (run_of(3), Bytes::from_static(b"second"));
    let appended = tokio::select! {
        () = renewing => unreachable!("it goes on"),
        appended = journal.append(&run, 1, vec![record]) => appended,
    };
    (appended, begun.elapsed())
}

#[test]
fn r04_an_append_is_not_waited_for_when_the_lease_has_ended() {
    in_time(async |_| {
        let (appended, waited) = append_slowly(LONG, None).await;
        assert!(matches!(appended, Err(JournalError::Unknown { .. })), "{appended:?}");
        assert!(waited < LEASE, "the next owner may have written: {waited:?}");
        let (appended, waited) = append_slowly(LONG, Some(Duration::from_secs(1))).await;
        assert!(matches!(appended, Ok(2)) && waited == LONG, "it is the owner all the time: {appended:?}");
    });
}
