//! What a second process sees of a run that another one executes.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::{Skein, eventually, processes};
use std::process::{Child, ExitStatus};

/// A run that logs, waits for the file `go`, logs again and ends.
fn start(skein: &Skein) -> (Child, String) {
    skein.shell_agent("gate", "", "touch \"started-$1\"; while test ! -e go; do sleep 0.02; done; echo through");
    let body = "phase('Wait')
        log('before', 1)
        const all = await parallel([agent, agent].map((a, i) => () => a('g' + i, { agentType: 'gate' })))
        log('after', 2)
        return all";
    let script = skein.workflow("w.js", body);
    let child = skein.spawn(["run".as_ref(), script.as_os_str(), "--yes".as_ref()]);
    eventually("both agents run", || {
        ["started-g0", "started-g1"].iter().all(|name| skein.project().join(name).exists()).then_some(())
    });
    (child, skein.only_run())
}

/// `skein logs` in the background, with a file of its own for what it prints.
struct Logs {
    child: Child,
    output: std::path::PathBuf,
}

impl Logs {
    fn follow(skein: &Skein, run: &str, more: &[&str]) -> Logs {
        let output = skein.dir().join("logs-output");
        let file = std::fs::File::create(&output).expect("a file");
        let mut command = skein.command([&["logs", run, "-f"], more].concat());
        let errors = file.try_clone().expect("a file");
        Logs { child: command.stdout(file).stderr(errors).spawn().expect("starts"), output }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.output).expect("reads")
    }

    fn until(&self, part: &str) {
        eventually(part, || self.text().contains(part).then_some(()));
    }

    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("ends");
        (status, self.text())
    }
}

#[test]
fn logs_follow_a_run_of_another_process_until_it_ends() {
    let skein = Skein::new();
    let (mut child, run) = start(&skein);
    let logs = Logs::follow(&skein, &run, &[]);
    logs.until("before 1");
    assert!(!logs.text().contains("after"), "it has not happened yet");
    skein.write("go", "");
    let (status, text) = logs.end();
    assert!(status.success(), "{text}");
    assert_eq!(text, "before 1\nafter 2\n", "each line once, in order");
    assert!(child.wait().expect("ends").success());
    assert_eq!(skein.run(["logs", &run, "-f"]).stdout, text, "of an ended run: all of it");
}

#[test]
fn logs_follow_as_json_gives_one_object_a_line() {
    let skein = Skein::new();
    let (mut child, run) = start(&skein);
    let logs = Logs::follow(&skein, &run, &["--json"]);
    logs.until("before 1");
    skein.write("go", "");
    let (_, text) = logs.end();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().map(|line| &line["text"]).collect::<Vec<_>>(), ["before 1", "after 2"]);
    assert!(lines.iter().all(|line| line["at_ms"].is_i64()), "{text}");
    assert!(child.wait().expect("ends").success());
}

#[test]
fn logs_follow_ends_when_the_owner_of_the_run_is_killed_and_says_how_to_go_on() {
    let skein = Skein::new();
    let (mut child, run) = start(&skein);
    let logs = Logs::follow(&skein, &run, &[]);
    logs.until("before 1");
    processes::kill_9(i32::try_from(child.id()).expect("a pid"));
    child.wait().expect("ends");
    let (status, text) = logs.end();
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("is interrupted") && text.contains(&format!("skein resume {run}")), "{text}");
    skein.write("go", "");
    assert_eq!(skein.run(["resume", &run, "--json"]).completed()["result"], json!(["through", "through"]));
}

#[test]
fn runs_and_show_tell_how_a_run_of_another_process_stands() {
    let skein = Skein::new();
    let (mut child, run) = start(&skein);
    let shown = skein.run(["show", &run, "--json"]).json();
    let listed = skein.runs().remove(0);
    for view in [&shown, &listed] {
        assert_eq!((&view["run"], &view["status"]), (&json!(run), &json!("running")));
        assert_eq!((&view["agents"]["running"], &view["agents"]["done"]), (&json!(2), &json!(0)));
        assert_eq!((&view["phases"][0]["title"], &view["result"]), (&json!("Wait"), &Value::Null));
        assert!(view.get("continue_with").is_none(), "it needs nobody");
    }
    assert!(skein.run(["show", &run]).stdout.contains("2 running"));
    assert_eq!(skein.run(["result", &run]).code, Some(2), "not yet");
    skein.write("go", "");
    assert!(child.wait().expect("ends").success());
    let shown = skein.run(["show", &run, "--json"]).json();
    assert_eq!((&shown["status"], &shown["agents"]["done"]), (&json!("completed"), &json!(2)));
}

#[test]
fn logs_of_what_is_not_there_is_a_usage_error() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return 1");
    skein.run_json(&script, &[]).completed();
    assert_eq!(skein.run(["logs", "wf_01kb3v9m5c7w8t3xq2r4y6z8a0", "-f"]).code, Some(2));
}
