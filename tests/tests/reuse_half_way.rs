//! Runs that ended half way, by a failure or after a kill, and are resumed: every finished agent is reused, nothing
//! else is.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::{Ended, Skein, eventually, processes};
use std::path::{Path, PathBuf};

/// 65 staggered agents, ten pairs nested in a pipeline, 20 identical calls; after 55 of them a gate is asked, and the
/// run fails when it is shut.
const BODY: &str = "
    let done = 0, shut
    const failed = new Promise((_, reject) => { shut = reject })
    const work = async prompt => {
        const text = await agent(prompt, { agentType: 'worker' })
        if (++done === 55 && await agent('gate', { agentType: 'worker' }) === null) shut(new Error('the gate is shut'))
        return text
    }
    const staggered = parallel(Array.from({ length: 65 }, (_, i) => async () => {
        await new Promise(wake => setTimeout(wake, i))
        return work('staggered ' + i)
    }))
    const nested = pipeline(Array.from({ length: 10 }, (_, i) => i), i => work('find ' + i),
        found => parallel([() => work('left ' + found), () => work('right ' + found)]))
    const same = parallel(Array.from({ length: 20 }, () => () => work('identical')))
    const all = await Promise.race([Promise.all([staggered, nested, same]), failed])
    return all.flat(2).length";
const AGENTS: u64 = 65 + 30 + 20 + 1;

/// Agents append their prompt to `ran`. The gate is shut while the file `mended` is missing; while `hold` is there it
/// does not answer.
fn project() -> (Skein, PathBuf) {
    let skein = Skein::new();
    let gate = "while test -e hold; do sleep 0.01; done; test -e mended || exit 3";
    let shell = format!("echo \"$1\" >> ran; case \"$1\" in gate) {gate};; broken*) exit 3;; esac; echo \"<$1>\"");
    skein.shell_agent("worker", "", &shell);
    let script = skein.workflow("w.js", BODY);
    (skein, script)
}

