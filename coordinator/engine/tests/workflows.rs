//! `workflow()` (C40): which script answers a call, in which group its agents are, and that a journal keeps both.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

#[expect(dead_code, reason = "each test file uses its own part")]
mod common;

use common::{Driven, agent_op, loaded, replay, spec};
use serde_json::Value;
use skein_common::run::RunSpec;
use skein_common::script::{Call, CallKind, Op, Outcome};
use skein_common::workflow::{KnownWorkflow, WorkflowRef};
use skein_common::{Payload, RunId};
use skein_engine::{
    Command, Cursor, Effect, Event, JournalOutcome, Record, Refused, ReuseTable, decode_record, effects,
    encode_records, run_view, settlement,
};
use std::path::Path;

fn name(name: &str) -> WorkflowRef {
    WorkflowRef::Name { name: name.to_owned() }
}

fn path(path: &str) -> WorkflowRef {
    WorkflowRef::Path { path: path.to_owned() }
}

fn call(id: u32, target: WorkflowRef, args: Option<&str>) -> Op {
    Op::Call(Call { id, kind: CallKind::Workflow { target, args: args.map(str::to_owned) } })
}

fn began(call: u32, name: &str) -> Op {
    Op::WorkflowStarted { call, name: name.to_owned() }
}

/// An agent that the script of this `workflow()` call starts.
fn agent_of(id: u32, workflow: u32, options: Option<&str>) -> Op {
    let kind = CallKind::Agent {
        prompt: format!("agent {id}"),
        options: options.map(str::to_owned),
        options_not_object: false,
        phase: Some("Theirs".to_owned()),
        workflow: Some(workflow),
    };
    Op::Call(Call { id, kind })
}

/// A run that knows `child` and `other`.
fn spec_of_two() -> RunSpec {
    let known = |at: &str| KnownWorkflow { target: name(at), source: Payload::text(format!("text of {at}")) };
    RunSpec { workflows: vec![known("child"), known("other")], ..spec() }
}

fn operate(driven: &mut Driven, ops: Vec<Op>) -> Vec<Event> {
    driven.accept(Command::Operate { ops }).expect("operates")
}

fn settled(driven: &Driven, events: &[Event]) -> Vec<JournalOutcome> {
    events.iter().filter_map(|event| settlement(driven.run.state(), event)).map(|settled| settled.outcome).collect()
}

fn phases(driven: &Driven) -> Vec<(String, u32)> {
    let view = run_view(&RunId::from_uuid(uuid::Uuid::nil()), driven.run.state(), 0, None);
    view.phases.into_iter().map(|phase| (phase.title, phase.agents)).collect()
}

#[test]
fn c40_a_saved_one_is_answered_at_once_with_the_text_of_the_submission() {
    let mut driven = Driven::started(spec_of_two());
    let events = operate(&mut driven, vec![call(1, name("other"), None)]);
    assert!(matches!(&events[0], Event::WorkflowCalled { call: 1, .. }));
    assert!(matches!(&events[1], Event::WorkflowLoaded { call: 1, source: None, .. }), "{events:?}");
    assert_eq!(settled(&driven, &events), [JournalOutcome::Value(Payload::text("text of other"))]);
    assert_eq!(effects(driven.run.state(), &events[0], 0), []);
    assert_eq!(driven.replayed().state(), driven.run.state());
}

#[test]
fn c40_an_unknown_name_is_refused_and_the_known_ones_are_listed() {
    let mut driven = Driven::started(spec_of_two());
    let events = operate(&mut driven, vec![call(1, name("nope"), None)]);
    let message = "workflow('nope'): no workflow with that name. Known: child, other".to_owned();
    let error = Outcome::Error { name: "Error".to_owned(), message };
    assert_eq!(settled(&driven, &events), [JournalOutcome::Plain(error)]);
    let mut driven = Driven::started(spec());
    operate(&mut driven, vec![call(1, name("nope"), None)]);
    assert!(matches!(&driven.journal.last().expect("an event").1,
        Event::WorkflowRefused { message, .. } if message.ends_with("none is saved")));
}

