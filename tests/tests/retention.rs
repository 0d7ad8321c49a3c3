//! How long ended runs are kept, and that nothing of a removed run is left.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use skein_backend::embedded::Store;
use skein_backend::faulty::{Faults, Plan, faulty};
use skein_common::ports::Ports;
use skein_common::run::RunStatus;
use skein_common::{Payload, RunId};
use skein_coordinator::{
    Clock, IdempotencyKey, RUNS_TABLE, RemoveError, Retention, SystemClock, load_run, submit, submit_once,
};
use skein_engine::{Event, encode_records};
use skein_tests::cluster::Cluster;
use skein_tests::system::spec;
use skein_tests::{Skein, eventually};
use tempfile::TempDir;

const DAY_MS: i64 = 24 * 3600 * 1000;
const NOW_MS: i64 = 1_800_000_000_000;

struct At(i64);

impl Clock for At {
    fn now_ms(&self) -> i64 {
        self.0
    }
}

fn retention(store: &Store, ports: Ports) -> Retention {
    let files = store.clone();
    Retention::new(ports, String::from("test"), Box::new(move |run| files.remove_files(run)))
}

/// A small run of these ports that ended so many days ago.
async fn ended_long_ago(ports: &Ports, now_ms: i64, days_ago: i64) -> RunId {
    let at_ms = now_ms - days_ago * DAY_MS;
    let run = submit(ports, &At(at_ms), spec("return 1")).await.expect("submits");
    end(ports, &run, at_ms).await;
    run
}

async fn end(ports: &Ports, run: &RunId, at_ms: i64) {
    let end = Event::RunEnded { status: RunStatus::Completed, error: None };
    let records = encode_records(1, 0, at_ms, &[Event::EpochBegan { epoch: 1 }, end]).expect("encodes");
    let records = records.into_iter().map(Into::into).collect();
    ports.journal.append(run, 1, records).await.expect("appends");
}

/// A run that was submitted so many days ago, with a large text and files.
async fn submitted(store: &Store, now_ms: i64, days_ago: i64) -> RunId {
    let mut spec = spec("return 1");
    spec.args = Some(Payload::json(format!("{:?}", format!("{days_ago}").repeat(50_000))));
    let run = submit(&store.ports(), &At(now_ms - days_ago * DAY_MS), spec).await.expect("submits");
    std::fs::write(store.runs_dir().join(format!("{run}.attempts")), "1\n").expect("writes");
    run
}

/// The same, ended at once.
async fn ended(store: &Store, now_ms: i64, days_ago: i64) -> RunId {
    let run = submitted(store, now_ms, days_ago).await;
    end(&store.ports(), &run, now_ms - days_ago * DAY_MS).await;
    run
}

async fn runs(ports: &Ports) -> Vec<RunId> {
    ports.journal.list().await.expect("a list")
}

/// What a store still has of a run: rows in any table of its database, and files.
async fn traces(dir: &TempDir, store: &Store, run: &RunId) -> Vec<String> {
    let ports = store.ports();
    let mut traces = Vec::new();
    if !ports.journal.read(run, 0).await.expect("reads").is_empty() {
        traces.push(String::from("journal"));
    }
    for table in [RUNS_TABLE, "submission_keys", "submission_key_of_run", "removals"] {
        for (key, value) in ports.directory.list(table).await.expect("lists") {
            if key == run.as_str() || String::from_utf8_lossy(&value).contains(run.as_str()) {
                traces.push(String::from(table));
            }
        }
    }
    let args = format!("{:?}", "40".repeat(50_000));
    let digest = skein_common::Digest::of(args.as_bytes());
    if ports.blobs.get(run, &digest).await.is_ok() {
        traces.push(String::from("blob"));
    }
    for entry in std::fs::read_dir(dir.path().join("runs")).expect("a folder") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if name.starts_with(run.as_str()) {
            traces.push(name);
        }
    }
    traces
}

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a store");
    (dir, store)
}

