//! The life of a run, agent by agent: limits, retries, budget, endings.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

#[expect(dead_code, reason = "each test file uses its own part")]
mod common;

use common::{Driven, agent_op, count, loaded, spec};
use skein_common::Payload;
use skein_common::agent::{Cause, RunnerKind, Usage};
use skein_common::run::{RunLimits, RunStatus};
use skein_common::script::{Op, ScriptError, ScriptErrorKind};
use skein_common::wire::AttemptEnd;
use skein_engine::{Command, Event, Refused, Stage, TaskEnd, agent_views, run_view};

fn is_started(event: &Event) -> bool {
    matches!(event, Event::TaskStarted { .. })
}

fn failure(retryable: bool) -> AttemptEnd {
    let detail = Some("exit 3".to_owned());
    AttemptEnd::Failed { cause: Cause::Failed, detail, message: "no".to_owned(), retryable, unfit: None }
}

fn report(agent: u32, attempt: u32, end: AttemptEnd) -> Command {
    Command::Report { agent, attempt, end, usage: Usage::default(), notes: Vec::new() }
}

fn refusal(events: &[Event]) -> (String, String, bool) {
    events
        .iter()
        .find_map(|event| match event {
            Event::AgentRefused { name, message, limit, .. } => Some((name.clone(), message.clone(), *limit)),
            _ => None,
        })
        .expect("a refusal")
}

#[test]
fn l01_sixteen_agents_run_at_a_time_and_the_next_starts_when_one_ends() {
    let mut driven = Driven::started(spec());
    assert_eq!(count(&driven.call_many(40), is_started), 16);
    let events = driven.finish(3, 0).expect("accepted");
    assert_eq!(count(&events, is_started), 1);
    assert_eq!(driven.run.state().semaphore.permits_in_use(), 16);
}

#[test]
fn l01_the_1001st_call_throws_and_does_not_count() {
    let mut driven = Driven::started(spec());
    driven.call_many(1000);
    let (name, message, limit) = refusal(&driven.call("one more", None));
    assert_eq!(name, "WorkflowAgentCapError");
    assert!(message.starts_with("Workflow agent() call cap reached (1000)."), "{message}");
    assert!(limit);
    assert_eq!(driven.run.state().agents.len(), 1000);
}

#[test]
fn l02_limits_out_of_range_are_refused() {
    for (concurrency, agents_max) in [(0, 1), (257, 1), (1, 0), (1, 100_001)] {
        assert!(RunLimits { concurrency, agents_max }.check().is_err());
    }
    assert!(RunLimits { concurrency: 256, agents_max: 100_000 }.check().is_ok());
}

#[test]
fn c23_exit_75_is_tried_again_twice_and_other_failures_are_not() {
    let mut driven = Driven::started(spec());
    driven.call_many(2);
    for attempt in 1..=2 {
        let events = driven.accept(report(1, attempt, failure(true))).expect("accepted");
        assert!(matches!(events[0], Event::AttemptEnded { ours: false, .. }));
        assert_eq!(count(&events, is_started), 1);
    }
    let events = driven.accept(report(1, 3, failure(true))).expect("accepted");
    assert!(matches!(events[0], Event::TaskEnded { end: TaskEnd::Null { cause: Cause::Failed, .. }, .. }));
    let events = driven.accept(report(2, 1, failure(false))).expect("accepted");
    assert!(matches!(events[0], Event::TaskEnded { .. }));
}

