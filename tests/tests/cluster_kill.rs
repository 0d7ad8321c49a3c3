//! `kill -9` of parts of a cluster in the middle of 1000 agents: it goes on by itself, and the agents themselves saw that
//! never more than 16 of them ran.
#![expect(clippy::print_stdout, reason = "times are told, and not asserted")]

use skein_tests::cluster::{Cluster, Probe};
use std::path::Path;
use std::time::Instant;

const AGENTS: usize = 1000;
/// Agents at the same time, and so the most that a kill makes run twice.
const CAP: usize = 16;
/// Long enough that at every instant most of the sixteen run.
const WORK_MS: u32 = 10;

/// How many kills: 2 in the quick tier, as many as `SKEIN_TEST_KILLS` says in the full one.
fn kills() -> usize {
    std::env::var("SKEIN_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

fn probe(cluster: &Cluster, kill: usize) -> Probe {
    cluster.probe(&format!("probe-{kill}"), Path::new(env!("CARGO_BIN_EXE_probe-agent")))
}

/// A run of a thousand agents; when so many have begun, `kill` happens.
fn run_and_kill(cluster: &mut Cluster, probe: &Probe, after_agents: usize, kill: impl FnOnce(&mut Cluster)) {
    let command = probe.command(WORK_MS);
    let spec = cluster.spec(&Probe::body(AGENTS), &command.iter().map(String::as_str).collect::<Vec<_>>());
    let run = cluster.submit(0, &spec);
    cluster.until("the agents get going", |_| (probe.lines().len() >= after_agents).then_some(()));
    kill(cluster);
    let killed = Instant::now();
    let left = AGENTS.saturating_sub(probe.lines().len());
    let view = cluster.completed(&run);
    let seconds = killed.elapsed().as_secs_f64();
    assert_eq!(view["result"], AGENTS, "{view:#}");
    assert_eq!(view["agents"]["done"], AGENTS, "{view:#}");
    let seen = probe.check(AGENTS);
    let again = seen.again;
    println!("killed after {after_agents} agents: {left} left, complete after {seconds:.1} s, {again} ran twice");
    assert!(seen.times_max <= 2 && again <= CAP, "{seen:?}");
}

/// Kills again and again, spread over the tenths of a run, in one cluster that lives through all of it.
fn kill_often(coordinators: usize, workers: usize, mut kill: impl FnMut(&mut Cluster)) {
    let mut cluster = Cluster::of(coordinators, workers);
    let kills = kills();
    for number in 1..=kills {
        let at = AGENTS * (1 + (number - 1) * 9 / kills) / 10;
        let probe = probe(&cluster, number);
        run_and_kill(&mut cluster, &probe, at, &mut kill);
        cluster.ready();
    }
}

#[test]
fn r04_a_killed_coordinator_that_is_started_again_goes_on() {
    kill_often(1, 2, |cluster| {
        cluster.coordinators[0].kill();
        cluster.coordinators[0].restart();
    });
}

#[test]
fn r04_a_killed_worker_that_is_started_again_costs_its_attempts_only() {
    kill_often(1, 2, |cluster| {
        cluster.workers[0].kill();
        cluster.workers[0].restart();
    });
}

#[test]
fn r04_a_coordinator_and_a_worker_killed_at_once_go_on() {
    kill_often(1, 2, |cluster| {
        cluster.coordinators[0].kill();
        cluster.workers[0].kill();
        cluster.coordinators[0].restart();
        cluster.workers[0].restart();
    });
}

#[test]
fn r04_a_killed_nats_server_that_is_started_again_loses_nothing() {
    kill_often(1, 2, |cluster| {
        let nats = cluster.nats();
        nats.kill();
        nats.restart();
    });
}

#[test]
fn r04_a_killed_worker_that_never_comes_back_is_replaced_by_the_other() {
    let mut cluster = Cluster::of(1, 2);
    let probe = probe(&cluster, 1);
    run_and_kill(&mut cluster, &probe, AGENTS / 2, |cluster| cluster.workers[0].kill());
}

#[test]
fn r04_another_coordinator_takes_over_from_a_killed_one() {
    let mut cluster = Cluster::of(2, 2);
    let probe = probe(&cluster, 1);
    run_and_kill(&mut cluster, &probe, AGENTS / 2, |cluster| cluster.coordinators[0].kill());
}
