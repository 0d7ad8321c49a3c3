//! Submitting under an idempotency key, by one or several processes of one store.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use skein_backend::embedded::Store;
use skein_backend::faulty::{Faults, Plan, faulty};
use skein_common::RunId;
use skein_common::ports::Ports;
use skein_coordinator::{IdempotencyKey, SubmitError, SystemClock, load_run, submit_once};
use skein_tests::system::spec;
use std::collections::BTreeSet;
use std::path::Path;
use tempfile::TempDir;

fn store() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The ports as one more process of the store has them.
fn process(dir: &Path) -> Ports {
    Store::open(dir).expect("a store").ports()
}

fn key(name: &str, body: &str) -> IdempotencyKey {
    IdempotencyKey::new(name, body.as_bytes()).expect("a key")
}

async fn runs(ports: &Ports) -> Vec<RunId> {
    ports.journal.list().await.expect("a list")
}

#[tokio::test]
async fn r11_the_same_key_gives_the_same_run_also_to_another_process() {
    let dir = store();
    let first = submit_once(&process(dir.path()), &SystemClock, spec("return 1"), &key("a", "body")).await;
    let first = first.expect("submits");
    let later = process(dir.path());
    let again = submit_once(&later, &SystemClock, spec("return 1"), &key("a", "body")).await.expect("submits");
    assert!((first.is_new, again.is_new) == (true, false) && first.run == again.run);
    assert_eq!(runs(&later).await, [first.run]);
    let other = submit_once(&later, &SystemClock, spec("return 1"), &key("b", "body")).await.expect("submits");
    assert!(other.is_new && other.run != again.run, "another key is another request");
}

#[tokio::test]
async fn r11_another_body_under_the_same_key_is_refused_and_starts_nothing() {
    let dir = store();
    let ports = process(dir.path());
    let first = submit_once(&ports, &SystemClock, spec("return 1"), &key("a", "one")).await.expect("submits");
    let refused = submit_once(&ports, &SystemClock, spec("return 2"), &key("a", "two")).await;
    assert!(matches!(refused, Err(SubmitError::KeyReused { ref run }) if *run == first.run), "{refused:?}");
    assert_eq!(runs(&ports).await.len(), 1);
}

#[tokio::test]
async fn r11_of_many_processes_that_submit_at_once_one_starts_the_run() {
    let dir = store();
    let large = format!("return {:?}", "x".repeat(100_000));
    let mut submitting = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (ports, spec) = (process(dir.path()), spec(&large));
        submitting.spawn(async move { submit_once(&ports, &SystemClock, spec, &key("a", "body")).await });
    }
    let answers: Vec<_> = submitting.join_all().await.into_iter().map(|answer| answer.expect("submits")).collect();
    let named: BTreeSet<&RunId> = answers.iter().map(|answer| &answer.run).collect();
    assert_eq!(named.len(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.is_new).count(), 1);
    let ports = process(dir.path());
    assert_eq!(runs(&ports).await, [answers[0].run.clone()]);
    assert_eq!(load_run(ports.journal.as_ref(), &answers[0].run).await.expect("whole").events.len(), 1);
}

#[tokio::test]
async fn r11_a_submission_that_was_cut_short_is_completed_by_the_next() {
    let dir = store();
    let faults = Faults { append_refused: 1000, ..Faults::default() };
    let broken = faulty(process(dir.path()), Plan { seed: 1, faults, crash: None });
    let cut_short = submit_once(&broken, &SystemClock, spec("return 1"), &key("a", "body")).await;
    assert!(matches!(cut_short, Err(SubmitError::Journal(_))), "{cut_short:?}");
    let ports = process(dir.path());
    assert_eq!(runs(&ports).await, []);
    let other = submit_once(&ports, &SystemClock, spec("return 2"), &key("a", "other")).await;
    assert!(matches!(other, Err(SubmitError::KeyReused { .. })), "the key is taken already: {other:?}");
    let completed = submit_once(&ports, &SystemClock, spec("return 1"), &key("a", "body")).await.expect("submits");
    assert!(completed.is_new);
    assert_eq!(runs(&ports).await, [completed.run]);
}

#[test]
fn r11_a_key_is_short_printable_text() {
    for bad in ["", "a\nb", "ä", &"x".repeat(256)] {
        assert!(matches!(IdempotencyKey::new(bad, b""), Err(SubmitError::Invalid(_))), "{bad}");
    }
    assert!(IdempotencyKey::new(&"x".repeat(255), b"").is_ok());
}
