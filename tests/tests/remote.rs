//! The command line as a client of a process that it reaches by a URL.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use rustix::process::Signal;
use serde_json::{Value, json};
use skein_tests::served::Served;
use skein_tests::{Ended, Skein, eventually, processes};
use std::path::PathBuf;
use std::process::Child;

/// Agents that wait for the file `go`, with a line before and one after.
fn gated(served: &Served) -> PathBuf {
    let gate = "touch \"started-$1-$SKEIN_ATTEMPT\"; while test ! -e go; do sleep 0.02; done; echo through";
    served.skein.shell_agent("gate", "", gate);
    let body = "phase('Wait')
        log('before', 1)
        const all = await parallel(['a', 'b', 'c'].map(p => () => agent(p, { agentType: 'gate' })))
        log('after', 2)
        return all";
    served.skein.workflow("w.js", body)
}

fn started(served: &Served, name: &str) {
    eventually(name, || served.skein.project().join(format!("started-{name}")).exists().then_some(()));
}

/// `skein run` of these agents in the background, and the run's id.
fn start(served: &Served) -> (Child, String) {
    let script = gated(served);
    let child = served.spawn("run", ["run".as_ref(), script.as_os_str(), "--yes".as_ref(), "--json".as_ref()]);
    ["a-1", "b-1", "c-1"].iter().for_each(|name| started(served, name));
    let runs = served.run(["runs", "--json"]).answered();
    assert_eq!(runs.as_array().expect("a list").len(), 1);
    (child, runs[0]["run"].as_str().expect("an id").to_owned())
}

fn status(served: &Served, run: &str) -> Value {
    served.run(["show", run, "--json"]).answered()["status"].clone()
}

#[test]
fn u06_a_run_is_started_watched_steered_and_read_from_elsewhere() {
    let served = Served::default();
    let (mut child, run) = start(&served);
    let run = run.as_str();
    assert_eq!(status(&served, run), "running");
    let agents = served.run(["agents", run, "--json"]).answered();
    assert_eq!(agents.as_array().expect("a list").len(), 3);
    assert_eq!(served.run(["agent", run, "2", "--json"]).answered()["prompt"], "b");
    assert_eq!(served.run(["logs", run]).stdout, "before 1\n");
    let script = std::fs::read(served.skein.project().join("w.js")).expect("reads");
    assert_eq!(served.run(["script", run]).stdout.as_bytes(), script);
    assert!(served.run(["result", run]).stderr.contains("has no result yet: it is running"));
    assert_eq!(served.run(["pause", run, "--json"]).answered()["status"], "pausing");
    assert_eq!(served.run(["resume", run, "--json"]).answered()["status"], "running");
    assert_eq!(served.run(["agent-stop", run, "2", "--json"]).answered()["agent"], 2);
    served.run(["agent-restart", run, "3", "--json"]).answered();
    started(&served, "c-2");
    assert_eq!(served.run(["agent-skip", run, "1"]).code, Some(2), "it runs already");
    let follower = served.spawn("logs", ["logs", run, "-f"]);
    served.skein.write("go", "");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    let (out, err) = served.wrote("run");
    let view: Value = serde_json::from_str(&out).expect("the final object");
    assert_eq!((&view["status"], &view["result"]), (&json!("completed"), &json!(["through", null, "through"])));
    for part in ["before 1", "after 2", "Wait: 2/3 done, 1 failed"] {
        assert!(err.contains(part), "{part} in {err}");
    }
    assert_eq!(Ended::from(follower.wait_with_output().expect("ends")).code, Some(0));
    let restarted = "agent 3: attempt 1 interrupted: restarted by a person; trying again";
    assert_eq!(served.wrote("logs").0, format!("before 1\n{restarted}\nafter 2\n"), "each line once, in order");
    assert_eq!(served.run(["show", run, "--json"]).answered(), view);
    assert_eq!(served.run(["result", run, "--json"]).answered(), view["result"]);
    let stopped = served.run(["stop", run]);
    assert!(stopped.code == Some(2) && stopped.stderr.contains("has ended: it completed"), "{}", stopped.stderr);
    let resumed = served.run(["resume", run]);
    assert!(resumed.code == Some(2) && resumed.stderr.contains("has ended: it completed"), "{}", resumed.stderr);
    assert_eq!(served.run(["agent", run, "9"]).code, Some(2));
    assert_eq!(served.run(["show", "wf_01kb3v9m5c7w8t3xq2r4y6z8a0"]).code, Some(2));
    assert!(!served.unused_store().exists(), "nothing is kept where the client is");
}

#[test]
fn r08_a_run_that_is_stopped_from_elsewhere_ends_its_client_with_4() {
    let served = Served::default();
    let (mut child, run) = start(&served);
    assert_eq!(served.run(["stop", &run, "--json"]).code, Some(0));
    assert_eq!(child.wait().expect("ends").code(), Some(4));
    assert_eq!(served.run(["result", &run]).code, Some(4));
}

