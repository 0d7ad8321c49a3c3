//! Resume of ended runs: results are reused by key, never guessed.

use serde_json::{Value, json};
use skein_tests::{Ended, Skein};
use std::path::Path;

/// Agents append their prompt to `ran`; one whose prompt holds `broken` fails while the file `mended` is missing.
fn project() -> Skein {
    let skein = Skein::new();
    let shell = "echo \"$1\" >> ran; case \"$1\" in *broken*) test -e mended || exit 3;; esac; echo \"<$1>\"";
    skein.shell_agent("worker", "", shell);
    skein
}

fn ran(skein: &Skein) -> Vec<String> {
    let text = std::fs::read_to_string(skein.project().join("ran")).unwrap_or_default();
    std::fs::write(skein.project().join("ran"), "").unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn id(view: &Value) -> String {
    view["run"].as_str().unwrap_or_default().to_owned()
}

fn resume_with(skein: &Skein, script: &Path, parent: &str, more: &[&str]) -> Ended {
    let mut args = vec!["--resume", parent];
    args.extend(more);
    skein.run_json(script, &args)
}

const STAGGERED: &str = "const a = p => agent(p, {agentType: 'worker'})
    const chains = await parallel(Array.from({length: 10}, (_, i) => async () => {
        const first = await a('chain ' + i); return await a('then ' + first) }))
    const nested = await pipeline([1, 2, 3, 4, 5], n => a('item ' + n),
        (prev, item) => parallel([() => a('left ' + item), () => a('right ' + item)]))
    const same = await parallel(Array.from({length: 20}, () => () => a('identical')))
    return [chains.length, nested.flat().length, same.length]";

#[test]
fn r06a_staggered_nested_and_identical_calls_are_all_reused() {
    let skein = project();
    let script = skein.workflow("w.js", STAGGERED);
    let first = skein.run_json(&script, &[]).completed();
    assert_eq!((ran(&skein).len(), &first["agents"]["done"]), (55, &json!(55)));
    let again = skein.run(["resume", &id(&first), "--json"]).completed();
    assert_eq!(ran(&skein), [""; 0], "nothing ran again");
    assert_eq!((&again["result"], &again["parent"]), (&first["result"], &first["run"]));
    assert_eq!((&again["agents"]["reused"], &again["agents"]["started"]), (&json!(55), &json!(0)));
    assert_eq!(again["phases"][0]["agents"], 55);
    let third = skein.run(["resume", &id(&again), "--json"]).completed();
    assert_eq!(third["agents"]["reused"], 55, "a resumed run can be resumed");
    assert_eq!(ran(&skein), [""; 0]);
}

#[test]
fn r06a_an_edited_prompt_runs_itself_and_what_depends_on_its_text() {
    let skein = project();
    let body = |middle: &str| {
        format!(
            "const a = p => agent(p, {{agentType: 'worker'}})
             const first = await a('first'); const middle = await a('{middle}'); await a('after')
             return await a('uses ' + middle)"
        )
    };
    let first = skein.run_json(&skein.workflow("w.js", &body("middle")), &[]).completed();
    ran(&skein);
    let edited = skein.workflow("w.js", &body("edited"));
    let again = resume_with(&skein, &edited, &id(&first), &[]).completed();
    assert_eq!(ran(&skein), ["edited", "uses <edited>"]);
    assert_eq!((&again["agents"]["reused"], &again["agents"]["started"]), (&json!(2), &json!(2)));
    let strict = resume_with(&skein, &edited, &id(&first), &["--resume-mode", "prefix"]).completed();
    assert_eq!(ran(&skein), ["after", "edited", "uses <edited>"], "from the first changed call on everything runs");
    assert_eq!(strict["agents"]["reused"], 1);
}

#[test]
fn r07_failed_results_are_never_reused() {
    let skein = project();
    let body = "const a = p => agent(p, {agentType: 'worker'}); return [await a('x'), await a('broken'), await a('y')]";
    let script = skein.workflow("w.js", body);
    let first = skein.run_json(&script, &[]).completed();
    assert_eq!(first["result"], json!(["<x>", null, "<y>"]));
    ran(&skein);
    skein.write("mended", "");
    let again = skein.run(["resume", &id(&first), "--json"]).completed();
    assert_eq!(again["result"], json!(["<x>", "<broken>", "<y>"]));
    assert_eq!(ran(&skein), ["broken"]);
}

#[test]
fn r06a_what_changes_the_work_is_in_the_key_and_what_does_not_is_not() {
    let skein = project();
    let body = |options: &str| format!("return await agent('p', {{agentType: 'worker', {options}}})");
    let first = skein.run_json(&skein.workflow("w.js", &body("")), &[]).completed();
    ran(&skein);
    for (options, runs) in [
        ("label: 'other'", 0),
        ("phase: 'Other'", 0),
        ("timeout: '5m'", 0),
        ("retries: 5", 0),
        ("model: 'opus'", 1),
        ("effort: 'high'", 1),
    ] {
        let script = skein.workflow("w.js", &body(options));
        resume_with(&skein, &script, &id(&first), &[]).completed();
        assert_eq!(ran(&skein).len(), runs, "{options}");
    }
    let script = skein.workflow("w.js", &body(""));
    resume_with(&skein, &script, &id(&first), &["--args", "{\"n\":1}"]).completed();
    assert_eq!(ran(&skein), ["p"], "a program sees the args");
    skein.shell_agent("worker", "description: edited\n", "echo \"$1\" >> ran; echo new");
    resume_with(&skein, &script, &id(&first), &[]).completed();
    assert_eq!(ran(&skein), ["p"], "another definition is other work");
}

#[test]
fn c08_the_seed_and_the_args_are_inherited() {
    let skein = project();
    let script = skein.workflow("w.js", "await agent('p', {agentType: 'worker'}); return [random(), args.n]");
    let first = skein.run_json(&script, &["--args", "{\"n\":7}"]).completed();
    let again = resume_with(&skein, &script, &id(&first), &[]).completed();
    assert_eq!(again["result"], first["result"]);
    assert_eq!(again["agents"]["reused"], 1);
}

#[test]
fn r06a_a_large_reused_result_belongs_to_the_new_run() {
    let skein = Skein::new();
    skein.shell_agent("big", "", "head -c 100000 /dev/zero | tr '\\0' x");
    let script = skein.workflow("w.js", "const t = await agent('p', {agentType: 'big'}); return t.length");
    let first = skein.run_json(&script, &[]).completed();
    let again = skein.run(["resume", &id(&first), "--json"]).completed();
    assert_eq!((&again["result"], &again["agents"]["reused"]), (&json!(100_000), &json!(1)));
    let third = skein.run(["resume", &id(&again), "--json"]).completed();
    assert_eq!(third["result"], 100_000);
}

#[test]
fn r07_a_run_without_results_has_nothing_to_resume() {
    let skein = project();
    let failed = skein.run_json(&skein.workflow("w.js", "throw new Error('at once')"), &[]);
    let ended = skein.run(["resume", &id(&failed.json())]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("nothing to resume"), "{}", ended.stderr);
}
