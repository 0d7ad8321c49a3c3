//! Attempts that get nowhere, seen from the script and from the command line (C21, C22, L5).
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::{Ended, Skein};

fn agent(skein: &Skein, view: &Value, number: u32) -> Value {
    skein.run(["agent", view["run"].as_str().expect("an id"), &number.to_string(), "--json"]).json()
}

fn log_of(view: &Value) -> Vec<&str> {
    view["attempts_log"].as_array().expect("lines").iter().filter_map(|line| line["text"].as_str()).collect()
}

fn run(skein: &Skein, body: &str) -> Ended {
    skein.run_json(&skein.workflow("w.js", body), &[])
}

const ALL_STALLED: &str = "agent stalled on all 6 attempts (no progress for 300ms each)";

#[test]
fn l05_six_attempts_without_progress_throw_at_the_call_and_are_null_in_a_slot() {
    let skein = Skein::new();
    skein.shell_agent("silent", "", "sleep 86441.25");
    let body = "const silent = () => agent('p', { agentType: 'silent', stallMs: 300 })
        let thrown = ''
        try { await silent() } catch (error) { thrown = String(error instanceof Error && error.message) }
        return { thrown, slots: await parallel([silent, async () => 'other']), items: await pipeline([1], silent) }";
    let view = run(&skein, body).completed();
    assert_eq!(view["result"], json!({ "thrown": ALL_STALLED, "slots": [null, "other"], "items": [null] }));
    assert_eq!((&view["agents"]["failed"], &view["degraded"]), (&json!(3), &json!(true)));
    for number in 1..=3 {
        assert_eq!(agent(&skein, &view, number)["agent"]["attempts"], 6, "agent {number}");
    }
    let first = agent(&skein, &view, 1);
    assert_eq!((&first["agent"]["status"], &first["agent"]["attempts"]), (&json!("stalled"), &json!(6)));
    for (attempt, lines) in (1..6).zip(log_of(&first).chunks(2)) {
        let started = format!("attempt {attempt} started");
        let ended = format!("attempt {attempt} stalled: no progress for 300ms");
        assert_eq!(lines, [started, ended]);
    }
    let logs = skein.run(["logs", view["run"].as_str().expect("an id")]).stdout;
    assert!(logs.contains(&format!("parallel[0] failed: {ALL_STALLED}")), "{logs}");
}

#[test]
fn l05_an_uncaught_stall_ends_the_run_and_the_environment_sets_the_time() {
    let skein = Skein::new();
    skein.shell_agent("silent", "", "sleep 86442.25");
    let script = skein.workflow("w.js", "return await agent('p', { agentType: 'silent' })");
    let mut command = skein.command(["run", script.to_str().expect("a path"), "--yes", "--json"]);
    let ended = Ended::from(command.env("SKEIN_STALL", "50ms").output().expect("runs"));
    let (_, error) = ended.failed();
    assert_eq!(error["message"], "Error: agent stalled on all 6 attempts (no progress for 50ms each)");
}

#[test]
fn c22_five_answers_that_do_not_fit_throw_and_the_last_one_is_in_the_record() {
    let skein = Skein::new();
    skein.shell_agent("wrong", "", "printf '{\"try\":%s}' $SKEIN_ATTEMPT");
    let schema = "{ type: 'object', required: ['n'], properties: { n: { type: 'integer' } } }";
    let body = format!(
        "const wrong = () => agent('p', {{ agentType: 'wrong', schema: {schema} }})
         let thrown = ''
         try {{ await wrong() }} catch (error) {{ thrown = error.message }}
         return [thrown, await parallel([wrong])]"
    );
    let view = run(&skein, &body).completed();
    let thrown = view["result"][0].as_str().expect("a message");
    let start = "agent({schema}): StructuredOutput retry cap (5) exceeded — 5 failed calls with no valid output: \
                 standard output does not fit the schema: ";
    assert!(thrown.starts_with(start) && thrown.contains("\"n\""), "{thrown}");
    assert_eq!(view["result"][1], json!([null]));
    let first = agent(&skein, &view, 1);
    assert_eq!((&first["agent"]["status"], &first["agent"]["detail"]), (&json!("failed"), &json!("schema")));
    assert_eq!((&first["output"], &first["output_refused"]), (&Value::Null, &json!("{\"try\":5}")));
    let shown = skein.run(["agent", view["run"].as_str().expect("an id"), "1"]).stdout;
    assert!(shown.contains("output that does not fit the schema:\n{\"try\":5}"), "{shown}");
}

#[test]
fn c22_an_answer_that_fits_after_some_that_did_not_counts() {
    let skein = Skein::new();
    let shell = "test $SKEIN_ATTEMPT -ge 4 && echo '{\"n\":4}' || echo no";
    skein.shell_agent("learns", "", shell);
    let body = "return await agent('p', { agentType: 'learns', retries: 0, schema: { type: 'object' } })";
    let view = run(&skein, body).completed();
    assert_eq!((&view["result"], &view["degraded"]), (&json!({ "n": 4 }), &json!(false)));
    assert_eq!(agent(&skein, &view, 1)["agent"]["attempts"], 4);
}

/// Each null has its cause and detail in the record.
#[test]
fn c21_every_way_to_end_without_an_answer_has_its_cause() {
    let skein = Skein::new();
    skein.shell_agent("sh", "", "eval \"$1\"");
    let cases = [
        ("exit 3", "{}", "failed", Some("exit 3")),
        ("kill -9 $$", "{}", "failed", Some("signal 9")),
        ("sleep 86443.25", "{ timeout: 100 }", "timed_out", Some("command_timeout")),
        ("head -c 2000000 /dev/zero", "{}", "output_too_large", None),
        ("exit 75", "{ retries: 1 }", "failed", Some("exit 75")),
        ("true", "{ host: 'nowhere' }", "failed", Some("no_worker")),
    ];
    let calls: Vec<String> = cases
        .iter()
        .map(|(prompt, options, ..)| format!("agent('{prompt}', {{ agentType: 'sh', ...{options} }})"))
        .collect();
    let view = run(&skein, &format!("return await Promise.all([{}])", calls.join(", "))).completed();
    assert_eq!(view["result"], json!(vec![Value::Null; cases.len()]));
    let agents = skein.run(["agents", view["run"].as_str().expect("an id"), "--json"]).json();
    for (index, (prompt, _, cause, detail)) in cases.iter().enumerate() {
        assert_eq!(agents[index]["status"], *cause, "{prompt}");
        if let Some(detail) = detail {
            assert_eq!(agents[index]["detail"], *detail, "{prompt}");
        }
    }
}
