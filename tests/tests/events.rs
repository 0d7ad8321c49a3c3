//! The event streams of the API: what watchers of a run get, however many they are and however they come and go.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::served::Served;
use skein_tests::watching::{Item, Watching, ids};
use skein_tests::{Skein, eventually};
use std::thread;

/// A script whose agents run while it logs; in the middle it waits for the file `go`.
fn script(skein: &Skein, agents: usize) -> std::path::PathBuf {
    skein.shell_agent("gate", "", "touch started; while test ! -e go; do sleep 0.02; done; echo through");
    let body = format!(
        "phase('First')
        await parallel(Array.from({{length: {agents}}}, (_, i) => () => agent('p' + i)))
        log('half')
        await agent('g', {{ agentType: 'gate' }})
        for (let i = 0; i < {agents}; i++) {{ log('line ' + i); await agent('q' + i) }}
        return 'x'.repeat(10000)"
    );
    skein.workflow("w.js", &body)
}

/// A detached run of this script that waits in its middle.
fn start(served: &Served, agents: usize) -> String {
    let path = script(&served.skein, agents);
    let args = ["run".as_ref(), path.as_os_str(), "--yes".as_ref(), "--detach".as_ref(), "--json".as_ref()];
    let detached = served.run(args.into_iter().chain(["--runner", "simulated"].map(AsRef::as_ref))).answered();
    eventually("it waits in its middle", || served.skein.project().join("started").exists().then_some(()));
    detached["run"].as_str().expect("an id").to_owned()
}

fn watch(served: &Served, run: &str, last: Option<&str>) -> Watching {
    let stream = Watching::tcp(&served.address, &served.token(), &format!("/runs/{run}/events"), last);
    let stream = stream.expect("it answers");
    assert_eq!(stream.status, 200, "{}", stream.head);
    stream
}

fn kinds(items: &[Item]) -> Vec<&Value> {
    items.iter().filter(|item| item.name == "journal").map(|item| &item.data["kind"]).collect()
}

#[test]
fn u06_twenty_watchers_of_a_run_get_every_event_once_and_in_order() {
    let served = Served::default();
    let run = start(&served, 40);
    let mut watchers: Vec<_> = (0..20).map(|_| watch(&served, &run, None)).collect();
    for header in ["content-type: text/event-stream", "cache-control: no-cache", "x-accel-buffering: no"] {
        assert!(watchers[0].head.contains(header), "{}", watchers[0].head);
    }
    // Half of them are in the middle when the rest begins.
    let begun: Vec<Vec<Item>> =
        watchers.iter_mut().enumerate().map(|(number, one)| one.events(if number % 2 == 0 { 30 } else { 0 })).collect();
    let watching: Vec<_> = watchers.into_iter().map(|one| thread::spawn(move || one.rest())).collect();
    served.skein.write("go", "");
    let rests: Vec<Vec<Item>> = watching.into_iter().map(|one| one.join().expect("watches")).collect();
    let expected = served.skein.positions(&run);
    assert!(expected.len() > 200, "{}", expected.len());
    for (begun, rest) in begun.iter().zip(&rests) {
        let all = [begun.as_slice(), rest].concat();
        assert_eq!(ids(&all), expected);
        assert!(
            all.iter()
                .filter(|item| item.name == "journal")
                .all(|item| item.data["position"] == *item.id.as_ref().expect("an id"))
        );
        let last = all.last().expect("an end");
        assert_eq!((last.name.as_str(), &last.data["status"]), ("end", &json!("completed")));
        assert!(last.id.is_none() && last.data["result"].is_null(), "{last:?}");
        assert!(all.iter().any(|item| item.name == "view" && item.data["run"] == run), "it is told how the run stands");
    }
    let late = watch(&served, &run, None).rest();
    assert_eq!(ids(&late), expected, "of a run that has ended: all of it");
    assert_eq!(kinds(&late).last(), Some(&&json!("run_ended")));
    let returned = late.iter().find(|item| item.data["kind"] == "script_returned").expect("the result");
    let value = &returned.data["value"];
    assert_eq!((&value["bytes"], &value["cut"], &value["json"]), (&json!(10_002), &json!(true), &json!(true)));
    assert!(value["text"].as_str().expect("a text").len() <= 2048, "only its beginning");
}

#[test]
fn u06_who_comes_again_with_the_last_id_misses_nothing_and_gets_nothing_twice() {
    let served = Served::default();
    let run = start(&served, 10);
    let mut seen = Vec::new();
    // At each place before the middle, also inside a record.
    for _ in 0..30 {
        let last = ids(&seen).last().cloned();
        seen.extend(watch(&served, &run, last.as_deref()).events(1));
    }
    served.skein.write("go", "");
    let last = ids(&seen).last().cloned().expect("an id");
    let by_query = format!("/runs/{run}/events?after={last}");
    seen.extend(Watching::tcp(&served.address, &served.token(), &by_query, None).expect("answers").rest());
    let expected = served.skein.positions(&run);
    assert_eq!(ids(&seen), expected);
    let end = watch(&served, &run, expected.last().map(String::as_str)).rest();
    assert_eq!((ids(&end), end.last().map(|item| item.name.as_str())), (Vec::new(), Some("end")));
}

