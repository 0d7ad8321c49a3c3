//! Attempts that get nowhere: how many follow each other, and what the script gets in the end (C22, C23, L5).

#![expect(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[expect(dead_code, reason = "each test file uses its own part")]
mod common;

use common::{Driven, count, spec};
use skein_common::Payload;
use skein_common::agent::{Cause, Usage};
use skein_common::script::Outcome;
use skein_common::wire::AttemptEnd;
use skein_engine::{Command, Event, JournalOutcome, ReuseTable, TaskEnd, agent_views, settlement};

const ALL_STALLED: &str = "agent stalled on all 6 attempts (no progress for 200ms each)";

fn report(agent: u32, attempt: u32, end: AttemptEnd) -> Command {
    let usage = Usage { output: 3, ..Usage::default() };
    Command::Report { agent, attempt, end, usage, notes: vec![format!("note {attempt}")] }
}

fn stalled() -> AttemptEnd {
    let message = "no progress for 200ms\nlast line of standard error".to_owned();
    AttemptEnd::Failed { cause: Cause::Stalled, detail: None, message, retryable: false, unfit: None }
}

fn unfit(answer: &str) -> AttemptEnd {
    AttemptEnd::Failed {
        cause: Cause::Failed,
        detail: Some("schema".to_owned()),
        message: format!("{answer} does not fit"),
        retryable: false,
        unfit: Some(Box::new(Payload::text(answer))),
    }
}

fn failed(retryable: bool) -> AttemptEnd {
    let message = "no".to_owned();
    AttemptEnd::Failed { cause: Cause::Failed, detail: None, message, retryable, unfit: None }
}

fn tries_again(events: &[Event]) -> bool {
    matches!(events, [Event::AttemptEnded { .. }, Event::TaskStarted { .. }])
}

fn end_of(events: &[Event]) -> &TaskEnd {
    match &events[0] {
        Event::TaskEnded { end, .. } => end,
        other => panic!("not the agent's end: {other:?}"),
    }
}

fn outcome(driven: &Driven, event: &Event) -> Outcome {
    match settlement(driven.run.state(), event).expect("a settlement").outcome {
        JournalOutcome::Plain(outcome) => outcome,
        other => panic!("not known at once: {other:?}"),
    }
}

