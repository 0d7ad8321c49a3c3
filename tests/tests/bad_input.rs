//! What each kind of bad input gets: a clear error, and nothing is lost.

use serde_json::{Value, json};
use skein_tests::{Ended, Skein, eventually, processes};

/// A run of one agent of a type that runs this shell text; the agent's value is the result.
fn run_shell(front_matter: &str, shell: &str, options: &str) -> (Skein, Value) {
    let skein = Skein::new();
    skein.shell_agent("worker", front_matter, shell);
    let script = skein.workflow("w.js", &format!("return await agent('go', {{agentType: 'worker', {options}}})"));
    let view = skein.run_json(&script, &[]).completed();
    (skein, view)
}

fn only_agent(skein: &Skein) -> Value {
    skein.run(["agents", &skein.only_run(), "--json"]).json()[0].clone()
}

#[test]
fn a_syntax_error_is_a_failed_run_with_place_line_and_caret() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "const a = 1\nconst b = = 2\n");
    let (_, error) = skein.run_json(&script, &[]).failed();
    assert_eq!((&error["kind"], &error["line"]), (&json!("syntax"), &json!(3)), "{error}");
    let checked = skein.run(["check", "w.js"]);
    assert_eq!(checked.code, Some(2));
    assert!(checked.stderr.contains("w.js:3:") && checked.stderr.contains("const b = = 2"), "{}", checked.stderr);
    assert!(checked.stderr.lines().any(|line| line.trim() == "^"), "{}", checked.stderr);
}

#[test]
fn bad_meta_is_a_failed_run_that_names_the_construct() {
    let skein = Skein::new();
    for (text, word) in [
        ("export const meta = { name: f(), description: 'd' }\nreturn 1", "call"),
        ("export const meta = { name: '', description: 'd' }\nreturn 1", "meta.name must be a non-empty string"),
        ("const x = 1\nexport const meta = { name: 'n', description: 'd' }", "first statement"),
        (
            "export const meta = { name: 'n', description: 'd', __proto__: null }",
            "reserved key name not allowed in meta",
        ),
    ] {
        let script = skein.write("bad.js", text);
        let (_, error) = skein.run_json(&script, &[]).failed();
        let message = error["message"].as_str().expect("a message").to_lowercase();
        assert_eq!(error["kind"], "meta", "{text}: {error}");
        assert!(message.contains(word), "{text}: {message}");
    }
}

#[test]
fn an_unknown_option_warns_and_with_strict_it_throws() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return await agent('p', {lable: 'x'})");
    let view = skein.run_json(&script, &["--runner", "simulated"]).completed();
    assert!(view["warnings"][0].as_str().expect("a warning").contains("lable"), "{view}");
    let (_, error) = skein.run_json(&script, &["--runner", "simulated", "--strict"]).failed();
    assert!(error["message"].as_str().expect("a message").contains("lable"), "{error}");
}

#[test]
fn an_unknown_flag_or_command_is_a_usage_error() {
    let skein = Skein::new();
    for args in [&["run", "--frobnicate"][..], &["fly"], &["show", "not-a-run"], &["run", "missing.js", "--yes"]] {
        let ended = skein.run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty());
    }
}

#[test]
fn args_that_are_no_json_are_refused_before_anything_starts() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return args");
    let ended = skein.run_json(&script, &["--args", "{not json"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("args is not JSON"), "{}", ended.stderr);
    let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
    assert_eq!(skein.run_json(&script, &["--args", &deep]).code, Some(2));
    assert!(!skein.store().exists() || skein.runs().is_empty(), "no run was made");
}

#[test]
fn u02_without_a_terminal_and_without_yes_nothing_starts() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return 1");
    let ended = skein.run(["run", script.to_str().expect("a path")]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--yes"), "{}", ended.stderr);
}

#[test]
fn c22_an_unknown_agent_type_throws_and_lists_the_known_ones() {
    let skein = Skein::new();
    skein.shell_agent("known", "", "true");
    let script = skein.workflow("w.js", "return await agent('p', {agentType: 'nope'})");
    let (view, error) = skein.run_json(&script, &[]).failed();
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("agent type 'nope' not found") && message.contains("known"), "{message}");
    assert_eq!(view["agents"]["started"], 0);
}

#[test]
fn a01_without_a_model_the_run_ends_and_says_how_to() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return await agent('p')");
    let (_, error) = skein.run_json(&script, &[]).failed();
    assert!(error["message"].as_str().expect("a message").starts_with("no model is configured"), "{error}");
}

