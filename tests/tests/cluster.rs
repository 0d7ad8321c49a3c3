//! A cluster of real processes on NATS: pinned hosts, pools, labels, draining, hosts that come later.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::cluster::Cluster;
use skein_tests::fleet::{Fleet, generate};
use skein_tests::{Ended, eventually, project_dir};
use std::collections::BTreeSet;
use std::path::Path;

/// Runs a script of `fixtures/cluster` as a client.
fn run(cluster: &Cluster, script: &str, args: &Value) -> Ended {
    let script = project_dir().join("tests/fixtures/cluster").join(script);
    let words = ["run", "--yes", "--json", "--args", &args.to_string()].map(str::to_owned);
    cluster.cli(0, words.into_iter().chain([script.display().to_string()]))
}

fn scan(cluster: &Cluster, hosts: &[String]) -> Value {
    let view = run(cluster, "scan.js", &json!({ "hosts": hosts, "window": "02:00 03:00 20/Nov/2026" }));
    view.completed()
}

/// A worker that serves these hosts of the fleet, each in its own folder.
fn serve_hosts(cluster: &mut Cluster, fleet: &Fleet, pattern: &str) {
    let root = fleet.dir.join("hosts").join("{host}");
    cluster.add_worker(&["--host", pattern, "--root", root.to_str().expect("a path")]);
}

fn names(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|number| format!("nginx-{number:03}")).collect()
}

/// Every record equals what the generator counted.
fn assert_exact(records: &[Value], answers: &Value) {
    for record in records {
        let host = record["host"].as_str().expect("a host");
        for key in ["count", "per_minute", "top_upstream", "top_count"] {
            assert_eq!(record[key], answers["hosts"][host][key], "{host} {key}");
        }
    }
}