#[test]
fn c23_an_attempt_lost_by_a_crash_of_ours_does_not_count_five_times() {
    let mut driven = Driven::started(spec());
    driven.call("p", Some(r#"{"retries":0}"#));
    for attempt in 1..=5 {
        let events = driven.accept(Command::Lose { agent: 1, attempt, ours: true }).expect("accepted");
        assert!(matches!(events[0], Event::AttemptEnded { ours: true, .. }), "attempt {attempt}");
    }
    let events = driven.accept(Command::Lose { agent: 1, attempt: 6, ours: true }).expect("accepted");
    assert!(matches!(events[0], Event::TaskEnded { end: TaskEnd::Null { cause: Cause::Lost, .. }, .. }));
}

#[test]
fn a_late_report_from_an_old_attempt_is_refused() {
    let mut driven = Driven::started(spec());
    driven.call("p", None);
    driven.accept(Command::Lose { agent: 1, attempt: 1, ours: false }).expect("accepted");
    let late = driven.accept(report(1, 1, AttemptEnd::Done { value: Payload::text("late") }));
    assert_eq!(late, Err(Refused::StaleAttempt { reported: 1 }));
    driven.finish(1, 0).expect("the second attempt counts");
    let twice = driven.accept(report(1, 2, AttemptEnd::Done { value: Payload::text("twice") }));
    assert_eq!(twice, Err(Refused::NotRunning));
}

#[test]
fn c23_unknown_options_warn_and_with_strict_they_throw() {
    let mut driven = Driven::started(spec());
    let events = driven.call("p", Some(r#"{"lable":"x"}"#));
    assert_eq!(count(&events, |event| matches!(event, Event::Warned { text, .. } if text.contains("lable"))), 1);
    let mut strict = Driven::started(skein_common::run::RunSpec { strict: true, ..spec() });
    let (name, message, limit) = refusal(&strict.call("p", Some(r#"{"lable":"x"}"#)));
    assert_eq!(name, "TypeError");
    assert!(message.contains("lable") && message.contains("agentType") && !limit, "{message}");
}

#[test]
fn c23_what_cannot_be_meant_throws() {
    for options in [
        r#"{"agentType":"nope"}"#,
        r#"{"isolation":"docker"}"#,
        r#"{"isolation":true}"#,
        r#"{"retries":11}"#,
        r#"{"retries":-1}"#,
        r#"{"priority":10}"#,
        r#"{"timeout":"soon"}"#,
        r#"{"timeout":0}"#,
        r#"{"runner":"magic"}"#,
        r#"{"model":5}"#,
        r#"{"schema":"text"}"#,
        r#"{"schema":{"type":"strng"}}"#,
        r#"{"schema":{"type":"object","required":["a"],"additionalProperties":false}}"#,
        r#"{"tools":"Bash"}"#,
        r#"{"stallMs":"x"}"#,
    ] {
        let mut driven = Driven::started(spec());
        let (_, message, limit) = refusal(&driven.call("p", Some(options)));
        assert!(!limit && !message.is_empty(), "{options}");
        assert_eq!(driven.run.state().agents.len(), 0, "{options}");
    }
}

#[test]
fn c24_the_label_is_the_first_60_characters_and_duplicates_are_numbered() {
    let mut driven = Driven::started(spec());
    driven.call(&format!("line one\nline two {}", "x".repeat(80)), None);
    driven.call("p", Some(r#"{"label":"same"}"#));
    driven.call("p", Some(r#"{"label":"same"}"#));
    let views = agent_views(driven.run.state(), 0);
    assert_eq!(views[0].label.chars().count(), 60);
    assert!(views[0].label.starts_with("line one line two"));
    assert_eq!((views[1].label.as_str(), views[2].label.as_str()), ("same", "same [2]"));
}

#[test]
fn c38_a_spent_budget_refuses_calls_and_waiting_agents() {
    let mut driven = Driven::started(skein_common::run::RunSpec {
        budget: Some(25),
        limits: RunLimits { concurrency: 1, agents_max: 10 },
        ..spec()
    });
    driven.call_many(2);
    let events = driven.finish(1, 30).expect("accepted");
    let (name, message, limit) = refusal(&events);
    assert_eq!((name.as_str(), message.as_str(), limit), ("Error", "budget exhausted: 30 of 25 tokens", true));
    let (_, message, _) = refusal(&driven.call("later", None));
    assert_eq!(message, "budget exhausted: 30 of 25 tokens");
    let view = run_view(&run_id(), driven.run.state(), 0, None);
    assert_eq!((view.agents.started, view.agents.refused), (2, 2));
}

#[test]
fn c38_an_agent_waits_while_spent_plus_reserved_reaches_the_total() {
    let mut driven = Driven::started(skein_common::run::RunSpec {
        budget: Some(100),
        limits: RunLimits { concurrency: 2, agents_max: 10 },
        ..spec()
    });
    driven.call_many(4);
    let events = driven.finish(1, 60).expect("accepted");
    assert_eq!(count(&events, is_started), 0, "60 spent and 60 reserved for the running one");
    let events = driven.finish(2, 20).expect("accepted");
    assert_eq!(count(&events, is_started), 1, "80 spent, nothing runs: one may start");
}

#[test]
fn c28_an_agent_never_awaited_is_cancelled_with_one_log_line() {
    let mut driven = Driven::started(spec());
    driven.call_many(18);
    let returned = Command::Return { result: "1".to_owned(), warnings: Vec::new() };
    let events = driven.accept(returned).expect("accepted");
    assert_eq!(count(&events, |event| matches!(event, Event::LogLine { from_engine: true, .. })), 1);
    assert_eq!(driven.run.state().stage, Stage::Returned);
    let events = driven.accept(Command::EndGrace).expect("accepted");
    assert!(matches!(events.last(), Some(Event::RunEnded { status: RunStatus::Completed, .. })));
    let view = run_view(&run_id(), driven.run.state(), 0, Some("1"));
    assert_eq!((view.agents.stopped, view.degraded), (18, false));
}

#[test]
fn r01_a_completed_run_that_lost_agents_is_degraded() {
    let mut driven = Driven::started(spec());
    driven.call_many(2);
    driven.finish(1, 5).expect("accepted");
    driven.accept(report(2, 1, failure(false))).expect("accepted");
    driven.accept(Command::Return { result: "[]".to_owned(), warnings: Vec::new() }).expect("accepted");
    let view = run_view(&run_id(), driven.run.state(), 0, Some("[]"));
    assert!(view.degraded && view.status == RunStatus::Completed);
    assert_eq!(view.failures, ["prompt 2 failed (exit 3): no"]);
}

#[test]
fn r10_ten_failure_lines_and_a_count() {
    let mut driven = Driven::started(spec());
    let slot = |index: u32| Op::SlotFailed {
        place: format!("parallel[{index}]"),
        message: "boom".to_owned(),
        script_error: true,
        refused: false,
    };
    driven.accept(Command::Operate { ops: (0..60).map(slot).collect() }).expect("accepted");
    let view = run_view(&run_id(), driven.run.state(), 0, None);
    assert_eq!(view.failures.len(), 10);
    assert_eq!(view.failures[9], "and 51 more");
}

#[test]
fn c35_groups_are_declared_ones_first_then_as_used() {
    let mut driven = Driven::submitted(spec());
    driven.accept(Command::Begin { epoch: 1 }).expect("begins");
    driven.accept(Command::Load { loaded: loaded(&["X", "Unused"]) }).expect("loads");
    let phase = |title: &str| Op::Phase { title: title.to_owned() };
    let ops = vec![phase("Y"), phase("X"), agent_op(1, "p", Some(r#"{"phase":"Z"}"#)), phase("Y")];
    driven.accept(Command::Operate { ops }).expect("accepted");
    let titles = |driven: &Driven| -> Vec<String> {
        run_view(&run_id(), driven.run.state(), 0, None).phases.into_iter().map(|phase| phase.title).collect()
    };
    assert_eq!(titles(&driven), ["X", "Unused", "Y", "Z"]);
    driven.finish(1, 0).expect("accepted");
    driven.accept(Command::Return { result: "1".to_owned(), warnings: Vec::new() }).expect("accepted");
    assert_eq!(titles(&driven), ["Z"], "phases without agents are hidden at the end");
    assert_eq!(driven.run.state().warnings, ["phase 'Y' is not in meta.phases", "phase 'Z' is not in meta.phases"]);
}

#[test]
fn a01_without_a_runner_or_a_model_the_run_ends_with_advice() {
    let mut driven = Driven::started(skein_common::run::RunSpec { runner: None, ..spec() });
    let events = driven.call("p", None);
    let Some(Event::RunEnded { status: RunStatus::Failed, error: Some(error) }) = events.last() else {
        panic!("{events:?}")
    };
    assert!(error.message.starts_with("no model is configured"), "{}", error.message);
    assert!(error.message.contains("--runner"), "{}", error.message);
    let dry = skein_common::run::RunSpec { runner: None, dry_run: true, ..spec() };
    let mut driven = Driven::started(dry);
    driven.call("p", Some(r#"{"runner":"llm"}"#));
    assert_eq!(driven.run.state().agents[0].spec.runner, RunnerKind::Simulated);
}

#[test]
fn r02_a_script_that_does_not_parse_is_a_run_that_failed() {
    let mut driven = Driven::submitted(spec());
    driven.accept(Command::Begin { epoch: 1 }).expect("begins");
    let error = ScriptError {
        kind: ScriptErrorKind::Syntax,
        message: "unexpected token".to_owned(),
        line: Some(2),
        column: Some(7),
        stack: None,
        source_line: None,
    };
    driven.accept(Command::Fail { error }).expect("accepted");
    let view = run_view(&run_id(), driven.run.state(), 0, None);
    let error = view.error.expect("an error");
    assert_eq!((view.status, error.kind.as_str(), error.line), (RunStatus::Failed, "syntax", Some(2)));
}

#[test]
fn r10_the_end_is_in_the_journal_once_and_nothing_follows_it() {
    let mut driven = Driven::started(spec());
    driven.accept(Command::Stop).expect("accepted");
    driven.accept(Command::EndGrace).expect("accepted");
    for command in [Command::Stop, Command::EndGrace, Command::Begin { epoch: 9 }] {
        assert_eq!(driven.accept(command), Err(Refused::Ended));
    }
    assert_eq!(driven.journal.iter().filter(|(_, event)| matches!(event, Event::RunEnded { .. })).count(), 1);
}

#[test]
fn a_run_that_gets_nowhere_in_five_takeovers_ends_failed() {
    let mut driven = Driven::submitted(spec());
    for epoch in 1..=5 {
        let events = driven.accept(Command::Begin { epoch }).expect("begins");
        assert!(matches!(events[..], [Event::EpochBegan { .. }]));
    }
    let events = driven.accept(Command::Begin { epoch: 6 }).expect("decides");
    let [Event::RunEnded { error: Some(error), .. }] = &events[..] else { panic!("{events:?}") };
    assert!(error.message.starts_with("internal error at event"), "{}", error.message);
}

#[test]
fn owners_that_had_a_run_for_long_are_not_what_breaks_it() {
    let mut driven = Driven::submitted(spec());
    for epoch in 1..=20 {
        let events = driven.accept(Command::Begin { epoch }).expect("begins");
        assert!(matches!(events[..], [Event::EpochBegan { .. }]), "coordinators restarted one after the other");
        driven.now_ms += 60_000;
    }
    for epoch in 21..=25 {
        driven.accept(Command::Begin { epoch }).expect("begins");
    }
    let events = driven.accept(Command::Begin { epoch: 26 }).expect("decides");
    assert!(matches!(events[..], [Event::RunEnded { .. }]), "five that follow each other at once are");
}

#[test]
fn a_stale_epoch_is_refused() {
    let mut driven = Driven::started(spec());
    let stale = driven.accept(Command::Begin { epoch: 1 });
    assert_eq!(stale, Err(Refused::StaleEpoch { offered: 1, current: 1 }));
}

fn run_id() -> skein_common::RunId {
    "wf_00000000000000000000000000".parse().expect("an id")
}

#[test]
fn l06_a_large_run_gets_one_warning_and_goes_on() {
    let mut driven = Driven::started(spec());
    driven.call_many(25);
    assert!(driven.run.state().warnings.is_empty());
    driven.call_many(200);
    let is_large = |text: &&String| text.starts_with("large workflow");
    assert_eq!(driven.run.state().warnings.iter().filter(is_large).count(), 1);
    let mut costly = Driven::started(spec());
    costly.call_many(2);
    costly.finish(1, 900_000).expect("accepted");
    costly.call("p", None);
    assert_eq!(costly.run.state().warnings.iter().filter(is_large).count(), 1, "by projected tokens");
}

#[test]
fn c10_what_a_script_makes_large_is_cut_before_it_is_journalled() {
    let mut driven = Driven::started(spec());
    let large = "x".repeat(1_000_000);
    let refused = driven.call("p", Some(&format!(r#"{{"timeout":"{large}"}}"#)));
    let unknown: Vec<String> = (0..5_000).map(|number| format!(r#""key{number}{}":1"#, "y".repeat(50))).collect();
    let warned = driven.call("p", Some(&format!("{{{}}}", unknown.join(","))));
    let place = format!("parallel[0] {large}");
    let slot = Op::SlotFailed { place, message: large.clone(), script_error: true, refused: false };
    let failed = driven.accept(Command::Operate { ops: vec![slot] }).expect("operates");
    for events in [refused, warned, failed] {
        let records = skein_engine::encode_records(1, 1, 1, &events).expect("encodes");
        let bytes: usize = records.iter().map(Vec::len).sum();
        assert!(bytes < 64 * 1024, "{bytes} bytes");
    }
}