#[test]
fn a02_a_command_that_is_not_there_fails_its_agent_only() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return [await agent('p'), 'went on']");
    let ended = skein.run_json(&script, &["--runner", "command", "--command", "no-such-program-here"]);
    let view = ended.completed();
    assert_eq!(view["result"], json!([null, "went on"]));
    assert!(view["degraded"] == true && view["agents"]["failed"] == 1, "{view}");
    let failure = view["failures"][0].as_str().expect("a line");
    assert!(failure.contains("no-such-program-here"), "{failure}");
}

#[test]
fn a02_fifty_megabytes_of_output_are_too_large() {
    let (skein, view) = run_shell("", "head -c 50000000 /dev/zero | tr '\\0' x", "");
    assert_eq!(view["result"], Value::Null);
    assert_eq!(only_agent(&skein)["status"], "output_too_large");
}

#[test]
fn a02_exit_1_fails_with_the_last_lines_of_standard_error() {
    let (skein, view) = run_shell("", "echo the disk is on fire >&2; exit 1", "");
    assert_eq!(view["result"], Value::Null);
    let agent = only_agent(&skein);
    assert_eq!(
        (&agent["status"], &agent["detail"], &agent["attempts"]),
        (&json!("failed"), &json!("exit 1"), &json!(1))
    );
    assert!(view["failures"][0].as_str().expect("a line").contains("the disk is on fire"), "{view}");
}

#[test]
fn c23_exit_75_is_tried_again() {
    let (skein, view) = run_shell("", "test -e ready && echo done && exit 0; touch ready; exit 75", "");
    assert_eq!(view["result"], "done");
    assert_eq!(only_agent(&skein)["attempts"], 2);
}

#[test]
fn c21_a_command_that_never_ends_is_timed_out() {
    let (skein, view) = run_shell("", "sleep 1000", "timeout: '300ms'");
    assert_eq!(view["result"], Value::Null);
    assert_eq!(only_agent(&skein)["status"], "timed_out");
    assert!(processes::of_run(&skein.only_run()).is_empty());
}

#[test]
fn a02_invalid_utf_8_is_replaced_and_noted() {
    let (skein, view) = run_shell("", "printf 'a\\377b'", "");
    assert_eq!(view["result"], "a\u{fffd}b");
    let agent = skein.run(["agent", &skein.only_run(), "1", "--json"]).json();
    assert!(agent["notes"][0].as_str().expect("a note").contains("UTF-8"), "{agent}");
}

#[test]
fn a02_a_daemon_ends_with_its_attempt() {
    let (skein, view) = run_shell("", "setsid sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 & echo done", "");
    assert_eq!(view["result"], "done");
    assert!(processes::of_run(&skein.only_run()).is_empty(), "a descendant is left");
}

#[test]
fn a02_a_schema_is_checked() {
    let schema = "schema: {type: 'object', required: ['n'], properties: {n: {type: 'number'}}}";
    let (_, view) = run_shell("", "echo '{\"n\":\"3\"}'", schema);
    assert_eq!(view["result"], json!({"n": 3}));
    let skein = Skein::new();
    skein.shell_agent("worker", "", "echo not json");
    let body = format!("return await agent('p', {{agentType: 'worker', {schema}}})");
    let (_, error) = skein.run_json(&skein.workflow("w.js", &body), &[]).failed();
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("5 failed calls") && message.contains("not JSON"), "{message}");
    assert_eq!(only_agent(&skein)["status"], "failed");
}

#[test]
fn a_second_process_on_the_same_run_gets_a_clear_error() {
    let skein = Skein::new();
    skein.shell_agent("slow", "", "touch started; sleep 1000");
    let script = skein.workflow("w.js", "return await agent('p', {agentType: 'slow'})");
    let mut first = skein.spawn(["run", script.to_str().expect("a path"), "--yes"]);
    eventually("the agent runs", || skein.project().join("started").exists().then_some(()));
    let run = skein.only_run();
    let second = skein.run(["resume", &run]);
    assert_eq!(second.code, Some(2), "{}", second.stderr);
    assert!(second.stderr.contains("is being run by"), "{}", second.stderr);
    processes::signal(i32::try_from(first.id()).expect("a pid"), rustix::process::Signal::INT);
    assert_eq!(first.wait().expect("ends").code(), Some(130));
    assert!(processes::of_run(&run).is_empty());
}