#[test]
fn ctrl_c_leaves_the_run_going_and_says_how_to_reach_it() {
    let served = Served::default();
    let (mut child, run) = start(&served);
    processes::signal(i32::try_from(child.id()).expect("a pid"), Signal::INT);
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    let (_, err) = served.wrote("run");
    let told = [format!("{run} goes on"), format!("skein logs {run} -f"), format!("skein stop {run}")];
    assert!(told.iter().all(|part| err.contains(part)), "{err}");
    assert_eq!(status(&served, &run), "running");
    served.skein.write("go", "");
    assert_eq!(served.run(["logs", &run, "-f"]).stdout, "before 1\nafter 2\n");
    assert_eq!(status(&served, &run), "completed");
}

#[test]
fn r04_who_follows_a_run_hears_of_its_end_although_its_process_was_killed_meanwhile() {
    let mut served = Served::default();
    let (mut child, run) = start(&served);
    served.kill_and_begin_again();
    ["a-2", "b-2", "c-2"].iter().for_each(|name| started(&served, name));
    served.skein.write("go", "");
    assert_eq!(child.wait().expect("ends").code(), Some(0), "{}", served.wrote("run").1);
    let view: Value = serde_json::from_str(&served.wrote("run").0).expect("the final object");
    assert_eq!((&view["run"], &view["result"]), (&json!(run), &json!(["through", "through", "through"])));
}

#[test]
fn exit_codes_are_those_of_a_run_here() {
    let served = Served::default();
    let run = |body: &str, more: &[&str]| {
        let script = served.skein.workflow("w.js", body);
        let mut args = vec!["run", script.to_str().expect("a path"), "--yes", "--runner", "simulated"];
        args.extend(more);
        served.run(args)
    };
    let done = run("return { n: 1 }", &["--url", &served.url()]);
    assert_eq!((done.code, done.stdout.trim()), (Some(0), "{\"n\":1}"));
    assert!(done.stderr.contains("test completed"), "{}", done.stderr);
    let failed = run("throw new Error('broken')", &[]);
    assert!(failed.code == Some(1) && failed.stderr.contains("broken"), "{}", failed.stderr);
    let spent = run("for (let i = 0; i < 10; i++) await agent('p' + i)", &["--budget", "300"]);
    assert_eq!(spent.code, Some(3), "{}", spent.stderr);
    let lossy = "return await agent('a')";
    assert_eq!(run(lossy, &["--simulate", "fail=1", "--strict"]).code, Some(6));
    assert_eq!(run("return 1 +", &[]).code, Some(1));
    let quiet = run("log('x'); return 1", &["--quiet"]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("1\n", ""));
}

#[test]
fn a_run_that_is_handed_over_is_followed_later() {
    let served = Served::default();
    let script = gated(&served);
    let path = script.to_str().expect("a path");
    let detached = served.run(["run", path, "--yes", "--detach", "--json"]).answered();
    let run = detached["run"].as_str().expect("an id");
    started(&served, "a-1");
    served.skein.write("go", "");
    assert_eq!(served.run(["logs", run, "-f"]).stdout, "before 1\nafter 2\n");
    assert_eq!(served.run(["result", run, "--json"]).answered(), json!(["through", "through", "through"]));
    let refused = served.run(["run", path, "--yes", "--resume", run]);
    assert!(refused.code == Some(2) && refused.stderr.contains("works on a store"), "{}", refused.stderr);
    assert_eq!(served.run(["run", path, "--dry-run", "--json"]).completed()["agents"]["done"], 3);
}

#[test]
fn nobody_at_the_url_is_69_and_a_wrong_token_says_where_it_is_looked_for() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return 1");
    let run = script.to_str().expect("a path");
    let id = "wf_01kb3v9m5c7w8t3xq2r4y6z8a0";
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let nobody = format!("http://127.0.0.1:{port}");
    for args in [
        &["runs"][..],
        &["show", id],
        &["run", run, "--yes"],
        &["run", run, "--yes", "--detach"],
        &["stop", id],
        &["resume", id],
        &["logs", id, "-f"],
        &["workers"],
        &["drain", "w"],
    ] {
        let ended = skein.run([args, &["--url", &nobody]].concat());
        assert_eq!(ended.code, Some(69), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(&nobody) && ended.stderr.contains("check that"), "{}", ended.stderr);
    }
    for (bad, said) in [("https://x", "https"), ("127.0.0.1:7717", "no URL"), ("http://a:b@c", "a token comes from")] {
        let ended = skein.run(["runs", "--url", bad]);
        assert!(ended.code == Some(2) && ended.stderr.contains(said), "{}", ended.stderr);
        let set = Ended::from(skein.command(["runs"]).env("SKEIN_URL", bad).output().expect("runs"));
        assert!(set.code == Some(2) && set.stderr.contains("SKEIN_URL"), "{}", set.stderr);
    }
    let served = Served::default();
    let with = |name: &str, value: &str| Ended::from(served.client(["runs"]).env(name, value).output().expect("runs"));
    let wrong = with("SKEIN_TOKEN", "not-the-token-at-all");
    assert!(wrong.code == Some(2) && wrong.stderr.contains("that of SKEIN_TOKEN"), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains("not-the-token-at-all"), "{}", wrong.stderr);
    assert_eq!(with("SKEIN_TOKEN", &served.token()).code, Some(0));
    let lost = with("SKEIN_NODE_DIR", "/nowhere");
    assert!(lost.code == Some(2) && lost.stderr.contains("SKEIN_TOKEN") && lost.stderr.contains("/nowhere/api.token"));
    let named = with("SKEIN_TOKEN_FILE", "/nowhere/token");
    assert!(named.code == Some(2) && named.stderr.contains("there is no /nowhere/token"), "{}", named.stderr);
    assert_eq!(with("SKEIN_TOKEN_FILE", served.token_file().to_str().expect("a path")).code, Some(0));
    let shown = Ended::from(served.client(["config", "show"]).env("SKEIN_TOKEN", "hidden").output().expect("runs"));
    assert!(shown.stdout.contains("token = \"***\"") && !shown.stdout.contains("hidden"), "{}", shown.stdout);
}