#[tokio::test]
async fn r12_ended_runs_are_removed_after_their_days_with_everything_of_theirs() {
    let (dir, store) = store();
    let old = ended(&store, NOW_MS, 40).await;
    let young = ended(&store, NOW_MS, 29).await;
    let open = submitted(&store, NOW_MS, 40).await;
    assert_eq!(traces(&dir, &store, &old).await.len(), 4, "journal, index, blob, file");
    let retention = retention(&store, store.ports());
    assert_eq!(retention.sweep_if_due(NOW_MS, 30).await.expect("sweeps"), 1);
    assert_eq!(traces(&dir, &store, &old).await, [""; 0]);
    assert_eq!(runs(&store.ports()).await, [young.clone(), open.clone()], "what has not ended is kept");
    assert_eq!(retention.sweep_if_due(NOW_MS, 20).await.expect("sweeps"), 1, "other days count at once");
    assert_eq!(runs(&store.ports()).await, [open]);
}

#[tokio::test]
async fn r12_a_store_that_was_swept_within_the_hour_is_left_alone() {
    let (_dir, store) = store();
    let retention = retention(&store, store.ports());
    assert_eq!(retention.sweep_if_due(NOW_MS, 30).await.expect("sweeps"), 0);
    ended(&store, NOW_MS, 40).await;
    assert_eq!(retention.sweep_if_due(NOW_MS + 1000, 30).await.expect("sweeps"), 0);
    assert_eq!(retention.sweep_if_due(NOW_MS + 3_600_000, 30).await.expect("sweeps"), 1);
    assert_eq!(runs(&store.ports()).await, []);
}

/// More than one step.
const MANY: usize = 450;

#[tokio::test]
async fn r12_a_command_removes_some_and_a_process_that_lives_long_removes_all() {
    let (_dir, store) = store();
    for _ in 0..MANY {
        ended_long_ago(&store.ports(), NOW_MS, 40).await;
    }
    let retention = retention(&store, store.ports());
    assert_eq!(retention.sweep_if_due(NOW_MS, 30).await.expect("sweeps"), 200);
    assert_eq!(retention.sweep_if_due(NOW_MS, 30).await.expect("sweeps"), 200, "there was more");
    ended_long_ago(&store.ports(), NOW_MS, 40).await;
    assert_eq!(retention.sweep_all_if_due(NOW_MS, 30).await.expect("sweeps"), MANY - 400 + 1);
    for _ in 0..MANY {
        ended_long_ago(&store.ports(), NOW_MS, 40).await;
    }
    assert_eq!(retention.sweep_all_if_due(NOW_MS, 30).await.expect("sweeps"), 0, "it was swept just now");
    assert_eq!(retention.sweep_all_if_due(NOW_MS + 3_600_000, 30).await.expect("sweeps"), MANY);
}

#[tokio::test]
async fn r12_each_process_removes_its_own_runs_whatever_the_others_have() {
    let (_dir, store) = store();
    let mut ours = Vec::new();
    for number in 0..MANY {
        let run = ended_long_ago(&store.ports(), NOW_MS, 40).await;
        // The last ones, behind more of others than one step takes.
        ours.extend((number + 100 >= MANY).then_some(run));
    }
    let owned = ours.clone();
    let retention = retention(&store, store.ports()).of_owned(Box::new(move |run| owned.contains(run)));
    assert_eq!(retention.sweep_if_due(NOW_MS, 30).await.expect("sweeps"), 100);
    let left = runs(&store.ports()).await;
    assert!(left.len() == MANY - 100 && ours.iter().all(|run| !left.contains(run)));
}

#[test]
fn r12_coordinators_remove_what_was_kept_long_enough_as_soon_as_they_own_it() {
    let mut cluster = Cluster::new();
    let now_ms = SystemClock.now_ms();
    let young = cluster.past_all(async |ports: Ports| {
        for _ in 0..MANY {
            ended_long_ago(&ports, now_ms, 40).await;
        }
        ended_long_ago(&ports, now_ms, 20).await
    });
    cluster.add(2, 0);
    let left = |cluster: &Cluster| cluster.past_all(async |ports: Ports| runs(&ports).await);
    cluster.until("only the young run is left", |cluster| (left(cluster).len() == 1).then_some(()));
    assert_eq!(left(&cluster), [young]);
}

