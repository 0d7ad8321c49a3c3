//! Stored formats: split batches, newer versions, replayed scripts that differ.

#[expect(dead_code, reason = "each test file uses its own part")]
mod common;

use common::{Driven, agent_op, spec};
use skein_common::Payload;
use skein_common::script::Op;
use skein_engine::{Command, Cursor, Event, RecordError, decode_record, encode_records};

#[test]
fn a_batch_above_512_kib_becomes_chained_records_in_order() {
    let lines: Vec<Event> =
        (0..100).map(|n| Event::LogLine { text: format!("{n} {}", "x".repeat(20_000)), from_engine: false }).collect();
    let records = encode_records(1, 1, 1, &lines).expect("encodes");
    assert!(records.len() > 1);
    assert!(records.iter().all(|record| record.len() <= 512 * 1024));
    let read: Vec<Event> = records.iter().flat_map(|record| decode_record(record).expect("decodes").events).collect();
    assert_eq!(read, lines);
}

#[test]
fn an_unknown_event_or_a_higher_version_is_a_newer_journal() {
    #[derive(serde::Serialize)]
    struct Later {
        v: u32,
        epoch: u64,
        batch: u64,
        at_ms: i64,
        engine: &'static str,
        events: Vec<serde_json::Value>,
    }
    let later = |v, events| {
        let record = Later { v, epoch: 1, batch: 0, at_ms: 0, engine: "skein/9", events };
        rmp_serde::to_vec_named(&record).expect("encodes")
    };
    for bytes in [later(2, vec![]), later(1, vec![serde_json::json!({"type": "agent_teleported"})])] {
        let error = decode_record(&bytes).expect_err("refused");
        assert!(error.to_string().starts_with("journal of a newer version"), "{error}");
    }
}

#[test]
fn an_unknown_field_is_ignored_and_garbage_is_corrupt() {
    let with_field = serde_json::json!({"v": 1, "epoch": 1, "batch": 0, "at_ms": 0, "engine": "e", "mood": "good",
        "events": [{"type": "phase_entered", "title": "Scan", "colour": "red"}]});
    let bytes = rmp_serde::to_vec_named(&with_field).expect("encodes");
    assert_eq!(decode_record(&bytes).expect("reads").events, [Event::PhaseEntered { title: "Scan".to_owned() }]);
    assert!(matches!(decode_record(b"not a record"), Err(RecordError::Corrupt { .. })));
}

#[test]
fn a_large_prompt_leaves_the_event_and_waits_to_be_stored() {
    let mut driven = Driven::started(spec());
    let prompt = "p".repeat(40 * 1024);
    driven.call(&prompt, None);
    let large = driven.run.take_large_texts();
    assert_eq!(large.len(), 1);
    assert_eq!(large[0].text, prompt);
    assert!(
        matches!(&driven.run.state().agents[0].spec.prompt, Payload::TextBlob { bytes, .. } if *bytes == 40 * 1024)
    );
    assert_eq!(driven.replayed().state(), driven.run.state());
}

#[test]
fn r05_a_replayed_script_is_matched_and_only_what_is_new_comes_out() {
    let mut driven = Driven::started(spec());
    let log = |text: &str| Op::Log { text: text.to_owned() };
    let turn = vec![log("a"), agent_op(1, "first", None), agent_op(2, "second", Some("{\"model\":\"m\"}"))];
    driven.accept(Command::Operate { ops: turn.clone() }).expect("accepted");
    let mut cursor = Cursor::default();
    let mut replayed = turn;
    replayed.extend([log("b"), agent_op(3, "third", None)]);
    let new = cursor.new_ops(driven.run.state(), replayed).expect("matches");
    assert_eq!(new, [log("b"), agent_op(3, "third", None)]);
    cursor.check_complete(driven.run.state()).expect("complete");
}

#[test]
fn r05_another_call_is_a_divergence_that_names_both() {
    let mut driven = Driven::started(spec());
    driven.call("first", None);
    let differing = Cursor::default().new_ops(driven.run.state(), vec![agent_op(1, "other", None)]);
    let message = differing.expect_err("diverges").to_string();
    assert!(message.contains("first") && message.contains("other"), "{message}");
    let missing = Cursor::default().check_complete(driven.run.state()).expect_err("diverges").to_string();
    assert!(missing.contains("first") && missing.contains("no call"), "{missing}");
}
