//! Golden journals: a stored journal of each record version reads as it did when it was written. Files are never
//! edited; a new version, or new kinds of events, get a new file (`SKEIN_BLESS=1` writes those that are missing).
#![expect(clippy::expect_used, reason = "a test says what it expects")]

#[expect(dead_code, reason = "each test file uses its own part")]
mod common;

use common::{Driven, agent_op, loaded, replay, spec};
use serde_json::Value;
use skein_common::agent::{Cause, Usage};
use skein_common::run::{RunLimits, RunSpec};
use skein_common::script::{Call, CallKind, Op};
use skein_common::wire::AttemptEnd;
use skein_common::{Payload, RunId};
use skein_engine::{Command, Event, Record, ReuseTable, agent_views, compat, decode_record, encode_records, run_view};
use std::fs;
use std::path::{Path, PathBuf};

type Make = fn() -> Driven;

/// The stored journals and how each was made.
const JOURNALS: [(&str, Make); 2] = [("journal-v1", eventful), ("journal-v1-control", controlled)];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A run in which every kind of event happens that a script and its workers cause.
fn eventful() -> Driven {
    let limits = RunLimits { concurrency: 2, agents_max: 4 };
    let mut driven = Driven::submitted(RunSpec { limits, budget: Some(100_000), ..spec() });
    let parent = parent();
    let events: Vec<Event> = parent.journal.iter().map(|(_, event)| event.clone()).collect();
    driven.run.set_reusable(ReuseTable::of(parent.run.state(), events.iter()));
    let accept = |driven: &mut Driven, command| driven.accept(command).expect("accepted");
    accept(&mut driven, Command::Begin { epoch: 1 });
    accept(&mut driven, Command::Load { loaded: loaded(&["Scan"]) });
    let timer = |id, delay_ms| Op::Call(Call { id, kind: CallKind::Timer { delay_ms } });
    let ops = vec![
        Op::Phase { title: "Scan".to_owned() },
        Op::Log { text: "a line".to_owned() },
        Op::Warning { text: "a warning".to_owned() },
        agent_op(1, "reused", None),
        agent_op(2, "one", Some(r#"{"label":"first","model":"haiku","schema":{"type":"object"}}"#)),
        agent_op(3, &"large ".repeat(10_000), None),
        agent_op(4, "refused", Some(r#"{"agentType":"nope"}"#)),
        timer(5, 10),
        timer(6, 20),
        Op::ClearTimer { call: 6 },
        Op::SlotFailed {
            place: "parallel[0]".to_owned(),
            message: "boom".to_owned(),
            script_error: true,
            refused: false,
        },
        agent_op(7, "three", None),
    ];
    accept(&mut driven, Command::Operate { ops });
    accept(&mut driven, Command::Fire { call: 5 });
    accept(&mut driven, Command::Lose { agent: 1, attempt: 1, ours: true });
    accept(&mut driven, Command::Begin { epoch: 2 });
    driven.finish(1, 50).expect("accepted");
    let end = AttemptEnd::Failed {
        cause: Cause::Failed,
        detail: Some("exit 3".to_owned()),
        message: "no".to_owned(),
        retryable: false,
    };
    let (usage, notes) = (Usage { output: 7, ..Usage::default() }, vec!["a note".to_owned()]);
    accept(&mut driven, Command::Report { agent: 2, attempt: 1, end, usage, notes });
    accept(&mut driven, Command::Return { result: r#"{"n":1}"#.to_owned(), warnings: vec!["late".to_owned()] });
    accept(&mut driven, Command::EndGrace);
    driven
}

/// A run that people pause, resume and stop, with agents that they stop, restart and skip.
fn controlled() -> Driven {
    let mut driven = Driven::started(RunSpec { limits: RunLimits { concurrency: 3, agents_max: 10 }, ..spec() });
    driven.call_many(6);
    let mut accept = |command| driven.accept(command).expect("accepted");
    accept(Command::StopAgent { agent: 1 });
    accept(Command::RestartAgent { agent: 2 });
    accept(Command::SkipAgent { agent: 5 });
    accept(Command::Pause);
    accept(Command::Lose { agent: 1, attempt: 1, ours: true });
    accept(Command::Lose { agent: 2, attempt: 1, ours: true });
    accept(Command::Resume);
    accept(Command::StopAgent { agent: 3 });
    accept(Command::Stop);
    accept(Command::EndGrace);
    driven
}

fn parent() -> Driven {
    let mut parent = Driven::started(spec());
    parent.call("reused", None);
    parent.finish(1, 5).expect("accepted");
    parent
}

/// The journal as records, one for each moment.
fn records(driven: &Driven) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for (batch, group) in (0u64..).zip(driven.journal.chunk_by(|a, b| a.0 == b.0)) {
        let events: Vec<Event> = group.iter().map(|(_, event)| event.clone()).collect();
        let epoch = driven.run.state().epoch;
        records.extend(encode_records(epoch, batch, group[0].0, &events).expect("encodes"));
    }
    records
}

fn read(path: &Path) -> Vec<(i64, Event)> {
    let stored: Vec<Vec<u8>> = rmp_serde::from_slice(&fs::read(path).expect("reads")).expect("a list of records");
    let decoded = stored.iter().map(|bytes| decode_record(bytes).expect("decodes"));
    decoded.flat_map(|Record { at_ms, events, .. }| events.into_iter().map(move |event| (at_ms, event))).collect()
}

/// What people see of the run, and how it folds.
fn picture(journal: &[(i64, Event)]) -> String {
    let run = replay(journal);
    let id = RunId::from_uuid(uuid::Uuid::nil());
    let result = run.state().result.as_ref().and_then(Payload::inline);
    let view = run_view(&id, run.state(), 0, result);
    let agents = agent_views(run.state(), 0);
    serde_json::to_string_pretty(&(view, agents)).expect("encodes") + "\n"
}

#[test]
fn invariant_8_a_journal_of_every_version_reads_as_it_was_written() {
    for (name, make) in JOURNALS {
        let path = folder().join(format!("{name}.msgpack"));
        if std::env::var_os("SKEIN_BLESS").is_some() && !path.exists() {
            let driven = make();
            fs::write(&path, rmp_serde::to_vec(&records(&driven)).expect("encodes")).expect("writes");
            fs::write(path.with_extension("json"), picture(&driven.journal)).expect("writes");
        }
        let expected = fs::read_to_string(path.with_extension("json")).expect("reads");
        let expected: Value = serde_json::from_str(&expected).expect("JSON");
        let now: Value = serde_json::from_str(&picture(&read(&path))).expect("JSON");
        assert_still_there(&expected, &now, name);
    }
    let newest = format!("journal-v{}", compat::RECORD_VERSION);
    assert!(JOURNALS.iter().any(|(name, _)| name.starts_with(&newest)), "no stored journal of {newest}");
}

/// Views grow by new keys only: what was there is there, with the same value.
fn assert_still_there(expected: &Value, now: &Value, place: &str) {
    match (expected, now) {
        (Value::Object(expected), Value::Object(now)) => {
            for (key, value) in expected {
                assert_still_there(value, now.get(key).unwrap_or(&Value::Null), &format!("{place}/{key}"));
            }
        }
        (Value::Array(expected), Value::Array(now)) => {
            assert_eq!(expected.len(), now.len(), "{place}");
            for (index, (expected, now)) in expected.iter().zip(now).enumerate() {
                assert_still_there(expected, now, &format!("{place}/{index}"));
            }
        }
        _ => assert_eq!(expected, now, "{place}"),
    }
}

#[test]
fn the_golden_runs_have_every_kind_of_event() {
    let journals: Vec<Driven> = JOURNALS.iter().map(|(_, make)| make()).collect();
    let events = journals.iter().flat_map(|driven| &driven.journal);
    let mut kinds: Vec<String> = events
        .map(|(_, event)| serde_json::to_value(event).expect("encodes")["type"].as_str().expect("a type").to_owned())
        .collect();
    kinds.sort();
    kinds.dedup();
    let all = [
        "agent_interrupted",
        "agent_queued",
        "agent_refused",
        "agent_reused",
        "attempt_ended",
        "epoch_began",
        "log_line",
        "paused",
        "phase_entered",
        "resumed",
        "run_ended",
        "run_started",
        "run_submitted",
        "script_returned",
        "slot_failed",
        "stop_requested",
        "task_ended",
        "task_started",
        "timer_cleared",
        "timer_fired",
        "timer_set",
        "warned",
    ];
    assert_eq!(kinds, all);
}