#[tokio::test]
async fn r12_what_one_node_could_not_remove_the_next_one_does_within_the_hour() {
    let (_dir, store) = store();
    let run = ended(&store, NOW_MS, 40).await;
    let owner = Store::open(store.runs_dir().parent().expect("the store")).expect("opens").ports();
    let lease = owner.leases.acquire(run.as_str(), "its owner").await.expect("acquires");
    let first = retention(&store, store.ports()).of_node("node-0");
    assert_eq!(first.sweep_if_due(NOW_MS, 30).await.expect("sweeps"), 0, "it belongs to another one");
    owner.leases.release(&lease).await.expect("releases");
    assert_eq!(first.sweep_if_due(NOW_MS + 1000, 30).await.expect("sweeps"), 0, "this one swept just now");
    let second = retention(&store, store.ports()).of_node("node-1");
    assert_eq!(second.sweep_if_due(NOW_MS + 1000, 30).await.expect("sweeps"), 1);
}

#[tokio::test]
async fn r12_a_run_that_somebody_holds_is_not_removed() {
    let (_dir, store) = store();
    let run = ended(&store, NOW_MS, 40).await;
    let other = Store::open(store.runs_dir().parent().expect("the store")).expect("opens").ports();
    let lease = other.leases.acquire(run.as_str(), "somebody").await.expect("acquires");
    let retention = retention(&store, store.ports());
    let refused = retention.remove(&run).await;
    assert!(matches!(&refused, Err(RemoveError::Live { holder, .. }) if holder.contains("somebody")), "{refused:?}");
    assert_eq!(retention.sweep_if_due(NOW_MS, 30).await.expect("sweeps"), 0);
    other.leases.release(&lease).await.expect("releases");
    retention.remove(&run).await.expect("removes");
    assert!(matches!(retention.remove(&run).await, Err(RemoveError::NotFound { .. })));
}

#[tokio::test]
async fn r12_a_removal_that_is_cut_short_at_any_point_is_finished_at_the_next_start() {
    let mut cut_short = 0;
    for seed in 1..=60 {
        let (dir, store) = store();
        let old = ended(&store, NOW_MS, 40).await;
        let faults = Faults { unavailable: 250, ..Faults::default() };
        let broken = retention(&store, faulty(store.ports(), Plan { seed, faults, crash: None }));
        if broken.remove(&old).await.is_ok() {
            continue;
        }
        cut_short += 1;
        let (listed, stored) = (traces(&dir, &store, &old).await, load_run(store.ports().journal.as_ref(), &old).await);
        let is_listed = listed.iter().any(|trace| trace == RUNS_TABLE);
        assert!(!is_listed || stored.is_ok(), "seed {seed}: the list shows what is half removed: {listed:?}");
        let has_begun = listed.iter().any(|trace| trace == "removals");
        let again = retention(&store, store.ports());
        // So young that only the unfinished removal can be the reason.
        let removed = again.sweep_if_due(NOW_MS - 35 * DAY_MS, 30).await.expect("sweeps");
        assert_eq!(removed, usize::from(has_begun), "seed {seed}");
        let left = traces(&dir, &store, &old).await;
        assert_eq!(left.is_empty(), has_begun, "seed {seed}: {left:?}");
    }
    assert!(cut_short > 20, "{cut_short} of 60");
}

#[tokio::test]
async fn r12_the_key_of_a_removed_run_can_be_used_again() {
    let (dir, store) = store();
    let key = |body: &[u8]| IdempotencyKey::new("a", body).expect("a key");
    let first = submit_once(&store.ports(), &SystemClock, spec("return 1"), &key(b"1")).await.expect("submits").run;
    retention(&store, store.ports()).remove(&first).await.expect("removes");
    assert_eq!(traces(&dir, &store, &first).await, [""; 0]);
    let again = submit_once(&store.ports(), &SystemClock, spec("return 2"), &key(b"2")).await.expect("submits");
    assert!(again.is_new && again.run != first);
}

