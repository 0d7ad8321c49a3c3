//! Two coordinators and four workers, one of which dies again and again while 20 runs go on.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::Value;
use skein_tests::cluster::{Cluster, Probe};
use std::path::Path;
use std::time::Instant;

const RUNS: usize = 20;
const COORDINATORS: usize = 2;
const WORKERS: usize = 4;

fn number_of(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The next of a sequence of numbers that look like chance and are the same for the same seed (splitmix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn kill_one(cluster: &mut Cluster, chance: u64) {
    let victim = usize::try_from(chance % (COORDINATORS + WORKERS) as u64).expect("small");
    let (coordinators, workers) = (&mut cluster.coordinators, &mut cluster.workers);
    let victim = coordinators.iter_mut().chain(workers).nth(victim).expect("one of them");
    victim.kill();
    victim.restart();
}

/// 3 kills and 50 agents a run in the quick tier. In the full one `SKEIN_TEST_CHAOS_KILLS` of them, 200 agents a run that
/// each take a second, 64 at a time on all workers: that is a minute, and a kill about every two seconds.
#[test]
fn r04_every_run_completes_whatever_is_killed() {
    let kills = number_of("SKEIN_TEST_CHAOS_KILLS", 3);
    let (agents, work_ms) = if kills > 3 { (200, 1000) } else { (50, 50) };
    let mut chance = number_of("SKEIN_TEST_SEED", usize::try_from(std::process::id()).expect("a number")) as u64;
    println!("SKEIN_TEST_SEED={chance}");
    let mut cluster = Cluster::new();
    cluster.set("SKEIN_SLOTS", "16");
    cluster.add(COORDINATORS, WORKERS);
    let begun = Instant::now();
    let runs: Vec<(String, Probe)> = (0..RUNS)
        .map(|run| {
            let probe = cluster.probe(&format!("probe-{run}"), Path::new(env!("CARGO_BIN_EXE_probe-agent")));
            let command = probe.command(work_ms);
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let spec = cluster.spec(&Probe::body(agents), &command);
            (cluster.submit(run % COORDINATORS, &spec), probe)
        })
        .collect();
    // By how far the runs are, not by the clock: the same on a slow machine.
    for kill in 1..=kills {
        let at = RUNS * agents * kill / (kills + 1);
        cluster.until("the runs go on", |_| {
            (runs.iter().map(|(_, probe)| probe.lines().len()).sum::<usize>() >= at).then_some(())
        });
        kill_one(&mut cluster, next(&mut chance));
    }
    let last_kill = Instant::now();
    let ended: Vec<Value> = runs.iter().map(|(run, _)| cluster.completed(run)).collect();
    let again: usize = runs.iter().map(|(_, probe)| probe.check(agents).again).sum();
    for view in ended {
        assert_eq!(view["result"], agents, "{view:#}");
    }
    let (all, after) = (begun.elapsed().as_secs_f64(), last_kill.elapsed().as_secs_f64());
    println!("{kills} kills in {RUNS} runs of {agents} agents: {all:.0} s, {after:.1} s after the last, {again} again");
}
