//! Metrics and readiness of a cluster: sums over its processes are right while runs come to other coordinators.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_common::agent::Simulation;
use skein_engine::Event;
use skein_tests::cluster::{Answer, Cluster, Member};
use skein_tests::prometheus::Page;
use skein_tests::system::spec;

const RUNS: usize = 12;
const AGENTS: usize = 60;

fn page(member: &Member) -> Option<Page> {
    member.watched("/metrics").filter(|answer| answer.status == 200).map(|answer| Page(answer.body))
}

fn pages(cluster: &Cluster) -> Vec<Page> {
    cluster.coordinators.iter().filter_map(page).collect()
}

/// Over all coordinators.
fn sum(pages: &[Page], name: &str, labels: &str) -> f64 {
    pages.iter().map(|page| page.sum(name, labels)).sum()
}

#[test]
fn l01_sums_over_coordinators_are_right_while_runs_move_from_one_to_another() {
    let mut cluster = Cluster::of(1, 0);
    cluster.add_worker(&["--metrics", "127.0.0.1:0", "--slots", "40"]);
    cluster.ready();
    let mut moving = spec(&format!(
        "return (await parallel(Array.from({{ length: {AGENTS} }}, (_, i) => () => agent('agent-' + i)))).length"
    ));
    moving.limits.concurrency = 3;
    moving.simulation = Simulation { latency_ms: 200, ..Simulation::default() };
    let runs: Vec<String> = (0..RUNS).map(|_| cluster.submit(0, &moving)).collect();
    cluster.until("all of them run", |cluster| {
        (sum(&pages(cluster), "skein_agents_running", "") > f64::from(3 * 10)).then_some(())
    });
    cluster.add_coordinator();
    let (mut looks, mut with_both) = (0, 0);
    cluster.until("all runs have ended", |cluster| {
        let pages = pages(cluster);
        for page in &pages {
            let (held, limit) = (page.sum("skein_permits_in_use", ""), page.sum("skein_permits_limit", ""));
            assert!(held <= limit, "{held} permits of {limit}");
        }
        let active = sum(&pages, "skein_runs_active", "");
        assert!(active <= 12.0, "{active} runs of 12: one is told of twice");
        let busy = pages.iter().filter(|page| page.sum("skein_agents_running", "") > 0.0).count();
        (looks, with_both) = (looks + 1, with_both + usize::from(busy == 2));
        (sum(&pages, "skein_runs_total", "outcome=\"completed\"") >= 12.0).then_some(())
    });
    assert!(with_both > 0, "both had runs at a time, in one of {looks} looks");
    for run in &runs {
        assert_eq!(cluster.completed(run)["agents"]["done"], json!(AGENTS));
    }
    let last = pages(&cluster);
    assert_eq!(last.len(), 2);
    last.iter().for_each(Page::lint);
    let all = 12.0 * 60.0;
    assert_eq!(sum(&last, "skein_agents_total", "outcome=\"done\""), all, "each agent is counted once");
    assert_eq!(sum(&last, "skein_agents_total", ""), all);
    assert_eq!(sum(&last, "skein_runs_total", ""), 12.0);
    assert!(last[1].sum("skein_takeovers_total", "") >= 1.0 && last[1].has_moved("skein_replay_events_total"));
    assert_eq!(last[1].sum("skein_takeover_seconds_count", ""), last[1].sum("skein_takeovers_total", ""));
    for gauge in ["skein_runs_active", "skein_agents_running", "skein_agents_queued", "skein_permits_limit"] {
        assert_eq!(sum(&last, gauge, ""), 0.0, "{gauge}");
    }
    // Both hear the worker, one of them tells of it.
    cluster.until("one tells of the worker", |cluster| {
        let pages = pages(cluster);
        let told = sum(&pages, "skein_workers", "state=\"working\"");
        assert!(told <= 1.0, "told twice");
        (told == 1.0).then_some(())
    });
    let worker = page(&cluster.workers[0]).expect("the worker shows its metrics");
    worker.lint();
    assert_eq!(worker.sum("skein_worker_slots", "state=\"free\""), 40.0);
    assert!(worker.has_moved("skein_build_info"));
    assert!(!worker.families().contains(&"skein_runs_total"), "a worker knows no runs");
}

/// Agents that ended in records of owners after the first.
fn ended_after_takeover(cluster: &Cluster, run: &str) -> usize {
    let records = cluster.journal(run);
    let first = records.iter().map(|record| record.epoch).find(|epoch| *epoch > 0).expect("somebody owned it");
    let later = records.iter().filter(|record| record.epoch > first).flat_map(|record| &record.events);
    later.filter(|event| matches!(event, Event::TaskEnded { .. })).count()
}