#[test]
fn r12_a_command_that_writes_to_the_store_removes_what_is_older_than_the_setting() {
    let skein = Skein::new();
    let old = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let store = Store::open(&skein.store()).expect("a store");
        runtime.block_on(ended(&store, SystemClock.now_ms(), 8))
    };
    let script = skein.workflow("w.js", "return 1");
    skein.run_json(&script, &[]).completed();
    assert_eq!(skein.runs().len(), 2, "30 days are the default");
    let mut command = skein.command(["run", "w.js", "--yes", "--json"]);
    assert!(command.env("SKEIN_RETENTION_DAYS", "7").output().expect("runs").status.success());
    let left: Vec<String> = skein.runs().iter().filter_map(|run| Some(run["run"].as_str()?.to_owned())).collect();
    assert!(left.len() == 2 && !left.contains(&old.to_string()), "{left:?}");
    assert_eq!(skein.run(["show", old.as_str()]).code, Some(2));
}

/// Worktrees that agents changed are their user's (C23).
#[test]
fn r12_a_run_that_is_removed_after_its_days_leaves_its_changed_worktrees_and_says_so() {
    let skein = Skein::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = Store::open(&skein.store()).expect("a store");
    let old = runtime.block_on(ended(&store, SystemClock.now_ms(), 40));
    let path = store.runs_dir().join(format!("worktrees/{old}-1-1"));
    drop(store);
    std::fs::create_dir_all(&path).expect("a folder");
    let note = format!("worktree kept: {} (branch skein/{old}/1-1)", path.display());
    let record = serde_json::json!({
        "attempt": { "run": old, "agent": 1, "attempt": 1 },
        "repository": skein.project(),
        "path": path,
        "branch": format!("skein/{old}/1-1"),
        "base": "0",
        "ready": true,
        "kept": note,
    });
    std::fs::write(path.with_extension("json"), record.to_string()).expect("writes");
    let script = skein.workflow("w.js", "return 1");
    let ended = skein.run_json(&script, &[]);
    let said = format!("of a run that is removed after its time: {note}");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    ended.completed();
    assert_eq!(skein.runs().len(), 1);
    assert!(path.exists() && !path.with_extension("json").exists());
}

#[test]
fn r12_a_child_keeps_the_results_it_reused_when_its_parent_is_removed() {
    let skein = Skein::new();
    skein.shell_agent("big", "", "head -c 100000 /dev/zero | tr '\\0' x");
    let script = skein.workflow("w.js", "return await agent('p', {agentType: 'big'})");
    let parent = skein.run_json(&script, &[]).completed();
    let parent_id = parent["run"].as_str().expect("an id");
    let child = skein.run(["resume", parent_id, "--json"]).completed();
    assert_eq!((&child["agents"]["reused"], &child["result"]), (&1.into(), &parent["result"]));
    let removed = skein.run(["remove", parent_id, "--json"]);
    assert_eq!((removed.code, removed.json()), (Some(0), serde_json::json!({ "removed": parent_id })));
    let child_id = child["run"].as_str().expect("an id");
    assert_eq!(skein.only_run(), child_id);
    let shown = skein.run(["show", child_id, "--json"]).json();
    assert_eq!((&shown["result"], &shown["parent"]), (&parent["result"], &parent["run"]));
    let again = skein.run(["resume", child_id, "--json"]).completed();
    assert_eq!((&again["agents"]["reused"], &again["result"]), (&1.into(), &parent["result"]));
}

#[test]
fn r12_remove_refuses_a_live_run_and_one_that_is_not_there() {
    let skein = Skein::new();
    skein.shell_agent("slow", "", "touch started; while test ! -e go; do sleep 0.02; done");
    let script = skein.workflow("w.js", "return await agent('p', {agentType: 'slow'})");
    let mut child = skein.spawn(["run".as_ref(), script.as_os_str(), "--yes".as_ref()]);
    eventually("the agent runs", || skein.project().join("started").exists().then_some(()));
    let run = skein.only_run();
    let refused = skein.run(["remove", &run]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("is being run by"), "{}", refused.stderr);
    skein.write("go", "");
    assert!(child.wait().expect("ends").success());
    assert_eq!(skein.run(["remove", &run]).code, Some(0));
    assert_eq!(skein.run(["remove", &run]).code, Some(2), "it is gone");
    assert!(skein.runs().is_empty());
}
