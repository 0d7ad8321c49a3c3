//! Events of a run in a cluster: who watches misses nothing, whichever coordinator is asked and whichever is killed.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use skein_tests::cluster::{Cluster, Probe};
use skein_tests::positions;
use skein_tests::watching::{Item, Watching, ids};
use std::path::Path;
use std::thread;

const AGENTS: usize = 200;
const WORK_MS: u32 = 10;

fn watch(cluster: &Cluster, coordinator: usize, run: &str, last: Option<&str>) -> Watching {
    let (url, token) = cluster.coordinators[coordinator].door();
    let address = url.strip_prefix("http://").expect("plain HTTP");
    let stream = Watching::tcp(address, &token, &format!("/runs/{run}/events"), last).expect("it answers");
    assert_eq!(stream.status, 200, "{}", stream.head);
    stream
}

#[test]
fn r04_who_watches_misses_nothing_when_the_owner_is_killed() {
    let mut cluster = Cluster::of(2, 2);
    let probe = cluster.probe("probe", Path::new(env!("CARGO_BIN_EXE_probe-agent")));
    let command = probe.command(WORK_MS);
    let spec = cluster.spec(&Probe::body(AGENTS), &command.iter().map(String::as_str).collect::<Vec<_>>());
    let run = cluster.submit(0, &spec);
    // Both coordinators are watched from the beginning; one of them owns the run.
    let mut at_owner = watch(&cluster, 0, &run, None);
    let other = watch(&cluster, 1, &run, None);
    let other = thread::spawn(move || other.rest());
    let mut seen: Vec<Item> = Vec::new();
    while seen.iter().filter(|item| item.data["kind"] == "task_ended").count() < AGENTS / 4 {
        seen.push(at_owner.next().expect("the run goes on"));
    }
    cluster.coordinators[0].kill();
    seen.extend(at_owner.rest());
    let last = ids(&seen).last().cloned().expect("an id");
    assert!(seen.iter().all(|item| item.name != "end"), "the run is not over");
    let rest = watch(&cluster, 1, &run, Some(&last)).rest();
    assert_eq!(rest.last().expect("an end").data["status"], "completed");
    let expected = positions(&cluster.journal(&run));
    assert_eq!(ids(&[seen, rest].concat()), expected, "nothing is missing and nothing comes twice");
    assert_eq!(ids(&other.join().expect("watches")), expected, "nor for who watched the other coordinator all along");
    assert_eq!(cluster.completed(&run)["result"], AGENTS);
}