#[test]
fn r04_who_takes_over_from_a_coordinator_that_was_killed_tells_what_the_journals_say() {
    let mut cluster = Cluster::of(2, 1);
    let mut lasting =
        spec("return (await parallel(Array.from({ length: 80 }, (_, i) => () => agent('a' + i)))).length");
    lasting.limits.concurrency = 4;
    lasting.simulation = Simulation { latency_ms: 200, ..Simulation::default() };
    let runs: Vec<String> = (0..3).map(|_| cluster.submit(0, &lasting)).collect();
    cluster.until("agents have ended", |cluster| {
        (page(&cluster.coordinators[0])?.sum("skein_agents_total", "") >= 10.0).then_some(())
    });
    cluster.coordinators[0].kill();
    let survivor = |cluster: &Cluster| page(&cluster.coordinators[1]);
    let mut running_max = 0.0_f64;
    cluster.until("the other has ended all of them", |cluster| {
        let page = survivor(cluster)?;
        let held = page.sum("skein_permits_in_use", "");
        assert!(held <= page.sum("skein_permits_limit", ""), "{}", page.0);
        running_max = running_max.max(held);
        (page.sum("skein_runs_total", "outcome=\"completed\"") == 3.0).then_some(())
    });
    assert!((1.0..=12.0).contains(&running_max), "{running_max}");
    let ended: usize = runs.iter().map(|run| ended_after_takeover(&cluster, run)).sum();
    let last = survivor(&cluster).expect("answers");
    assert!((1..240).contains(&ended), "{ended} of 240 after the takeover");
    assert_eq!(last.sum("skein_agents_total", "outcome=\"done\""), ended as f64);
    assert_eq!(last.sum("skein_takeovers_total", ""), 3.0);
    for gauge in ["skein_runs_active", "skein_agents_running", "skein_agents_queued", "skein_permits_in_use"] {
        assert_eq!(last.sum(gauge, ""), 0.0, "{gauge}");
    }
}

fn reasons(answer: &Answer) -> Vec<Value> {
    answer.json()["reasons"].as_array().cloned().unwrap_or_default()
}

/// Waits until this member says so of its readiness, and gives the reasons.
fn readiness(cluster: &mut Cluster, of: fn(&Cluster) -> &Member, status: u16) -> Vec<Value> {
    cluster.until("it says how it is", |cluster| {
        let answer = of(cluster).watched("/readyz")?;
        (answer.status == status).then(|| reasons(&answer))
    })
}

#[test]
fn a_process_without_its_servers_or_that_drains_is_not_ready_and_says_why() {
    let mut cluster = Cluster::of(1, 0);
    cluster.add_worker(&["--metrics", "127.0.0.1:0"]);
    cluster.ready();
    let coordinator: fn(&Cluster) -> &Member = |cluster| &cluster.coordinators[0];
    let worker: fn(&Cluster) -> &Member = |cluster| &cluster.workers[0];
    for of in [coordinator, worker] {
        assert_eq!(readiness(&mut cluster, of, 200), Vec::<Value>::new());
    }
    let nats = cluster.nats();
    nats.kill();
    for of in [coordinator, worker] {
        assert_eq!(readiness(&mut cluster, of, 503)[0], json!("no NATS server is connected"));
        assert_eq!(of(&cluster).watched("/healthz").map(|answer| answer.status), Some(200), "it lives all the same");
    }
    nats.restart();
    for of in [coordinator, worker] {
        assert_eq!(readiness(&mut cluster, of, 200), Vec::<Value>::new());
    }
    let mut waiting = spec("await agent('a')");
    waiting.simulation = Simulation { latency_ms: 24 * 60 * 60 * 1000, ..Simulation::default() };
    let run = cluster.submit(0, &waiting);
    cluster.until("the agent runs", |cluster| {
        (page(&cluster.workers[0])?.sum("skein_worker_slots", "state=\"busy\"") == 1.0).then_some(())
    });
    let node = cluster.workers[0].node();
    assert_eq!(cluster.cli(0, ["drain", &node]).code, Some(0));
    assert_eq!(readiness(&mut cluster, worker, 503), [json!("this worker drains: it takes nothing new")]);
    cluster.until("the coordinator knows", |cluster| {
        (page(&cluster.coordinators[0])?.sum("skein_workers", "state=\"draining\"") == 1.0).then_some(())
    });
    assert_eq!(cluster.cli(0, ["stop", &run]).code, Some(0));
    assert!(cluster.workers[0].ended().success());
}
