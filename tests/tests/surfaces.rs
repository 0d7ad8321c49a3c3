//! What a person and a program read of a run: `--json` shapes, the report, logs, agents, script, exit codes.

use serde_json::{Value, json};
use skein_tests::Skein;

const BODY: &str = "phase('Read')
log('found', 3, { files: 2 })
const all = await parallel(['a', 'b', 'c'].map(p => () => agent(p, { label: 'reader', agentType: 'reader', model: 'haiku' })))
return { all }";

fn run_of_three(skein: &Skein) -> Value {
    skein.shell_agent(
        "reader",
        "",
        "test $1 != b || { echo broken >&2; exit 3; }; echo '{\"skein_usage\":{\"input\":90,\"output\":10}}' >&3; echo got $1",
    );
    let script = skein.workflow("w.js", BODY);
    let ended = skein.run_json(&script, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.json()
}

#[test]
fn the_final_object_has_the_fixed_shape() {
    let view = run_of_three(&Skein::new());
    for key in [
        "run",
        "parent",
        "workflow",
        "status",
        "degraded",
        "result",
        "error",
        "elapsed_ms",
        "agents",
        "tokens",
        "phases",
        "models",
        "failures",
        "warnings",
    ] {
        assert!(view.get(key).is_some(), "{key}");
    }
    assert_eq!(view["result"], json!({ "all": ["got a", null, "got c"] }));
    assert_eq!((&view["status"], &view["degraded"]), (&json!("completed"), &json!(true)));
    let agents = &view["agents"];
    let expected = json!({"started": 3, "done": 2, "failed": 1, "skipped": 0, "stopped": 0, "refused": 0, "reused": 0});
    for (key, count) in expected.as_object().expect("an object") {
        assert_eq!(&agents[key], count, "{key}");
    }
    let tokens = json!({"input": 180, "cache_read": 0, "cache_write": 0, "output": 20, "total": 200, "budget": null});
    assert_eq!(view["tokens"], tokens);
    assert_eq!(view["phases"][0]["title"], "Read");
    assert_eq!(view["models"], json!([{"model": "haiku", "agents": 3, "tokens": 200}]));
    assert_eq!(view["failures"], json!(["reader failed (exit 3): broken"]));
}

#[test]
fn r10_the_report_says_what_happened_and_what_failed() {
    let skein = Skein::new();
    run_of_three(&skein);
    let script = skein.project().join("w.js");
    let ended = skein.run(["run", script.to_str().expect("a path"), "--yes", "--budget", "150"]);
    assert_eq!(ended.stdout.trim(), r#"{"all":["got a",null,"got c"]}"#);
    for part in [
        "test completed (degraded",
        "3 started, 2 done, 1 failed",
        "180 in, 20 out; over budget by 50: 200 of 150",
        "phase   Read",
        "model   haiku",
        "failed  reader failed (exit 3): broken",
    ] {
        assert!(ended.stderr.contains(part), "{part} in:\n{}", ended.stderr);
    }
}

#[test]
fn progress_is_plain_lines_when_piped_and_nothing_when_quiet() {
    let skein = Skein::new();
    run_of_three(&skein);
    let script = skein.project().join("w.js");
    let args = ["run", script.to_str().expect("a path"), "--yes"];
    let ended = skein.run(args);
    assert!(ended.stderr.contains("found 3 {\"files\":2}"), "{}", ended.stderr);
    assert!(ended.stderr.contains("Read: "), "{}", ended.stderr);
    assert!(!ended.stderr.contains('\u{1b}'), "no escape sequences in a pipe");
    let quiet = skein.run(args.iter().chain(&["--quiet"]));
    assert_eq!(quiet.stderr, "");
}

#[test]
fn r06_strict_turns_a_degraded_run_into_exit_6() {
    let skein = Skein::new();
    run_of_three(&skein);
    let script = skein.project().join("w.js");
    let ended = skein.run(["run", script.to_str().expect("a path"), "--yes", "--strict"]);
    assert_eq!(ended.code, Some(6));
}

#[test]
fn c38_a_spent_budget_is_exit_3() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "for (let i = 0; i < 10; i++) await agent('p' + i); return 'never'");
    let ended = skein.run_json(&script, &["--runner", "simulated", "--budget", "300"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let error = &ended.json()["error"];
    assert_eq!(
        (&error["kind"], &error["message"]),
        (&json!("budget"), &json!("Error: budget exhausted: 330 of 300 tokens"))
    );
}

#[test]
fn runs_show_result_agents_agent_logs_and_script_tell_the_same_story() {
    let skein = Skein::new();
    let view = run_of_three(&skein);
    let run = view["run"].as_str().expect("an id");
    assert_eq!(skein.runs()[0]["run"], run);
    assert_eq!(skein.runs()[0]["result"], Value::Null, "a list carries no results");
    assert_eq!(skein.run(["show", run, "--json"]).json(), view);
    let result = skein.run(["result", run]);
    assert_eq!(result.stdout.trim(), r#"{"all":["got a",null,"got c"]}"#);
    let agents = skein.run(["agents", run, "--json"]).json();
    assert_eq!((&agents[0]["label"], &agents[2]["label"]), (&json!("reader"), &json!("reader [3]")));
    let agent = skein.run(["agent", run, "2", "--json"]).json();
    assert_eq!((&agent["prompt"], &agent["agent"]["detail"]), (&json!("b"), &json!("exit 3")));
    assert_eq!(skein.run(["agent", run, "9"]).code, Some(2));
    let logs = skein.run(["logs", run]).stdout;
    assert!(logs.contains("found 3 {\"files\":2}") && logs.contains("broken"), "{logs}");
    let script = std::fs::read(skein.project().join("w.js")).expect("reads");
    assert_eq!(skein.run(["script", run]).stdout.as_bytes(), script);
}

#[test]
fn a_large_result_and_a_large_prompt_come_through_whole() {
    let skein = Skein::new();
    let body = "const big = 'ä'.repeat(100_000)
        const text = await agent(big, { agentType: 'length' })
        return { n: Number(text), big }";
    skein.write("agents/length.md", "---\nname: length\ncommand: [\"wc\", \"-c\"]\n---\n");
    let script = skein.workflow("w.js", body);
    let view = skein.run_json(&script, &[]).completed();
    assert!(view["result"]["n"].as_u64().expect("a number") > 200_000, "the JSON on standard input is longer still");
    assert_eq!(view["result"]["big"].as_str().expect("text").chars().count(), 100_000);
    let shown = skein.run(["show", view["run"].as_str().expect("an id"), "--json"]).json();
    assert_eq!(shown["result"], view["result"]);
}

#[test]
fn a_dry_run_starts_simulated_agents_and_keeps_nothing() {
    let skein = Skein::new();
    skein.shell_agent("never", "", "touch ran");
    let script = skein.workflow("w.js", "await agent('a', {agentType: 'never'}); return await agent('b')");
    let ended = skein.run(["run", script.to_str().expect("a path"), "--dry-run", "--json"]);
    let view = ended.completed();
    assert_eq!(view["agents"]["done"], 2);
    assert!(!skein.project().join("ran").exists() && !skein.store().exists());
}

#[test]
fn c38_timeout_ends_a_run_that_takes_too_long() {
    let skein = Skein::new();
    skein.shell_agent("slow", "", "sleep 1000");
    let script = skein.workflow("w.js", "return await agent('p', {agentType: 'slow'})");
    let (view, error) = skein.run_json(&script, &["--timeout", "300ms"]).failed();
    assert_eq!(error["kind"], "timeout");
    assert_eq!(view["agents"]["stopped"], 1);
}

#[test]
fn c07_a_timer_is_durable_and_fires() {
    let skein = Skein::new();
    let body = "const order = []
        await new Promise(done => { setTimeout(() => { order.push('late'); done() }, 50); setTimeout(() => order.push('soon'), 1) })
        return order";
    let script = skein.workflow("w.js", body);
    assert_eq!(skein.run_json(&script, &[]).completed()["result"], json!(["soon", "late"]));
}

#[test]
fn every_command_has_help_with_an_example_and_shells_can_complete() {
    let skein = Skein::new();
    for command in
        ["run", "resume", "check", "demo", "runs", "show", "result", "agents", "agent", "logs", "script", "completions"]
            .into_iter()
            .chain(["remove", "config", "trust", "doctor", "serve", "workers", "drain"])
    {
        let help = skein.run([command, "--help"]);
        assert!(help.code == Some(0) && help.stdout.contains("Example"), "{command}: {}", help.stdout);
    }
    assert!(skein.run(["config", "show", "--help"]).stdout.contains("Example"));
    let script = skein.run(["completions", "bash"]).stdout;
    assert!(script.contains("--max-agents") && script.contains("resume"), "{script}");
    assert!(script.contains("--origin") && script.contains("--follow"), "{script}");
}

#[test]
fn a_store_without_runs_lists_none() {
    let skein = Skein::new();
    assert_eq!(skein.run(["runs", "--json"]).json(), json!([]));
    let ended = skein.run(["run", "w.js", "--yes", "--runner", "simulated", "--command", "echo"]);
    assert_eq!(ended.code, Some(2), "a flag that would be ignored is refused: {}", ended.stderr);
}

#[test]
fn events_are_the_journal_line_by_line_and_the_final_object_is_the_last() {
    let skein = Skein::new();
    run_of_three(&skein);
    let script = skein.project().join("w.js");
    let ended = skein.run(["run", script.to_str().expect("a path"), "--yes", "--events"]);
    let mut lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = lines.pop().expect("a final object");
    assert_eq!(last["status"], "completed");
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().expect("a kind")).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"run_submitted"), Some(&"run_ended")));
    assert_eq!(kinds.iter().filter(|kind| **kind == "task_ended").count(), 3);
    let positions = lines.iter().map(|line| line["position"].as_str().expect("a position").to_owned());
    assert_eq!(
        positions.collect::<Vec<_>>(),
        skein.positions(last["run"].as_str().expect("an id")),
        "no event is missing"
    );
}
