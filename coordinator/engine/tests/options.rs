//! What the options of a call come to (C23, C25, C26, C27).

#![expect(clippy::expect_used, reason = "a test says what it expects")]

#[expect(dead_code, reason = "each test file uses its own part")]
mod common;

use common::{Driven, count, spec};
use skein_common::agent::{AgentDefinition, Cause, RetryRule, RunnerKind, Usage};
use skein_common::run::RunSpec;
use skein_common::wire::AttemptEnd;
use skein_engine::{Agent, AgentState, Command, Event, run_view};

fn definition(name: &str, model: Option<&str>, retry: RetryRule) -> AgentDefinition {
    AgentDefinition {
        name: name.to_owned(),
        description: String::new(),
        model: model.map(str::to_owned),
        runner: Some(RunnerKind::Command),
        command: None,
        cwd: None,
        env: Vec::new(),
        retry,
        tools: None,
        body: String::new(),
        path: format!("/agents/{name}.md"),
        digest: String::new(),
    }
}

fn with_definitions() -> RunSpec {
    let definitions =
        vec![definition("typed", Some("opus"), RetryRule::Asked), definition("plain", None, RetryRule::Any)];
    RunSpec { definitions, model: Some("sonnet".to_owned()), ..spec() }
}

fn last(driven: &Driven) -> &Agent {
    driven.run.state().agents.last().expect("an agent")
}

fn fail(driven: &mut Driven, agent: u32, attempt: u32, output: u64) -> Vec<Event> {
    let end = AttemptEnd::Failed {
        cause: Cause::Failed,
        detail: Some("exit 1".to_owned()),
        message: "no".to_owned(),
        retryable: false,
        unfit: None,
    };
    let usage = Usage { output, ..Usage::default() };
    driven.accept(Command::Report { agent, attempt, end, usage, notes: Vec::new() }).expect("accepted")
}

#[test]
fn c26_the_model_is_the_calls_then_the_types_then_the_runs() {
    let mut driven = Driven::started(with_definitions());
    for (options, model) in [
        (r#"{"agentType":"typed","model":"haiku"}"#, "haiku"),
        (r#"{"agentType":"typed"}"#, "opus"),
        (r#"{"agentType":"plain"}"#, "sonnet"),
        ("{}", "sonnet"),
    ] {
        driven.call("p", Some(options));
        assert_eq!(last(&driven).spec.model.as_deref(), Some(model), "{options}");
    }
    let mut driven = Driven::started(spec());
    driven.call("p", None);
    assert_eq!(last(&driven).spec.model, None, "nobody names one");
}

#[test]
fn c25_the_phase_of_a_call_is_its_own_and_a_refused_one_leaves_none() {
    let mut driven = Driven::started(spec());
    driven.call("p", Some(r#"{"phase":"Own"}"#));
    driven.call("p", None);
    driven.call("p", Some(r#"{"phase":"Refused","agentType":"nope"}"#));
    let id = skein_common::RunId::from_uuid(uuid::Uuid::nil());
    let phases = run_view(&id, driven.run.state(), 0, None).phases;
    let titles: Vec<&str> = phases.iter().map(|phase| phase.title.as_str()).collect();
    assert_eq!(titles, ["Own", "(no phase)"]);
    assert!(!driven.run.state().warnings.iter().any(|warning| warning.contains("Refused")));
}

#[test]
fn c23_a_type_with_retry_any_tries_every_failure_again() {
    let mut driven = Driven::started(with_definitions());
    driven.call("p", Some(r#"{"agentType":"plain","retries":1}"#));
    let events = fail(&mut driven, 1, 1, 0);
    assert!(matches!(events[..], [Event::AttemptEnded { .. }, Event::TaskStarted { attempt: 2, .. }]), "{events:?}");
    assert!(matches!(fail(&mut driven, 1, 2, 0)[0], Event::TaskEnded { .. }));
    driven.call("p", Some(r#"{"agentType":"typed","retries":1}"#));
    assert!(matches!(fail(&mut driven, 2, 1, 0)[0], Event::TaskEnded { .. }), "it did not ask for another");
}

#[test]
fn c23_an_unknown_effort_is_a_warning_and_with_strict_it_throws() {
    let mut driven = Driven::started(spec());
    driven.call("p", Some(r#"{"effort":"turbo"}"#));
    assert_eq!(last(&driven).spec.effort, None);
    let text = "agent(): unknown effort 'turbo'; known are low, medium, high, xhigh, max";
    assert_eq!(driven.run.state().warnings, [text]);
    let mut strict = Driven::started(RunSpec { strict: true, ..spec() });
    let events = strict.call("p", Some(r#"{"effort":"turbo"}"#));
    assert!(matches!(&events[0], Event::AgentRefused { message, .. } if message == text), "{events:?}");
}

#[test]
fn c23_the_highest_priority_that_waits_starts_first() {
    let limits = skein_common::run::RunLimits { concurrency: 1, agents_max: 10 };
    let mut driven = Driven::started(RunSpec { limits, ..spec() });
    for priority in ["5", "1", "9"] {
        driven.call("p", Some(&format!(r#"{{"priority":{priority}}}"#)));
    }
    let started = |events: &[Event]| {
        events.iter().find_map(|event| match event {
            Event::TaskStarted { agent, .. } => Some(*agent),
            _ => None,
        })
    };
    assert_eq!(started(&driven.finish(1, 0).expect("accepted")), Some(3));
    assert_eq!(started(&driven.finish(3, 0).expect("accepted")), Some(2));
}

#[test]
fn c27_the_tokens_of_every_attempt_count() {
    let mut driven = Driven::started(with_definitions());
    driven.call("p", Some(r#"{"agentType":"plain","retries":2}"#));
    for attempt in 1..=2 {
        fail(&mut driven, 1, attempt, 10);
    }
    let events = fail(&mut driven, 1, 3, 10);
    assert!(matches!(events[0], Event::TaskEnded { spent: 30, .. }), "{events:?}");
    assert_eq!(driven.run.state().usage.total(), 30);
}

#[test]
fn c21_a_cause_says_how_and_the_agent_keeps_it() {
    for cause in [
        Cause::Failed,
        Cause::Skipped,
        Cause::Stopped,
        Cause::TimedOut,
        Cause::Refused,
        Cause::Lost,
        Cause::Denied,
        Cause::OutputTooLarge,
    ] {
        let mut driven = Driven::started(spec());
        driven.call("p", None);
        let (detail, message) = (Some("why".to_owned()), String::new());
        let end = AttemptEnd::Failed { cause, detail, message, retryable: false, unfit: None };
        let report = Command::Report { agent: 1, attempt: 1, end, usage: Usage::default(), notes: Vec::new() };
        let events = driven.accept(report).expect("accepted");
        assert_eq!(count(&events, |event| matches!(event, Event::TaskEnded { .. })), 1);
        assert!(matches!(last(&driven).state, AgentState::Ended(_)));
        let view = &skein_engine::agent_views(driven.run.state(), 0)[0];
        assert_eq!((view.status.as_str(), view.detail.as_deref()), (cause.name(), Some("why")));
    }
}
