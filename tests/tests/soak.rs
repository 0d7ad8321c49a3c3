//! Many runs through one zygote, one after the other: what a process holds does not grow with them.

use skein_common::run::RunStatus;
use skein_script::HostLimits;
use skein_tests::system::System;
use skein_tests::{eventually, processes};
use std::time::Duration;

/// Runs in the quick tier; `SKEIN_TEST_RUNS` sets another number.
const RUNS: usize = 200;
/// After so many every cache and pool has what it keeps.
const WARM_UP: usize = 50;
/// Descriptors that come and go.
const DESCRIPTORS_SPARE: usize = 8;
/// Far less than a run's worth of anything times the number of runs.
const MEMORY_SPARE_KIB: u64 = 48 * 1024;

/// What a process and its zygote hold.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: usize,
    processes: usize,
    memory_kib: u64,
}

fn zygotes() -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    processes::children_of(own).into_iter().filter(|pid| processes::command_line(*pid).contains("zygote")).collect()
}

fn memory_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn held() -> Held {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let of_all = |pids: &[i32], count: fn(i32) -> usize| pids.iter().map(|pid| count(*pid)).sum::<usize>();
    let both: Vec<i32> = zygotes().into_iter().chain([own]).collect();
    Held {
        descriptors: of_all(&both, |pid| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)),
        processes: of_all(&both, |pid| processes::children_of(pid).len()),
        memory_kib: both.iter().map(|pid| memory_kib(*pid)).sum(),
    }
}

/// Script hosts that were killed are gone in the end.
async fn held_at_rest(processes: usize) -> Held {
    let looked = tokio::task::spawn_blocking(move || {
        eventually("no more processes are left than before", || Some(held()).filter(|it| it.processes <= processes))
    });
    match tokio::time::timeout(Duration::from_secs(120), looked).await {
        Ok(Ok(held)) => held,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn many_runs_through_one_zygote_leave_nothing_behind() {
    let runs = std::env::var("SKEIN_TEST_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(RUNS);
    actix::System::new().block_on(async {
        let system = System::start(HostLimits::default()).await;
        let nothing_runs = held().processes;
        let bodies = [
            "return (await parallel([1, 2, 3].map(i => () => agent('p' + i)))).length",
            "throw new Error('on purpose')",
            "agent('never awaited'); return 1",
        ];
        for body in bodies.iter().cycle().take(WARM_UP) {
            system.run(body).await;
        }
        let before = held_at_rest(nothing_runs).await;
        for (number, body) in bodies.iter().cycle().take(runs).enumerate() {
            let view = system.run(body).await;
            assert_eq!(view.status == RunStatus::Failed, number % 3 == 1, "{:?}", view.error);
        }
        let after = held_at_rest(before.processes).await;
        println!("{runs} runs: {before:?}, then {after:?}");
        assert!(after.descriptors <= before.descriptors + DESCRIPTORS_SPARE, "{before:?}, {after:?}");
        assert!(after.memory_kib <= before.memory_kib + MEMORY_SPARE_KIB, "{before:?}, {after:?}");
        system.stop().await;
    });
}
