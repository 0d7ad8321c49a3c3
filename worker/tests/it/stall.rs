//! Programs that make no progress (L5).

use crate::bench::{Bench, failure, text};
use crate::support::{processes_with, shell, task};
use skein_common::agent::{Cause, RunnerKind, Simulation};
use skein_common::wire::{AttemptEnd, Task};

#[actix_rt::test]
async fn l05_a_program_that_writes_nothing_stalls_and_is_gone() {
    let bench = Bench::new().await;
    let mut task = shell(&bench.run, 1, bench.path(), "echo begun >&2; sleep 86431.25");
    task.stall_ms = Some(2_000);
    let report = bench.report(&task).await;
    let expected = (Cause::Stalled, "", "no progress for 2000ms\nbegun", false);
    assert_eq!(failure(&report), expected);
    assert_eq!(processes_with("86431.25"), Vec::<i32>::new());
    bench.worker.stop().await;
}

/// The setting is less than the program takes in all; between two bytes it takes far less.
#[actix_rt::test]
async fn l05_a_byte_on_any_of_its_descriptors_is_progress() {
    let bench = Bench::with(|config| config.settings.stall_ms = 2_000).await;
    for (agent, descriptor) in [(1, 1), (2, 2), (3, 3)] {
        let usage = r#"echo '{"skein_usage":{"input":1}}' >&3"#;
        let line = format!("for i in $(seq 30); do printf x >&{descriptor}; sleep 0.1; done; echo >&3; {usage}");
        bench.world.dispatch(&shell(&bench.run, agent, bench.path(), &line));
    }
    for agent in 1..=3 {
        let report = bench.world.report(&crate::support::attempt(&bench.run, agent)).await;
        assert!(matches!(report.end, AttemptEnd::Done { .. }), "agent {agent}: {report:?}");
    }
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn l05_the_setting_holds_for_tasks_that_name_no_time_and_zero_is_off() {
    let bench = Bench::with(|config| config.settings.stall_ms = 200).await;
    let silent = "sleep 0.7; echo done";
    assert_eq!(failure(&bench.shell(1, silent).await).2, "no progress for 200ms");
    let mut task = shell(&bench.run, 2, bench.path(), silent);
    task.stall_ms = Some(0);
    assert_eq!(text(&bench.report(&task).await), "done");
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn l05_output_that_is_closed_is_no_progress() {
    let bench = Bench::new().await;
    let mut task = shell(&bench.run, 1, bench.path(), "exec sleep 86432.25 >/dev/null 2>&1 3>&1");
    task.stall_ms = Some(200);
    assert_eq!(failure(&bench.report(&task).await).0, Cause::Stalled);
    assert_eq!(processes_with("86432.25"), Vec::<i32>::new());
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn l05_a_simulated_agent_gets_on_all_the_time() {
    let bench = Bench::new().await;
    let simulation = Simulation { latency_ms: 500, ..Simulation::default() };
    let simulated = task(&bench.run, 1, RunnerKind::Simulated, bench.path());
    let report = bench.report(&Task { simulation, stall_ms: Some(1), ..simulated }).await;
    assert!(matches!(report.end, AttemptEnd::Done { .. }), "{report:?}");
    bench.worker.stop().await;
}