#[test]
fn r02a_a_path_is_read_once_and_its_text_is_journalled_with_its_digest() {
    let mut driven = Driven::started(spec_of_two());
    let events = operate(&mut driven, vec![call(1, path("a.js"), None), call(2, path("a.js"), Some("1"))]);
    let load = |call| Effect::LoadWorkflow { call, path: "a.js".to_owned() };
    let asked: Vec<Effect> = events.iter().flat_map(|event| effects(driven.run.state(), event, 0)).collect();
    assert_eq!(asked, [load(1), load(2)]);
    assert_eq!(driven.run.state().standing_effects(), asked, "a new owner asks again");
    let provide = |call, text: &str| Command::ProvideScript { call, read: Ok(text.to_owned()) };
    let first = driven.accept(provide(1, "first")).expect("accepted");
    let later = driven.accept(provide(2, "edited meanwhile")).expect("accepted");
    let again = operate(&mut driven, vec![call(3, path("a.js"), None)]);
    for events in [&first, &later, &again] {
        assert_eq!(settled(&driven, events), [JournalOutcome::Value(Payload::text("first"))]);
    }
    let digest = Payload::text("first").digest_as_blob();
    assert!(matches!(&first[0], Event::WorkflowLoaded { source: Some(_), digest: known, .. } if *known == digest));
    assert!(matches!(&later[0], Event::WorkflowLoaded { source: None, digest: known, .. } if *known == digest));
    assert_eq!(driven.accept(provide(2, "x")), Err(Refused::NotOpen));
    assert_eq!(driven.accept(provide(9, "x")), Err(Refused::NotOpen));
    assert_eq!(driven.replayed().state(), driven.run.state());
    assert_eq!(driven.run.state().standing_effects(), []);
}

#[test]
fn c40_a_path_that_cannot_be_read_throws() {
    let mut driven = Driven::started(spec_of_two());
    operate(&mut driven, vec![call(1, path("a.js"), None)]);
    let read = Err("no such file".to_owned());
    let events = driven.accept(Command::ProvideScript { call: 1, read }).expect("accepted");
    let message = "workflow({scriptPath: 'a.js'}): no such file".to_owned();
    assert_eq!(
        settled(&driven, &events),
        [JournalOutcome::Plain(Outcome::Error { name: "Error".to_owned(), message })]
    );
}

#[test]
fn r02a_large_texts_leave_the_events() {
    let text = "t".repeat(40 * 1024);
    let known = KnownWorkflow { target: name("child"), source: Payload::text(text.clone()) };
    let mut driven = Driven::submitted(RunSpec { workflows: vec![known], ..spec() });
    assert_eq!(driven.run.take_large_texts().len(), 1);
    driven.accept(Command::Begin { epoch: 1 }).expect("begins");
    driven.accept(Command::Load { loaded: loaded(&[]) }).expect("loads");
    operate(&mut driven, vec![call(1, name("child"), None), call(2, path("a.js"), None)]);
    driven.accept(Command::ProvideScript { call: 2, read: Ok(text.clone()) }).expect("accepted");
    let digest = Payload::text(text).digest_as_blob();
    let blobs = driven.journal.iter().filter_map(|(_, event)| settlement(driven.run.state(), event));
    for settlement in blobs {
        assert!(
            matches!(settlement.outcome, JournalOutcome::Value(Payload::TextBlob { digest: of, .. }) if of == digest)
        );
    }
    assert_eq!(driven.run.take_large_texts().len(), 1);
}

