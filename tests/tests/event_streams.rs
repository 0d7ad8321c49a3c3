//! Watchers of a run inside one process: those that are behind, and those that come late.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::Value;
use skein_common::RunId;
use skein_common::ports::Ports;
use skein_common::view::RunView;
use skein_common::wire::encode;
use skein_coordinator::{OpenError, Position, RunOutcome, RunStream, WatchItem, stored, topic};
use skein_script::HostLimits;
use skein_tests::system::{System, spec};

const MAX: usize = 10;

/// The frames of a stream: name, id and value.
fn frames(bytes: &[u8]) -> Vec<(String, Option<String>, Value)> {
    let text = std::str::from_utf8(bytes).expect("text");
    let frame = |text: &str| {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = field("data: ").map(|data| serde_json::from_str(&data).expect("JSON"));
        Some((field("event: ")?, field("id: "), data?))
    };
    text.split("\n\n").filter_map(frame).collect()
}

async fn rest(mut stream: RunStream) -> Vec<(String, Option<String>, Value)> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await {
        all.extend(frames(&bytes));
    }
    all
}

fn ids(frames: &[(String, Option<String>, Value)]) -> Vec<String> {
    frames.iter().filter_map(|(_, id, _)| id.clone()).collect()
}

async fn positions(ports: &Ports, run: &RunId) -> Vec<String> {
    let records = ports.journal.read(run, 0).await.expect("the journal");
    let records: Vec<_> = records.iter().map(|bytes| skein_engine::decode_record(bytes).expect("a record")).collect();
    skein_tests::positions(&records)
}

/// Shows watchers how the run stands, as its owner would.
fn show(ports: &Ports, view: &RunView, elapsed_ms: u64) {
    let view = RunView { elapsed_ms, ..view.clone() };
    let item = WatchItem::View { json: serde_json::to_string(&view).expect("encodes") };
    ports.feed.publish(&topic(&view.run), encode(&item).expect("encodes"));
}

#[actix::test]
async fn a_watcher_that_lags_is_told_and_gets_the_state_again() {
    let system = System::start(HostLimits::default()).await;
    let ports = system.coordinator.ports().clone();
    let run = system.coordinator.submit(spec("log('one'); await agent('a'); return 1")).await.expect("submits");
    let view = stored::view(&ports, &run).await.expect("is there");
    let streams = system.coordinator.streams();
    let mut quick = streams.run(&run, None, MAX).await.expect("watches");
    let mut slow = streams.run(&run, None, MAX).await.expect("watches");
    let first = frames(&slow.next().await.expect("a view"));
    assert_eq!(first[0].0, "view");
    assert_eq!(first[0].2["run"], run.as_str());
    for shown in 1..=100 {
        show(&ports, &view, shown);
    }
    // When the quick one has the last of them, all of them have come.
    loop {
        let found = frames(&quick.next().await.expect("more"));
        if found.iter().any(|(name, _, view)| name == "view" && view["elapsed_ms"] == 100) {
            break;
        }
    }
    let mut told = Vec::new();
    while told.len() < 2 {
        let found = frames(&slow.next().await.expect("more"));
        told.extend(found.into_iter().filter(|(name, _, _)| name != "journal"));
    }
    let (missed, state) = (&told[0], &told[1]);
    assert_eq!((missed.0.as_str(), &missed.1), ("missed", &None));
    assert_eq!(missed.2["items"], 100, "none of them came");
    assert_eq!((state.0.as_str(), &state.2["elapsed_ms"]), ("view", &Value::from(100)));
    // It misses no event all the same.
    assert!(matches!(system.coordinator.run_to_its_end(run.clone()).await, RunOutcome::Ended(_)));
    let mut slow = ids(&rest(slow).await);
    slow.insert(0, String::from("0.0"));
    slow.dedup();
    assert_eq!(slow, positions(&ports, &run).await);
    system.stop().await;
}

#[actix::test]
async fn a_watcher_from_before_what_the_others_share_reads_the_journal_by_itself() {
    let system = System::start(HostLimits::default()).await;
    // More than what is kept for all: 6 MiB.
    let body =
        "for (let i = 0; i < 3000; i++) { log('x'.repeat(2000)); if (i % 100 === 0) await agent('a' + i) }; return 1";
    let run = system.coordinator.submit(spec(body)).await.expect("submits");
    let ports = system.coordinator.ports().clone();
    let streams = system.coordinator.streams().clone();
    let early = streams.run(&run, None, MAX).await.expect("watches");
    assert!(matches!(system.coordinator.run_to_its_end(run.clone()).await, RunOutcome::Ended(_)));
    let expected = positions(&ports, &run).await;
    let middle: Position = expected[expected.len() / 2].parse().expect("a position");
    let late = streams.run(&run, Some(middle), MAX).await.expect("watches");
    let first = streams.run(&run, None, MAX).await.expect("watches");
    assert_eq!(ids(&rest(late).await), expected[expected.len() / 2 + 1..]);
    assert_eq!(ids(&rest(first).await), expected, "who comes when the beginning is no more kept");
    assert_eq!(ids(&rest(early).await), expected, "who reads nothing until the end");
    assert_eq!(streams.watchers(), 0);
    system.stop().await;
}

#[actix::test]
async fn the_places_of_watchers_are_given_back() {
    let system = System::start(HostLimits::default()).await;
    let run = system.coordinator.submit(spec("return 1")).await.expect("submits");
    let streams = system.coordinator.streams();
    let first = streams.run(&run, None, 2).await.expect("watches");
    let _all = streams.runs(2).expect("watches");
    assert_eq!(streams.run(&run, None, 2).await.expect_err("full"), OpenError::TooMany { max: 2 });
    drop(first);
    let _again = streams.run(&run, None, 2).await.expect("watches");
    let unknown: RunId = "wf_00000000000000000000000000".parse().expect("an id");
    assert_eq!(streams.run(&unknown, None, MAX).await.expect_err("none"), OpenError::NotFound { run: unknown });
    assert_eq!(streams.watchers(), 2, "who is refused takes no place");
    streams.close();
    assert_eq!(streams.run(&run, None, MAX).await.expect_err("closed"), OpenError::Closing);
    system.stop().await;
}
