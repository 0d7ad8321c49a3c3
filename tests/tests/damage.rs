//! What a store went through while nobody looked: a log torn by a loss of power, a journal of a newer version, a clock
//! that jumped by a day. Each gives the right result or a clear error, on the real store, and nothing else is lost.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use bytes::Bytes;
use serde_json::{Value, json};
use skein_backend::embedded::Store;
use skein_common::RunId;
use skein_engine::{Event, encode_records};
use skein_tests::recorded::{Recorded, Successors, TakenOver};
use skein_tests::{Skein, eventually};
use std::path::Path;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Tears in the quick tier; `SKEIN_TEST_TEARS` sets another number.
const TEARS: usize = 8;

const BODY: &str = "phase('work')
    const begun = now()
    const first = await parallel(['a', 'b', 'c'].map(p => () => agent(p, { agentType: 'worker' })))
    await new Promise(wake => setTimeout(wake, 40))
    const second = await agent(first.join(' '), { agentType: 'worker' })
    return { second, waited: now() - begun >= 40 }";

/// A project with a run that has completed.
fn ended_run() -> (Skein, RunId, Value) {
    let skein = Skein::new();
    skein.shell_agent("worker", "", "echo \"$1\" >> ran; echo \"<$1>\"");
    let script = skein.workflow("w.js", BODY);
    let view = skein.run_json(&script, &[]).completed();
    assert_eq!(view["result"], json!({ "second": "<<a> <b> <c>>", "waited": true }));
    let run = view["run"].as_str().expect("an id").parse().expect("an id");
    (skein, run, view)
}

fn recorded(skein: &Skein, run: &RunId) -> Recorded {
    actix::System::new().block_on(Recorded::read(&skein.store(), run))
}

fn tears() -> usize {
    std::env::var("SKEIN_TEST_TEARS").ok().and_then(|text| text.parse::<usize>().ok()).map_or(TEARS, |tears| tears / 20)
}

#[test]
fn r04_a_run_whose_log_was_torn_anywhere_goes_on_from_what_is_left() {
    let (skein, run, view) = ended_run();
    let log = std::fs::read(skein.store().join("skein.db-wal")).expect("the log");
    let database = std::fs::read(skein.store().join("skein.db")).expect("the database");
    let mut went_on = 0;
    for tear in (0..log.len()).step_by(log.len().div_ceil(tears())).chain([log.len() - 1]) {
        std::fs::write(skein.store().join("skein.db"), &database).expect("writes");
        std::fs::write(skein.store().join("skein.db-wal"), &log[..tear]).expect("writes");
        let _not_there = std::fs::remove_file(skein.store().join("skein.db-shm"));
        let ended = skein.run(["resume", run.as_str(), "--json"]);
        match ended.code {
            // It was not stored yet when the log was at this place: the submission had not been acknowledged.
            Some(2) => assert!(
                ended.stderr.contains("there is no") || ended.stderr.contains("there are no"),
                "torn at {tear}: {}",
                ended.stderr
            ),
            _ => {
                assert_eq!(ended.completed()["result"], view["result"], "torn at {tear}");
                went_on += 1;
            }
        }
        let fresh = skein.run_json(&skein.project().join("w.js"), &[]).completed();
        assert_eq!(fresh["result"], view["result"], "torn at {tear}: the store is good");
    }
    assert!(went_on > tears() / 2, "{went_on} went on");
}

/// Appends a record to a journal.
async fn append(store: &Path, run: &RunId, record: Vec<u8>) -> usize {
    let journal = Store::open(store).expect("the store").ports().journal;
    let position = journal.read(run, 0).await.expect("reads").len();
    journal.append(run, position as u64, vec![Bytes::from(record)]).await.expect("appends");
    position + 1
}

fn replaced(bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it is there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn a_run_with_a_journal_of_a_newer_version_is_left_alone_and_the_others_go_on() {
    let (skein, run, view) = ended_run();
    let recorded = recorded(&skein, &run);
    let line = Event::LogLine { text: String::from("x"), from_engine: true };
    let record = encode_records(1, 99, 0, &[line]).expect("encodes").remove(0);
    // In MessagePack: the text `v` and the number after it, and the name of the event.
    let newer = replaced(record.clone(), &[0xa1, b'v', 1], &[0xa1, b'v', 99]);
    let unknown = replaced(record, b"log_line", b"log_cube");
    for record in [newer, unknown] {
        let other = actix::System::new().block_on(async {
            let store = Store::open(&skein.store()).expect("the store");
            let run = recorded.store_first(&store.ports(), 5, 0).await;
            let records = append(&skein.store(), &run, record).await;
            (run, records)
        });
        let (other, records) = other;
        for command in ["resume", "show", "logs"] {
            let ended = skein.run([command, other.as_str()]);
            assert_eq!(ended.code, Some(1), "{command}: {}", ended.stderr);
            assert!(ended.stderr.contains("journal of a newer version"), "{command}: {}", ended.stderr);
            assert!(ended.stderr.contains("use the skein that wrote it"), "{command}: {}", ended.stderr);
        }
        let kept = actix::System::new().block_on(async {
            let journal = Store::open(&skein.store()).expect("the store").ports().journal;
            journal.read(&other, 0).await.expect("reads").len()
        });
        assert_eq!(kept, records, "nothing was written");
        assert_eq!(skein.run(["resume", run.as_str(), "--json"]).completed()["result"], view["result"]);
    }
}

/// At any event the next owner's clock is a day behind, or a day ahead: time in the journal never goes back, and
/// nobody waits for a day.
#[test]
fn c08_a_clock_that_jumps_by_a_day_changes_no_result_and_no_order() {
    let (skein, run, view) = ended_run();
    let recorded = recorded(&skein, &run);
    let store = skein.store();
    actix::System::new().block_on(async {
        let successors = Successors::start(&store, &recorded).await;
        for shift_ms in [DAY_MS, -DAY_MS] {
            for kept in 1..recorded.events.len() {
                let TakenOver { view: again, events, .. } = successors.take_over(kept, shift_ms).await;
                let result = again.result.as_ref().map(|json| json.get());
                assert_eq!(result, Some(view["result"].to_string().as_str()), "{kept} events, {shift_ms} ms");
                let times: Vec<i64> = events.iter().map(|(at_ms, _)| *at_ms).collect();
                assert!(times.is_sorted(), "{kept} events, {shift_ms} ms: {times:?}");
            }
        }
    });
}

#[test]
fn r06_a_damaged_run_says_so_and_the_others_go_on() {
    let (skein, run, view) = ended_run();
    let recorded = recorded(&skein, &run);
    let damaged = actix::System::new().block_on(async {
        let store = Store::open(&skein.store()).expect("the store");
        let other = recorded.store_first(&store.ports(), 5, 0).await;
        append(&skein.store(), &other, b"no record at all".to_vec()).await;
        other
    });
    for command in ["resume", "show"] {
        let ended = skein.run([command, damaged.as_str()]);
        assert_eq!(ended.code, Some(1), "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains("corrupt journal record"), "{command}: {}", ended.stderr);
    }
    assert_eq!(skein.run(["resume", run.as_str(), "--json"]).completed()["result"], view["result"]);
    eventually("the list of runs is whole", || (!skein.runs().is_empty()).then_some(()));
}