#[test]
fn l05_six_attempts_without_progress_and_the_call_throws() {
    let mut driven = Driven::started(spec());
    driven.call("p", Some(r#"{"retries":0}"#));
    for attempt in 1..=5 {
        let events = driven.accept(report(1, attempt, stalled())).expect("accepted");
        assert!(tries_again(&events), "attempt {attempt}: {events:?}");
        assert!(matches!(&events[0], Event::AttemptEnded { cause: Cause::Stalled, notes, .. } if notes.len() == 1));
    }
    let events = driven.accept(report(1, 6, stalled())).expect("accepted");
    let expected = Outcome::Error { name: "Error".to_owned(), message: ALL_STALLED.to_owned() };
    assert_eq!(outcome(&driven, &events[0]), expected);
    let view = &agent_views(driven.run.state(), 0)[0];
    assert_eq!((view.status.as_str(), view.attempts, view.tokens), ("stalled", 6, 18));
    assert_eq!(driven.replayed().state(), driven.run.state());
}

#[test]
fn l05_an_attempt_that_gets_on_after_stalls_counts() {
    let mut driven = Driven::started(spec());
    driven.call("p", None);
    for attempt in 1..=5 {
        driven.accept(report(1, attempt, stalled())).expect("accepted");
    }
    let events = driven.finish(1, 1).expect("accepted");
    assert!(matches!(end_of(&events), TaskEnd::Done { .. }));
}

#[test]
fn c22_five_answers_that_do_not_fit_and_the_call_throws_and_keeps_the_last() {
    let mut driven = Driven::started(spec());
    driven.call("p", Some(r#"{"schema":{"type":"object"},"retries":0}"#));
    for attempt in 1..=4 {
        let events = driven.accept(report(1, attempt, unfit("early"))).expect("accepted");
        assert!(tries_again(&events), "attempt {attempt}: {events:?}");
    }
    let events = driven.accept(report(1, 5, unfit("last"))).expect("accepted");
    let message = "agent({schema}): StructuredOutput retry cap (5) exceeded — 5 failed calls with no valid output: \
                   last does not fit";
    let expected = Outcome::Error { name: "Error".to_owned(), message: message.to_owned() };
    assert_eq!(outcome(&driven, &events[0]), expected);
    let TaskEnd::Thrown { output, cause: Cause::Failed, .. } = end_of(&events) else { panic!("{events:?}") };
    assert_eq!(output.as_ref().and_then(Payload::inline), Some("last"));
}

#[test]
fn c22_a_large_last_answer_is_stored_beside_the_journal() {
    let mut driven = Driven::started(spec());
    driven.call("p", Some(r#"{"schema":{"type":"object"}}"#));
    let large = "x".repeat(100_000);
    for attempt in 1..=5 {
        driven.run.take_large_texts();
        driven.accept(report(1, attempt, unfit(&large))).expect("accepted");
    }
    let texts = driven.run.take_large_texts();
    assert_eq!(texts.iter().map(|text| text.text.len()).collect::<Vec<_>>(), [100_000]);
}

#[test]
fn c23_stalls_and_unfit_answers_do_not_use_up_retries() {
    let mut driven = Driven::started(spec());
    driven.call("p", Some(r#"{"schema":{"type":"object"},"retries":1}"#));
    let mixed = [stalled(), unfit("a"), failed(true), stalled(), unfit("b")];
    for (attempt, end) in (1..).zip(mixed) {
        let events = driven.accept(report(1, attempt, end)).expect("accepted");
        assert!(tries_again(&events), "attempt {attempt}: {events:?}");
    }
    let events = driven.accept(report(1, 6, failed(true))).expect("accepted");
    assert!(matches!(end_of(&events), TaskEnd::Null { cause: Cause::Failed, .. }), "the one retry is used up");
}

#[test]
fn c28_what_stalls_after_the_script_returned_is_not_tried_again() {
    let mut driven = Driven::started(spec());
    driven.call("p", None);
    driven.accept(Command::Return { result: "1".to_owned(), warnings: Vec::new() }).expect("accepted");
    let events = driven.accept(report(1, 1, stalled())).expect("accepted");
    assert!(matches!(end_of(&events), TaskEnd::Null { cause: Cause::Stalled, .. }));
    assert!(matches!(events.last(), Some(Event::RunEnded { .. })));
}

#[test]
fn r07_an_agent_that_threw_is_not_reused() {
    let mut driven = Driven::started(spec());
    driven.call("p", None);
    for attempt in 1..=6 {
        driven.accept(report(1, attempt, stalled())).expect("accepted");
    }
    let events: Vec<Event> = driven.journal.iter().map(|(_, event)| event.clone()).collect();
    assert_eq!(count(&events, |event| matches!(event, Event::TaskEnded { .. })), 1);
    assert!(ReuseTable::of(driven.run.state(), events.iter()).is_empty());
}

#[test]
fn c23_isolation_is_kept_and_what_is_none_or_unknown_is_not() {
    let mut driven = Driven::started(spec());
    driven.call("p", Some(r#"{"isolation":"worktree"}"#));
    driven.call("p", Some(r#"{"isolation":null}"#));
    let isolations: Vec<bool> = driven.run.state().agents.iter().map(|agent| agent.spec.isolation.is_some()).collect();
    assert_eq!(isolations, [true, false]);
    let events = driven.call("p", Some(r#"{"isolation":"docker"}"#));
    let thrown = r#"agent(): unknown isolation "docker"; known is 'worktree'"#;
    assert!(matches!(&events[0], Event::AgentRefused { message, .. } if message == thrown), "{events:?}");
}

/// What an attempt says of a worktree it leaves must not be lost because a person ended it.
#[test]
fn r08_notes_of_an_attempt_that_a_person_ended_are_kept() {
    for command in [Command::RestartAgent { agent: 1 }, Command::StopAgent { agent: 1 }] {
        let mut driven = Driven::started(spec());
        driven.call("p", None);
        driven.accept(command).expect("accepted");
        let events = driven.accept(report(1, 1, stalled())).expect("accepted");
        let (Event::AttemptEnded { cause: Cause::Interrupted, notes, .. }
        | Event::TaskEnded { end: TaskEnd::Null { cause: Cause::Stopped, .. }, notes, .. }) = &events[0]
        else {
            panic!("{events:?}")
        };
        assert_eq!(notes, &["note 1"]);
        assert_eq!(driven.run.state().agent(1).map(|agent| agent.stalls), Some(0), "it did not stall");
    }
}