#[test]
fn c40_agents_of_a_child_are_in_its_group_whatever_phase_it_names() {
    let mut driven = Driven::started(spec_of_two());
    let phase = |title: &str| Op::Phase { title: title.to_owned() };
    operate(&mut driven, vec![phase("Ours"), call(1, name("child"), None), call(2, name("child"), None)]);
    let own = agent_op(5, "own", Some(r#"{"phase":"Ours"}"#));
    let ops = vec![
        began(1, "child"),
        agent_of(3, 1, None),
        began(2, "child"),
        agent_of(4, 2, Some(r#"{"phase":"Theirs too"}"#)),
        own,
        agent_of(6, 1, None),
    ];
    operate(&mut driven, ops);
    let expected = [("Ours", 1), ("▸ child", 2), ("▸ child #2", 1)];
    assert_eq!(phases(&driven), expected.map(|(title, agents)| (title.to_owned(), agents)));
    assert_eq!(driven.run.state().warnings, ["phase 'Ours' is not in meta.phases"]);
    assert_eq!(driven.replayed().state(), driven.run.state());
}

#[test]
fn c38_a_child_spends_and_counts_with_its_parent() {
    let limits = skein_common::run::RunLimits { concurrency: 1, agents_max: 2 };
    let mut driven = Driven::started(RunSpec { limits, budget: Some(100), ..spec_of_two() });
    operate(&mut driven, vec![call(1, name("child"), None)]);
    let events = operate(&mut driven, vec![began(1, "child"), agent_of(2, 1, None), agent_op(3, "own", None)]);
    assert_eq!(common::count(&events, |event| matches!(event, Event::TaskStarted { .. })), 1);
    driven.finish(1, 120).expect("finishes");
    let events = operate(&mut driven, vec![agent_of(4, 1, None)]);
    assert!(
        matches!(&events[0], Event::AgentRefused { message, .. } if message == "budget exhausted: 120 of 100 tokens")
    );
}

#[test]
fn c33_a_stop_rejects_a_call_that_waits_for_its_file_and_every_later_one() {
    let mut driven = Driven::started(spec_of_two());
    operate(&mut driven, vec![call(1, path("a.js"), None)]);
    let stopped = Outcome::Error { name: "Error".to_owned(), message: "run stopped".to_owned() };
    let events = driven.accept(Command::Stop).expect("accepted");
    assert_eq!(settled(&driven, &events), [JournalOutcome::Plain(stopped.clone())]);
    let late = driven.accept(Command::ProvideScript { call: 1, read: Ok("text".to_owned()) });
    assert_eq!(late, Err(Refused::NotOpen));
    let events = operate(&mut driven, vec![call(2, name("child"), None), call(3, path("a.js"), None)]);
    assert_eq!(settled(&driven, &events), [JournalOutcome::Plain(stopped.clone()), JournalOutcome::Plain(stopped)]);
    assert!(events.iter().all(|event| effects(driven.run.state(), event, 0).is_empty()));
    assert_eq!(driven.replayed().state(), driven.run.state());
}

#[test]
fn r05_a_replay_knows_the_call_again_and_another_diverges() {
    let mut driven = Driven::started(spec_of_two());
    operate(&mut driven, vec![call(1, name("child"), Some(r#"{"a":1,"b":2}"#))]);
    operate(&mut driven, vec![began(1, "child"), agent_of(2, 1, None)]);
    let replayed = vec![call(1, name("child"), Some(r#"{"b":2,"a":1}"#)), began(1, "child"), agent_of(2, 1, None)];
    let mut cursor = Cursor::default();
    assert_eq!(cursor.new_ops(driven.run.state(), replayed).expect("matches"), []);
    cursor.check_complete(driven.run.state()).expect("complete");
    for other in [call(1, name("other"), None), call(1, name("child"), None), agent_op(1, "x", None)] {
        let diverged = Cursor::default().new_ops(driven.run.state(), vec![other]).expect_err("diverges");
        assert_eq!(diverged.journalled, "workflow('child')");
    }
}

#[test]
fn r06a_reuse_by_key_goes_through_children() {
    let turn = |driven: &mut Driven| {
        operate(driven, vec![call(1, name("child"), None)]);
        operate(driven, vec![began(1, "child"), agent_of(2, 1, None), agent_op(3, "own", None)])
    };
    let mut parent = Driven::started(spec_of_two());
    turn(&mut parent);
    parent.finish(1, 5).expect("finishes");
    parent.finish(2, 5).expect("finishes");
    let events: Vec<Event> = parent.journal.iter().map(|(_, event)| event.clone()).collect();
    for resume_mode in [skein_common::run::ResumeMode::Keyed, skein_common::run::ResumeMode::Prefix] {
        let mut again = Driven::started(RunSpec { resume_mode, ..spec_of_two() });
        again.run.set_reusable(ReuseTable::of(parent.run.state(), events.iter()));
        let events = turn(&mut again);
        assert_eq!(common::count(&events, |event| matches!(event, Event::AgentReused { .. })), 2, "{resume_mode:?}");
        assert_eq!(phases(&again), [("▸ child".to_owned(), 1), ("(no phase)".to_owned(), 1)]);
    }
}

/// A run with every event of `workflow()`.
fn eventful() -> Driven {
    let mut driven = Driven::started(spec_of_two());
    operate(&mut driven, vec![call(1, name("child"), Some("null")), call(2, name("nope"), None)]);
    operate(&mut driven, vec![began(1, "child"), agent_of(3, 1, None), call(4, path("a.js"), None)]);
    driven.accept(Command::ProvideScript { call: 4, read: Ok("text".to_owned()) }).expect("accepted");
    operate(&mut driven, vec![began(4, "child"), agent_of(5, 4, None)]);
    driven.finish(1, 3).expect("finishes");
    driven
}

#[test]
fn invariant_8_a_journal_with_workflows_reads_as_it_was_written() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/workflows-v1.msgpack");
    if std::env::var_os("SKEIN_BLESS").is_some() && !golden.exists() {
        let journal = eventful().journal;
        let records: Vec<Vec<u8>> = (0u64..)
            .zip(&journal)
            .flat_map(|(batch, (at_ms, event))| {
                encode_records(1, batch, *at_ms, std::slice::from_ref(event)).expect("encodes")
            })
            .collect();
        std::fs::write(&golden, rmp_serde::to_vec(&records).expect("encodes")).expect("writes");
        std::fs::write(golden.with_extension("json"), picture(&journal)).expect("writes");
    }
    let stored: Vec<Vec<u8>> = rmp_serde::from_slice(&std::fs::read(&golden).expect("reads")).expect("records");
    let decoded = stored.iter().map(|bytes| decode_record(bytes).expect("decodes"));
    let journal: Vec<(i64, Event)> =
        decoded.flat_map(|Record { at_ms, events, .. }| events.into_iter().map(move |event| (at_ms, event))).collect();
    let expected = std::fs::read_to_string(golden.with_extension("json")).expect("reads");
    let (expected, now): (Value, Value) =
        (serde_json::from_str(&expected).expect("JSON"), serde_json::from_str(&picture(&journal)).expect("JSON"));
    assert_eq!(expected, now);
}

/// The groups, and what the script is told, in order.
fn picture(journal: &[(i64, Event)]) -> String {
    let run = replay(journal);
    let told = journal.iter().filter_map(|(_, event)| settlement(run.state(), event));
    let told: Vec<Value> = told
        .map(|settlement| match settlement.outcome {
            JournalOutcome::Value(payload) => serde_json::json!([settlement.call, payload]),
            JournalOutcome::Plain(outcome) => serde_json::json!([settlement.call, outcome]),
        })
        .collect();
    let groups: Vec<&str> = run.state().agents.iter().filter_map(|agent| agent.spec.phase.as_deref()).collect();
    serde_json::to_string_pretty(&serde_json::json!({ "told": told, "groups": groups })).expect("encodes") + "\n"
}
