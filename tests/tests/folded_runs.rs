//! Runs that are read on: what is told of them is what their journals say, however often somebody looks.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use skein_common::RunId;
use skein_common::run::RunStatus;
use skein_common::view::RunView;
use skein_coordinator::{LoadError, RunOutcome, stored};
use skein_script::HostLimits;
use skein_tests::system::{System, spec};

/// Without what changes as time goes by.
fn told(view: RunView) -> serde_json::Value {
    let view = RunView { elapsed_ms: 0, ..view };
    let mut told = serde_json::to_value(view).expect("encodes");
    for phase in told["phases"].as_array_mut().into_iter().flatten() {
        phase["elapsed_ms"] = 0.into();
    }
    told
}

async fn assert_told_right(system: &System, run: &RunId) -> RunView {
    let (ports, folded) = (system.coordinator.ports(), system.coordinator.folded());
    let view = folded.view(run).await.expect("a run");
    assert_eq!(told(view.clone()), told(stored::view(ports, run).await.expect("a run")));
    view
}

#[actix::test]
async fn a_run_is_told_as_its_journal_has_it_at_every_look() {
    let system = System::start(HostLimits::default()).await;
    let body = "phase('one'); log('a'); return await parallel([1, 2, 3].map((n) => () => agent('a' + n)))";
    let run = system.coordinator.submit(spec(body)).await.expect("submits");
    assert_eq!(assert_told_right(&system, &run).await.status, RunStatus::Interrupted, "nobody has it");
    let outcome = system.coordinator.run_to_its_end(run.clone()).await;
    assert!(matches!(outcome, RunOutcome::Ended(_)), "{outcome:?}");
    let view = assert_told_right(&system, &run).await;
    assert_eq!((view.status, view.agents.done), (RunStatus::Completed, 3));
    assert!(view.result.is_some());
    let agents = system.coordinator.folded().agents(&run).await.expect("agents");
    assert_eq!(agents.len(), 3);
}

#[actix::test]
async fn a_run_that_is_removed_is_not_told_of_and_another_journal_is_read_anew() {
    let system = System::start(HostLimits::default()).await;
    let (ports, folded) = (system.coordinator.ports().clone(), system.coordinator.folded().clone());
    let (one, other) = (spec("return 1"), spec("phase('x'); return 2"));
    let run = system.coordinator.submit(one).await.expect("submits");
    let other = system.coordinator.submit(other).await.expect("submits");
    system.coordinator.run_to_its_end(run.clone()).await;
    system.coordinator.run_to_its_end(other.clone()).await;
    folded.view(&run).await.expect("a run");
    let records = ports.journal.read(&other, 0).await.expect("reads");
    ports.journal.remove(&run).await.expect("removes");
    assert!(matches!(folded.view(&run).await, Err(LoadError::NotFound { .. })));
    ports.journal.append(&run, 0, records).await.expect("appends");
    let view = folded.view(&run).await.expect("a run");
    assert_eq!(view.result.map(|result| result.get().to_owned()).as_deref(), Some("2"));
}

#[actix::test]
async fn more_runs_than_are_kept_are_all_told() {
    let system = System::start(HostLimits::default()).await;
    let mut runs = Vec::new();
    for number in 0..40 {
        let run = system.coordinator.submit(spec(&format!("return {number}"))).await.expect("submits");
        runs.push(run);
    }
    for run in runs.iter().chain(&runs) {
        assert_told_right(&system, run).await;
    }
    let looks = runs[..4].iter().flat_map(|run| std::iter::repeat_n(run, 20));
    let folded = system.coordinator.folded();
    for view in futures::future::join_all(looks.map(|run| folded.view(run))).await {
        view.expect("a run");
    }
}