fn records(view: &Value) -> &Vec<Value> {
    view["result"]["scan"].as_array().expect("records")
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

#[test]
fn c23_a_hundred_hosts_are_scanned_each_on_itself_exactly() {
    let mut cluster = Cluster::of(1, 0);
    let fleet = generate(cluster.skein().dir(), 1, &[]);
    serve_hosts(&mut cluster, &fleet, "nginx-[001-100]");
    cluster.ready();
    let view = scan(&cluster, &names(1..=100));
    let read: BTreeSet<&str> = records(&view).iter().filter_map(|record| record["host"].as_str()).collect();
    assert_eq!(read.len(), 100, "100 of 100: {}", view["failures"]);
    assert_exact(records(&view), &fleet.answers);
    let counted: u64 = records(&view).iter().filter_map(|record| record["count"].as_u64()).sum();
    assert_eq!(counted, fleet.answers["total_502"].as_u64().expect("a number"));
}

#[test]
fn c21_hosts_that_nobody_serves_are_named_and_the_rest_is_delivered() {
    let mut cluster = Cluster::of(1, 0);
    let fleet = generate(cluster.skein().dir(), 2, &["--lines", "1000"]);
    serve_hosts(&mut cluster, &fleet, "nginx-[001-060]");
    serve_hosts(&mut cluster, &fleet, "nginx-[061-095]");
    cluster.ready();
    let view = scan(&cluster, &names(1..=100));
    assert_eq!(records(&view).len(), 95, "{}", view["failures"]);
    assert_exact(records(&view), &fleet.answers);
    assert_eq!(texts(&view["result"]["unread"]), names(96..=100));
    let failures = texts(&view["failures"]).join("\n");
    for host in names(96..=100) {
        assert!(failures.contains(&format!("no worker serves host {host}")), "{host}: {failures}");
    }
    assert_each_host_has_one_outcome(&cluster, &view);
}

/// Each of the hundred agents ended in one way that has a name.
fn assert_each_host_has_one_outcome(cluster: &Cluster, view: &Value) {
    assert_eq!((&view["agents"]["done"], &view["agents"]["failed"]), (&json!(95), &json!(5)), "{view:#}");
    let agents = cluster.cli(0, ["agents", view["run"].as_str().expect("an id"), "--json"]).answered();
    let agents = agents.as_array().expect("agents");
    let mut seen = BTreeSet::new();
    for agent in agents {
        let host = agent["label"].as_str().expect("a label").to_owned();
        let expected = if host.as_str() > "nginx-095" { "failed" } else { "done" };
        assert_eq!(agent["status"], expected, "{agent}");
        assert!(seen.insert(host), "twice: {agent}");
    }
    assert_eq!(seen.len(), 100);
}

#[test]
fn c23_a_thousand_host_names_on_ten_workers() {
    let mut cluster = Cluster::of(1, 0);
    let hosts = cluster.skein().dir().join("hosts");
    let all: Vec<String> = (0..1000).map(|number| format!("web-{number:04}")).collect();
    for host in &all {
        std::fs::create_dir_all(hosts.join(host)).expect("a folder");
    }
    let root = hosts.join("{host}");
    for worker in 0..10 {
        let pattern = format!("web-[{:04}-{:04}]", worker * 100, worker * 100 + 99);
        cluster.add_worker(&["--host", &pattern, "--root", root.to_str().expect("a path")]);
    }
    cluster.ready();
    let body = "return await parallel(args.hosts.map(host => () => agent('where', {host})))";
    let mut spec = cluster.spec(body, &["sh", "-c", "echo ${PWD##*/} $SKEIN_HOST"]);
    spec.args = Some(skein_common::Payload::json(json!({ "hosts": all }).to_string()));
    let run = cluster.submit(0, &spec);
    let view = cluster.completed(&run);
    let expected: Vec<String> = all.iter().map(|host| format!("{host} {host}")).collect();
    assert_eq!(texts(&view["result"]), expected, "{}", view["failures"]);
}

#[test]
fn c23_an_agent_waits_for_a_host_that_comes_later() {
    let mut cluster = Cluster::new();
    cluster.set("SKEIN_HOST_WAIT", "2m");
    cluster.add_coordinator();
    cluster.add_worker(&[]);
    cluster.ready();
    let body = "return await parallel([() => agent('here'), () => agent('there', {host: 'late'})])";
    let run = cluster.submit(0, &cluster.spec(body, &["sh", "-c", "echo $SKEIN_HOST."]));
    cluster.until("the other agent is done", |cluster| {
        (cluster.get(&format!("/runs/{run}"))?["agents"]["done"] == 1).then_some(())
    });
    cluster.add_worker(&["--host", "late"]);
    assert_eq!(cluster.completed(&run)["result"], json!([".", "late."]));
}

#[test]
fn a08_workers_show_themselves_and_pools_choose_among_them() {
    let mut cluster = Cluster::of(1, 0);
    cluster.add_worker(&["--label", "site=north", "--slots", "3"]);
    cluster.add_worker(&["--pool", "gpu", "--pool", "big", "--label", "site=south"]);
    cluster.add_worker(&["--host", "db-[1-2]"]);
    cluster.ready();
    let listed = cluster.cli(0, ["workers", "--json"]).answered();
    let worker = |number: usize| {
        let node = cluster.workers[number].node();
        let listed = listed.as_array().expect("a list").iter().find(|info| info["node"] == node.as_str());
        listed.expect("is listed").clone()
    };
    assert_eq!((&worker(0)["pools"], &worker(0)["slots"]), (&json!(["default"]), &json!(3)));
    assert_eq!((&worker(1)["pools"], &worker(1)["labels"]), (&json!(["gpu", "big"]), &json!({ "site": "south" })));
    assert_eq!((&worker(2)["pools"], &worker(2)["hosts"]), (&json!([]), &json!(["db-1", "db-2"])));
    let body =
        "return await parallel([{}, {pool: 'gpu'}, {pool: 'big'}, {host: 'db-2'}].map(o => () => agent('p', o)))";
    let run = cluster.submit(0, &cluster.spec(body, &["sh", "-c", "echo $PPID"]));
    let view = cluster.completed(&run);
    let parents = texts(&view["result"]);
    assert_eq!(parents.len(), 4, "{}", view["failures"]);
    let different: BTreeSet<&str> = parents.iter().map(|pid| pid.trim()).collect();
    assert_eq!(parents[1], parents[2], "one worker serves both pools");
    assert_eq!(different.len(), 3, "{parents:?}");
}

/// Six agents that wait for the file `go`, three of which run on a worker that is told to drain by `drain`.
fn drains(drain: impl FnOnce(&mut Cluster)) {
    let mut cluster = Cluster::of(1, 0);
    cluster.add_worker(&["--slots", "3"]);
    cluster.ready();
    let dir = cluster.skein().project();
    let shell = "echo $1 >> started; until test -e go; do sleep 0.01; done; echo $1";
    let body = "return await parallel([1, 2, 3, 4, 5, 6].map(i => () => agent('p' + i)))";
    let run = cluster.submit(0, &cluster.spec(body, &["sh", "-c", shell, "sh", "{prompt}"]));
    let started = |dir: &Path| std::fs::read_to_string(dir.join("started")).unwrap_or_default().lines().count();
    cluster.until("the worker is busy", |_| (started(&dir) == 3).then_some(()));
    drain(&mut cluster);
    cluster.until("it says that it drains", |cluster| {
        let known = cluster.get("/workers")?;
        (known[0]["draining"] == true).then_some(())
    });
    std::fs::write(dir.join("go"), "").expect("writes");
    let status = cluster.workers[0].ended();
    assert_eq!(started(&dir), 3, "it took nothing new");
    assert!(matches!(status.code(), Some(0 | 143)), "{status:?}");
    cluster.until("its record is gone", |cluster| (cluster.get("/workers")? == json!([])).then_some(()));
    cluster.add_worker(&[]);
    let view = cluster.completed(&run);
    assert_eq!(view["result"], json!(["p1", "p2", "p3", "p4", "p5", "p6"]));
    assert_eq!(started(&dir), 6, "each once");
}

#[test]
fn a08_a_worker_that_is_told_to_drain_finishes_what_it_runs_and_ends() {
    drains(|cluster| {
        let node = cluster.workers[0].node();
        let told = cluster.cli(0, ["drain", &node]);
        assert_eq!(told.code, Some(0), "{}", told.stderr);
    });
}

#[test]
fn a08_a_worker_that_is_terminated_drains() {
    drains(|cluster| cluster.workers[0].signal(rustix::process::Signal::TERM));
}

#[test]
fn r06_clusters_with_two_prefixes_on_one_server_do_not_see_each_other() {
    let mut one = Cluster::new();
    let mut other = Cluster::on(one.nats(), "other");
    for cluster in [&mut one, &mut other] {
        cluster.add_coordinator();
        cluster.add_worker(&[]);
        cluster.ready();
    }
    let run = one.submit(0, &one.spec("return await agent('p')", &["echo", "one"]));
    assert_eq!(one.completed(&run)["result"], "one");
    assert_eq!(other.get("/runs"), Some(json!([])), "the other has no run");
    assert_eq!(other.get("/workers").expect("a list").as_array().map(Vec::len), Some(1));
    assert_eq!(one.get("/workers").expect("a list")[0]["node"], one.workers[0].node().as_str());
    // Nor do the runs of the same machine that need no server.
    let script = one.skein().workflow("w.js", "return 7");
    assert_eq!(one.skein().run_json(&script, &[]).completed()["result"], 7);
    assert_eq!(one.get("/runs").expect("a list").as_array().map(Vec::len), Some(1));
}

fn shards(cluster: &mut Cluster, coordinator: usize) -> BTreeSet<u64> {
    let standing = cluster.standing(coordinator);
    standing["shards"]["owned"].as_array().expect("shards").iter().filter_map(Value::as_u64).collect()
}

#[test]
fn r04_coordinators_share_the_runs_when_one_joins_and_when_it_leaves() {
    let mut cluster = Cluster::of(1, 1);
    let all: BTreeSet<u64> = (0..16).collect();
    cluster.until("the first has all", |cluster| (shards(cluster, 0) == all).then_some(()));
    let dir = cluster.skein().project();
    let gate = "until test -e go-$1; do sleep 0.01; done; echo $1";
    let body = "const a = await agent('1'); const b = await agent('2'); return [a, b, await agent('3')]";
    let spec = cluster.spec(body, &["sh", "-c", gate, "sh", "{prompt}"]);
    let runs: Vec<String> = (0..12).map(|_| cluster.submit(0, &spec)).collect();
    cluster.add_coordinator();
    cluster.ready();
    cluster.until("both have their half", |cluster| {
        let (first, second) = (shards(cluster, 0), shards(cluster, 1));
        let halves = first.len() == 8 && second.len() == 8;
        (halves && first.union(&second).copied().collect::<BTreeSet<u64>>() == all).then_some(())
    });
    std::fs::write(dir.join("go-1"), "").expect("writes");
    for run in &runs {
        cluster.until("it goes on", |cluster| {
            (cluster.get(&format!("/runs/{run}"))?["agents"]["done"] == 1).then_some(())
        });
    }
    std::fs::write(dir.join("go-2"), "").expect("writes");
    cluster.coordinators[1].signal(rustix::process::Signal::TERM);
    let status = cluster.coordinators[1].ended();
    assert!(matches!(status.code(), Some(0 | 143)), "{status:?}");
    cluster.until("the first has all again", |cluster| (shards(cluster, 0) == all).then_some(()));
    std::fs::write(dir.join("go-3"), "").expect("writes");
    for run in &runs {
        assert_eq!(cluster.completed(run)["result"], json!(["1", "2", "3"]));
    }
    let ran_again = eventually("agents are listed", || {
        let agents = runs.iter().filter_map(|run| cluster.get(&format!("/runs/{run}/agents")));
        let agents: Vec<Value> = agents.collect();
        (agents.len() == runs.len()).then_some(agents)
    });
    for agents in ran_again {
        assert!(agents.as_array().expect("agents").iter().all(|agent| agent["attempts"] == 1), "{agents:#}");
    }
}

/// The whole site is started again: the owner is a new process, which has heard of no worker, and workers come last.
#[test]
fn c21_agents_of_a_pool_whose_workers_come_back_late_wait_for_them_under_a_new_owner() {
    let mut cluster = Cluster::of(1, 1);
    let dir = cluster.skein().project();
    let shell = "echo x >> started; until test -e go; do sleep 0.01; done; echo right";
    let body = "return await parallel([() => agent('one'), () => agent('two')])";
    let run = cluster.submit(0, &cluster.spec(body, &["sh", "-c", shell]));
    let started = || std::fs::read_to_string(dir.join("started")).unwrap_or_default().lines().count();
    cluster.until("the agents run", |_| (started() == 2).then_some(()));
    cluster.workers[0].kill();
    cluster.coordinators[0].kill();
    cluster.coordinators[0].restart();
    cluster.ready();

    // Each of these agents waits for a worker as long as anybody does, one after the other.
    let nowhere = "const all = []
        for (let i = 0; i < 5; i++) all.push(await agent('p', {pool: 'nowhere'}))
        return all";
    let other = cluster.submit(0, &cluster.spec(nowhere, &["true"]));
    let view = cluster.completed(&other);
    assert_eq!(view["result"], json!([null, null, null, null, null]), "nobody ever served this pool");
    let waiting = cluster.get(&format!("/runs/{run}")).expect("a view");
    assert_eq!((&waiting["status"], &waiting["agents"]["failed"]), (&json!("running"), &json!(0)), "{waiting:#}");

    std::fs::write(dir.join("go"), "").expect("writes");
    cluster.workers[0].restart();
    assert_eq!(cluster.completed(&run)["result"], json!(["right", "right"]));
}

/// A machine and its copy: the one that was there first ends and says why, the other works.
#[test]
fn a08_a_worker_whose_node_another_one_speaks_for_ends_and_says_why() {
    let mut cluster = Cluster::new();
    cluster.set("SKEIN_HEARTBEAT", "200ms");
    cluster.add(1, 1);
    let state = |name: &str, cluster: &Cluster| cluster.skein().dir().join(name).join("worker/node-0");
    let (from, to) = (state("worker-0", &cluster), state("worker-1", &cluster));
    std::fs::create_dir_all(&to).expect("a folder");
    std::fs::copy(from.join("id"), to.join("id")).expect("copies");
    let node = cluster.workers[0].node();
    cluster.add_worker(&[]);
    let status = cluster.workers[0].ended();
    assert_eq!(status.code(), Some(1));
    let log = cluster.workers[0].log();
    assert!(log.contains(&format!("another worker speaks for node {node}")) && log.contains("may be a copy"), "{log}");
    cluster.ready();
    let run = cluster.submit(0, &cluster.spec("return await agent('one')", &["echo", "right"]));
    assert_eq!(cluster.completed(&run)["result"], "right");
}
