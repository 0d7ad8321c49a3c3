//! A coordinator that is stopped for longer than its lease: its runs go on elsewhere, and awake it changes nothing. A
//! worker that is stopped, as by a hung thread: what it carries out ends without it, before another begins the same.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::json;
use skein_common::Epoch;
use skein_tests::cluster::Cluster;
use skein_tests::{eventually, processes};

const RUNS: usize = 8;
/// Agents of each run before and after the coordinator is deposed.
const AGENTS: usize = 4;

fn epochs(cluster: &Cluster, run: &str) -> Vec<Epoch> {
    cluster.journal(run).iter().map(|record| record.epoch).collect()
}

#[test]
fn r04_a_coordinator_that_slept_over_its_lease_writes_nothing_of_what_others_have() {
    let mut cluster = Cluster::of(2, 1);
    let dir = cluster.skein().project();
    let shell = "echo $1 >> started; until test -e go-${1%-*}; do sleep 0.01; done; echo $1";
    let body = format!(
        "const part = name => parallel(Array.from({{length: {AGENTS}}}, (_, i) => () => agent(name + '-' + i)))
         return [...await part('a'), ...await part('b')]"
    );
    let spec = cluster.spec(&body, &["sh", "-c", shell, "sh", "{prompt}"]);
    let runs: Vec<String> = (0..RUNS).map(|_| cluster.submit(0, &spec)).collect();
    let started = || std::fs::read_to_string(dir.join("started")).unwrap_or_default().lines().count();
    cluster.until("the first half runs", |_| (started() == RUNS * AGENTS).then_some(()));
    let before: Vec<Vec<Epoch>> = runs.iter().map(|run| epochs(&cluster, run)).collect();

    cluster.coordinators[0].suspend();
    // These results reach it while it sleeps, or the next owner.
    std::fs::write(dir.join("go-a"), "").expect("writes");
    for run in &runs {
        cluster.until("it goes on at the other", |cluster| {
            (cluster.get(&format!("/runs/{run}"))?["agents"]["done"] == AGENTS).then_some(())
        });
    }
    cluster.until("the second half runs", |_| (started() == 2 * RUNS * AGENTS).then_some(()));
    cluster.coordinators[0].awake();
    std::fs::write(dir.join("go-b"), "").expect("writes");
    // Whether its loops of runs or the loop of its leases wakes first is chance: the one is refused, the other ends it.
    println!("held back: {}", cluster.standing(0)["shards"]["refused_appends"]);

    let expected: Vec<String> =
        ["a", "b"].iter().flat_map(|part| (0..AGENTS).map(move |i| format!("{part}-{i}"))).collect();
    for (run, before) in runs.iter().zip(before) {
        assert_eq!(cluster.completed(run)["result"], json!(expected));
        let after = epochs(&cluster, run);
        let old = *before.last().expect("a record");
        let taken_over = after.iter().position(|epoch| *epoch > old).expect("a later owner wrote");
        assert!(taken_over >= before.len(), "what was there stays");
        assert!(after[taken_over..].iter().all(|epoch| *epoch > old), "the deposed one wrote: {after:?}");
        assert!(after.is_sorted(), "{after:?}");
    }
    let again = cluster.get(&format!("/runs/{}/agents", runs[0])).expect("agents");
    assert!(again.as_array().expect("agents").iter().all(|agent| agent["status"] == "done"), "{again:#}");
}

/// The first one to begin never ends by itself; each later one says whether the first is still there.
const AGENT: &str = "if mkdir first 2>/dev/null; then
    echo $$ > pid.new && mv pid.new pid && exec sleep 86400
elif kill -0 $(cat pid) 2>/dev/null; then echo both; else echo alone; fi";

/// The worker below which this process runs: worker, keeper, program.
fn worker_of(cluster: &Cluster, pid: i32) -> usize {
    let keeps = |keeper: &i32| processes::children_of(*keeper).contains(&pid);
    let runs_it = |worker: i32| processes::children_of(worker).iter().any(keeps);
    let found = cluster.workers.iter().position(|worker| runs_it(worker.pid()));
    found.expect("a worker runs it")
}

#[test]
fn l01_an_agent_of_a_stopped_worker_ends_before_another_begins_it() {
    let mut cluster = Cluster::new();
    cluster.set("SKEIN_HEARTBEAT", "500ms");
    cluster.add(1, 2);
    let dir = cluster.skein().project();
    let spec = cluster.spec("return [await agent('one'), await agent('two')]", &["sh", "-c", AGENT]);
    let run = cluster.submit(0, &spec);
    let pid = || std::fs::read_to_string(dir.join("pid")).ok()?.trim().parse::<i32>().ok();
    let first = cluster.until("the first agent runs", |_| pid());
    let stopped = worker_of(&cluster, first);

    cluster.workers[stopped].suspend();
    eventually("the agent of the stopped worker ends", || (!processes::is_alive(first)).then_some(()));
    let view = cluster.completed(&run);
    assert_eq!(view["result"], serde_json::json!(["alone", "alone"]), "{view:#}");

    cluster.workers[stopped].awake();
    cluster.workers[1 - stopped].kill();
    let run = cluster.submit(0, &spec);
    let view = cluster.completed(&run);
    assert_eq!(view["result"], serde_json::json!(["alone", "alone"]), "the worker is of use again: {view:#}");
}

/// Its own worker goes on before the owner has given the attempt up: it tells of the loss, and the agent begins again.
#[test]
fn l01_an_agent_that_ended_while_its_worker_was_stopped_begins_again() {
    let mut cluster = Cluster::new();
    cluster.set("SKEIN_HEARTBEAT", "500ms");
    cluster.add(1, 1);
    let dir = cluster.skein().project();
    let run = cluster.submit(0, &cluster.spec("return await agent('one')", &["sh", "-c", AGENT]));
    let pid = || std::fs::read_to_string(dir.join("pid")).ok()?.trim().parse::<i32>().ok();
    let first = cluster.until("the agent runs", |_| pid());

    cluster.workers[0].suspend();
    eventually("the agent of the stopped worker ends", || (!processes::is_alive(first)).then_some(()));
    cluster.workers[0].awake();
    let view = cluster.completed(&run);
    assert_eq!(view["result"], "alone", "{view:#}");
}