#[test]
fn what_works_on_this_machine_only_says_so() {
    let served = Served::default();
    let id = "wf_01kb3v9m5c7w8t3xq2r4y6z8a0";
    for args in [&["save", id][..], &["remove", id]] {
        let ended = served.run(args);
        assert!(ended.code == Some(2) && ended.stderr.contains("works on this machine only"), "{}", ended.stderr);
    }
    let url = served.url();
    for args in [&["serve"][..], &["demo"], &["check", "w.js"], &["commands"], &["trust", "--list"]] {
        let ended = served.skein.run([args, &["--url", &url]].concat());
        assert!(ended.code == Some(2) && ended.stderr.contains("works on this machine only"), "{}", ended.stderr);
    }
    served.skein.workflow("w.js", "return 1");
    assert_eq!(served.run(["check", "w.js"]).code, Some(0), "a URL that is set for all commands is not meant");
    let store = served.unused_store().display().to_string();
    assert_eq!(served.run(["runs", "--json", "--store", &store]).answered(), json!([]), "a store that was typed is");
    assert_eq!(served.run(["runs", "--store", &store, "--url", &url]).code, Some(2), "not both");
    let project = served.skein.write(".skein.toml", "[api]\nurl = \"http://evil.example\"\n");
    let ended = served.skein.run(["runs"]);
    assert!(
        ended.code == Some(0) && ended.stderr.contains("api.url is ignored"),
        "{}: {}",
        project.display(),
        ended.stderr
    );
}

#[actix::test]
async fn a08_workers_are_listed_and_told_to_drain() {
    let served = Served::default();
    let entry = json!({
        "id": "worker-7", "node": "node/a b", "pools": ["default"], "hosts": ["db-1", "db-2", "db-3", "db-4"],
        "slots": 8, "labels": {"zone": "b"}, "version": "0.1.0"
    });
    let store = skein_backend::embedded::Store::open_existing(&served.skein.store()).expect("the store");
    let directory = store.ports().directory;
    directory.put("workers", "node/a b", entry.to_string().into_bytes().into()).await.expect("puts");
    directory.put("workers", "strange", "no worker".into()).await.expect("puts");
    let find = |list: &Value| list.as_array().and_then(|list| list.iter().find(|one| one["id"] == "worker-7").cloned());
    let listed = find(&served.run(["workers", "--json"]).answered()).expect("is listed");
    assert_eq!((&listed["node"], &listed["draining"]), (&json!("node/a b"), &json!(false)));
    for table in [served.run(["workers"]).stdout, served.skein.run(["workers"]).stdout] {
        assert!(table.contains("worker-7") && table.contains("db-[1-4]") && table.contains("zone=b"), "{table}");
    }
    for name in ["worker-7", "node/a b"] {
        assert_eq!(served.run(["drain", name, "--json"]).answered()["id"], "worker-7");
        assert_eq!(served.skein.run(["drain", name, "--json"]).answered()["id"], "worker-7", "over the socket, too");
    }
    let unknown = served.run(["drain", "worker-8"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("there is no worker worker-8"), "{}", unknown.stderr);
}

#[actix::test]
async fn a08_the_order_to_drain_reaches_every_worker_that_listens() {
    use skein_common::ports::FeedItem;
    use skein_common::wire::{Broadcast, WorkerOrder, decode};
    let system = skein_tests::system::System::start(skein_script::HostLimits::default()).await;
    let ports = system.coordinator.ports().clone();
    let entry = json!({ "id": "w-1", "node": "n-1", "pools": [], "hosts": [], "slots": 1 });
    ports.directory.put("workers", "n-1", entry.to_string().into_bytes().into()).await.expect("puts");
    let mut broadcasts = ports.control.subscribe().await.expect("listens");
    skein_coordinator::drain_worker(&ports, "n-1").await.expect("is told");
    let Some(FeedItem::Item(bytes)) = broadcasts.next().await else { unreachable!("nothing was said") };
    let order = decode::<Broadcast>(&bytes).expect("a broadcast");
    assert_eq!(order, Broadcast::Order(WorkerOrder::Drain { worker: String::from("w-1") }));
    assert!(skein_coordinator::drain_worker(&ports, "n-2").await.is_err());
    system.stop().await;
}