#[test]
fn what_cannot_be_watched_is_a_problem() {
    let served = Served::default();
    let run = start(&served, 1);
    for bad in ["1", "x", "1.x", "-1.0", "1.0.0"] {
        let _detail = served.ask("GET", &format!("/runs/{run}/events?after={bad}"), "").problem(400, "bad-request");
    }
    let _detail = served.ask("GET", &format!("/runs/{run}/events?from=1"), "").problem(400, "bad-request");
    let _detail = served.ask("GET", "/events?state=1", "").problem(400, "bad-request");
    for after in ["", "?after=3.0"] {
        let unknown = format!("/runs/wf_00000000000000000000000000/events{after}");
        let _detail = served.ask("GET", &unknown, "").problem(404, "not-found");
    }
    served.skein.write("go", "");
}

#[test]
fn only_so_many_watch_at_once() {
    let skein = Skein::new();
    skein.write("../home/.config/skein/config.toml", "[api]\nwatchers = 2\n");
    let served = Served::begin(skein, "127.0.0.1:0");
    let run = start(&served, 1);
    let first = watch(&served, &run, None);
    let all = Watching::tcp(&served.address, &served.token(), "/events", None).expect("it answers");
    assert_eq!((first.status, all.status), (200, 200));
    let detail = served.ask("GET", &format!("/runs/{run}/events"), "").problem(503, "unavailable");
    assert!(detail.contains("api.watchers"), "{detail}");
    drop(first);
    // It is noticed with the next thing that would be said.
    served.skein.write("go", "");
    eventually("the place is free", || {
        let path = format!("/runs/{run}/events");
        let again = Watching::tcp(&served.address, &served.token(), &path, None).expect("it answers");
        (again.status == 200).then(|| assert_eq!(again.rest().last().expect("an end").name, "end"))
    });
}

#[test]
fn u06_a_run_in_a_process_of_its_own_is_watched_to_its_end_on_its_socket() {
    let skein = Skein::new();
    let path = script(&skein, 5);
    let args = ["run".as_ref(), path.as_os_str(), "--yes".as_ref(), "--runner".as_ref(), "simulated".as_ref()];
    let mut child = skein.spawn(args);
    eventually("it waits in its middle", || skein.project().join("started").exists().then_some(()));
    let run = skein.only_run();
    let socket = skein.store().join(format!("runs/{run}.sock"));
    let watching = Watching::unix(&socket, &format!("/runs/{run}/events"), None).expect("it answers");
    let watching = thread::spawn(move || watching.rest());
    skein.write("go", "");
    let items = watching.join().expect("watches");
    assert!(child.wait().expect("ends").success(), "{}", skein.background_stderr());
    assert_eq!(ids(&items), skein.positions(&run));
    assert_eq!(items.last().map(|item| item.name.as_str()), Some("end"), "though the process ends with its run");
}

#[test]
fn who_watches_all_runs_hears_of_beginnings_changes_and_ends() {
    let served = Served::default();
    let watch_all = || Watching::tcp(&served.address, &served.token(), "/events", None).expect("it answers");
    let mut all = watch_all();
    let run = start(&served, 1);
    let mut until = |status: &str| {
        let item =
            std::iter::from_fn(|| all.next()).find(|item| item.data["run"] == *run && item.data["status"] == status);
        item.expect("it is told").data
    };
    assert_eq!(until("running")["workflow"], "test");
    assert_eq!(served.ask("POST", &format!("/runs/{run}/pause"), "").status, 200);
    until("pausing");
    assert_eq!(served.ask("POST", &format!("/runs/{run}/resume"), "").status, 200);
    until("running");
    served.skein.write("go", "");
    let end = until("completed");
    assert_eq!((&end["agents"]["done"], &end["degraded"]), (&json!(3), &json!(false)));
}

#[test]
fn u06_the_program_prints_the_same_events_wherever_the_run_is() {
    let served = Served::default();
    let path = script(&served.skein, 3);
    served.skein.write("go", "");
    let path = path.to_str().expect("a path");
    let args = ["run", path, "--yes", "--events", "--runner", "simulated"];
    let lines =
        |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect() };
    let there = served.run(args);
    assert_eq!(there.code, Some(0), "{}", there.stderr);
    let mut there = lines(&there.stdout);
    let last = there.pop().expect("a final object");
    assert_eq!(last["status"], "completed");
    assert_eq!(last["result"].as_str().expect("a text").len(), 10_000, "all of it");
    let run = last["run"].as_str().expect("an id");
    let streamed: Vec<Value> =
        watch(&served, run, None).rest().into_iter().filter(|item| item.id.is_some()).map(|item| item.data).collect();
    assert_eq!(there, streamed);
    let here = served.skein.run(args);
    assert_eq!(here.code, Some(0), "{}", here.stderr);
    let mut here = lines(&here.stdout);
    here.pop();
    let kinds = |lines: &[Value]| {
        let mut kinds: Vec<String> = lines.iter().map(|line| line["kind"].to_string()).collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&here), kinds(&there));
}