fn take_ran(skein: &Skein) -> Vec<String> {
    let path = skein.project().join("ran");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let _nothing_ran = std::fs::remove_file(path);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn id(view: &Value) -> &str {
    view["run"].as_str().expect("an id")
}

fn agents(skein: &Skein, view: &Value) -> Vec<Value> {
    skein.run(["agents", id(view), "--json"]).json().as_array().expect("agents").clone()
}

/// The prompts that have to run again: all but one of each that the parent finished.
fn left_over(skein: &Skein, parent: &Value) -> Vec<String> {
    let found = |i: usize| [format!("find {i}"), format!("left <find {i}>"), format!("right <find {i}>")];
    let mut prompts: Vec<String> = (0..65).map(|i| format!("staggered {i}")).collect();
    prompts.extend((0..10).flat_map(found));
    prompts.extend((0..20).map(|_| String::from("identical")));
    prompts.push(String::from("gate"));
    for agent in agents(skein, parent).iter().filter(|agent| agent["status"] == "done") {
        // A label is the prompt; screens tell those that are the same apart by a number.
        let label = agent["label"].as_str().expect("a label").split(" [").next().unwrap_or_default();
        let place = prompts.iter().position(|prompt| prompt == label).expect("a prompt of the script");
        prompts.swap_remove(place);
    }
    prompts.sort();
    prompts
}

/// Resumes what ended half way: every finished agent is reused, all others run.
fn assert_all_finished_are_reused(skein: &Skein, parent: &Value) {
    let finished = parent["agents"]["done"].as_u64().expect("a count");
    assert!((55..AGENTS).contains(&finished), "half way: {parent}");
    let left_over = left_over(skein, parent);
    take_ran(skein);
    skein.write("mended", "");
    let view = skein.run(["resume", id(parent), "--json"]).completed();
    assert_eq!(view["result"], 65 + 20 + 20);
    assert_eq!(take_ran(skein), left_over);
    assert_eq!((&view["agents"]["reused"], &view["agents"]["done"]), (&json!(finished), &json!(AGENTS - finished)));
}

#[test]
fn r06a_of_a_run_that_failed_half_way_every_finished_agent_is_reused() {
    let (skein, script) = project();
    let (failed, error) = skein.run_json(&script, &[]).failed();
    assert_eq!(error["message"], "Error: the gate is shut");
    assert_all_finished_are_reused(&skein, &failed);
}

#[test]
fn r06a_of_a_run_that_was_killed_half_way_and_then_failed_every_finished_agent_is_reused() {
    let (skein, script) = project();
    let hold = skein.write("hold", "");
    let mut running = skein.spawn(["run", script.to_str().expect("a path"), "--yes", "--json"]);
    let gate_runs = || take_lines(&skein).iter().any(|line| line == "gate");
    eventually("the gate is asked", || gate_runs().then_some(()));
    processes::kill_9(i32::try_from(running.id()).expect("a pid"));
    running.wait().expect("is gone");
    std::fs::remove_file(hold).expect("removes");
    let run = skein.only_run();
    let (failed, _) = skein.run(["resume", &run, "--json"]).failed();
    assert_eq!(id(&failed), run, "the same run went on to its end");
    assert_all_finished_are_reused(&skein, &failed);
}

fn take_lines(skein: &Skein) -> Vec<String> {
    let text = std::fs::read_to_string(skein.project().join("ran")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn resume_edited(skein: &Skein, parent: &Value, from: &str, to: &str) -> Value {
    assert!(BODY.contains(from), "{from}");
    let edited = skein.workflow("edited.js", &BODY.replace(from, to));
    run_with(skein, &edited, parent, &[]).completed()
}

fn run_with(skein: &Skein, script: &Path, parent: &Value, more: &[&str]) -> Ended {
    let mut args = vec!["--resume", id(parent)];
    args.extend(more);
    skein.run_json(script, &args)
}

#[test]
fn r06a_one_edited_prompt_costs_itself_and_what_is_made_of_its_text() {
    let (skein, script) = project();
    skein.write("mended", "");
    let first = skein.run_json(&script, &[]).completed();
    assert_eq!(take_ran(&skein).len() as u64, AGENTS);
    let one = resume_edited(&skein, &first, "work('staggered ' + i)", "work('staggered ' + (i === 30 ? 'anew' : i))");
    assert_eq!(take_ran(&skein), ["staggered anew"]);
    assert_eq!(one["agents"]["reused"], AGENTS - 1);
    let chain = resume_edited(&skein, &first, "work('find ' + i)", "work(i === 3 ? 'look for 3' : 'find ' + i)");
    assert_eq!(take_ran(&skein), ["left <look for 3>", "look for 3", "right <look for 3>"]);
    assert_eq!(chain["agents"]["reused"], AGENTS - 3);
}

#[test]
fn r06a_in_prefix_mode_everything_from_the_first_call_without_an_answer_on_runs() {
    let (skein, _) = project();
    let body = "return (await parallel(Array.from({ length: 65 }, (_, i) => () =>
        agent(i === 40 ? 'broken 40' : i % 3 ? 'item ' + i : 'identical', { agentType: 'worker' })))).filter(Boolean).length";
    let script = skein.workflow("flat.js", body);
    let first = skein.run_json(&script, &[]).completed();
    assert_eq!((&first["result"], &first["agents"]["failed"]), (&json!(64), &json!(1)));
    assert_eq!(take_ran(&skein).len(), 65);
    let strict = run_with(&skein, &script, &first, &["--resume-mode", "prefix"]).completed();
    assert_eq!(strict["agents"]["reused"], 40, "those called before the one that failed");
    assert_eq!(take_ran(&skein).len(), 25);
    let keyed = run_with(&skein, &script, &first, &[]).completed();
    assert_eq!(keyed["agents"]["reused"], 64);
    assert_eq!(take_ran(&skein), ["broken 40"]);
}
