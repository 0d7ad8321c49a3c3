//! A coordinator that is stopped for longer than its lease: its runs go on elsewhere, and awake it changes nothing.

use serde_json::json;
use skein_common::Epoch;
use skein_tests::cluster::Cluster;

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