#[test]
fn two_runs_in_two_processes_on_one_store_both_complete() {
    let skein = Skein::new();
    skein.shell_agent("echo", "", "cat >/dev/null; echo \"$SKEIN_AGENT\"");
    let body =
        "const all = await parallel(Array.from({length: 60}, (_, i) => () => agent('p' + i, {agentType: 'echo'})));
        return all.map(Number).reduce((a, b) => a + b)";
    let script = skein.workflow("w.js", body);
    let script = script.to_str().expect("a path");
    let mut first = skein.spawn(["run", script, "--yes", "--json"]);
    let second = skein.run(["run", script, "--yes", "--json"]).completed();
    assert_eq!(first.wait().expect("ends").code(), Some(0), "{}", skein.background_stderr());
    assert_eq!(second["result"], 60 * 61 / 2);
    let runs = skein.runs();
    assert!(runs.len() == 2 && runs.iter().all(|run| run["status"] == "completed"), "{runs:?}");
}

#[test]
fn an_unknown_or_ended_run_has_nothing_to_resume() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return 1");
    let view = skein.run_json(&script, &[]).completed();
    for run in [view["run"].as_str().expect("an id"), "wf_00000000000000000000000000"] {
        let ended = skein.run(["resume", run]);
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("nothing to resume"), "{}", ended.stderr);
    }
}

#[test]
fn c21_a_pool_that_nobody_serves_ends_its_agents_and_not_the_run() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return [await agent('p', {pool: 'nope'}), await agent('q')]");
    let mut command =
        skein.command(["run", script.to_str().expect("a path"), "--yes", "--json", "--runner", "simulated"]);
    let view = Ended::from(command.env("SKEIN_CLAIM_WAIT", "300ms").output().expect("runs")).completed();
    assert_eq!(view["result"][0], Value::Null);
    assert!(view["result"][1].is_string());
    assert!(view["failures"][0].as_str().expect("a line").contains("no worker serves pool nope"), "{view}");
    let view =
        skein.run_json(&skein.workflow("h.js", "return await agent('p', {host: 'web-1'})"), &["--runner", "simulated"]);
    assert!(view.completed()["failures"][0].as_str().expect("a line").contains("no worker serves host web-1"));
}

#[test]
fn c10_a_loop_over_refused_calls_ends_by_its_cap_and_listens_to_the_timeout() {
    let skein = Skein::new();
    let body = "for (;;) { try { await agent('x', {retries: 99}) } catch {} }";
    let script = skein.workflow("w.js", body);
    let (_, error) = skein.run_json(&script, &["--runner", "simulated", "--timeout", "300ms"]).failed();
    assert_eq!(error["kind"], "timeout", "{error}");
}

#[test]
fn c10_huge_titles_labels_and_lines_are_cut() {
    let skein = Skein::new();
    let body = "const huge = 'x'.repeat(1 << 18)
        phase(huge); log(huge); await agent('p', {label: huge, phase: huge + 1})
        return await parallel([() => { throw new Error(huge) }])";
    let script = skein.workflow("w.js", body);
    let view = skein.run_json(&script, &["--runner", "simulated"]).completed();
    assert!(view.to_string().len() < 20_000, "{}", view.to_string().len());
    let logs = skein.run(["logs", view["run"].as_str().expect("an id")]).stdout;
    assert!(logs.len() < 100_000 && logs.contains("bytes more"), "{}", logs.len());
}

#[test]
fn text_that_steers_a_terminal_and_absurd_usage_do_no_harm() {
    let skein = Skein::new();
    skein.shell_agent(
        "liar",
        "",
        "echo '{\"skein_usage\":{\"input\":18446744073709551615,\"cache_read\":9}}' >&3; echo ok",
    );
    let body = "log('\\u001b[2J'); return await agent('p', {agentType: 'liar'})";
    let script = skein.workflow("w.js", body);
    let ended = skein.run(["run", script.to_str().expect("a path"), "--yes"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains('\u{1b}'), "{:?}", ended.stderr);
}

#[test]
fn flags_after_text_are_flags() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return [args, budget.total]");
    let args = ["run", script.to_str().expect("a path"), "check", "this", "--yes", "--json", "--budget", "10k"];
    assert_eq!(skein.run(args).completed()["result"], json!(["check this", 10_000]));
}

#[test]
fn c22_a_schema_nothing_can_fit_throws_before_any_agent_starts() {
    let skein = Skein::new();
    let body = "return await agent('p', {schema: {type: 'object', required: ['b'], properties: {a: {}}, additionalProperties: false}})";
    let (view, error) = skein.run_json(&skein.workflow("w.js", body), &["--runner", "simulated"]).failed();
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("invalid JSON Schema") && message.contains("`b`"), "{message}");
    assert_eq!(view["agents"]["started"], 0);
}
