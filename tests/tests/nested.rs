//! `workflow()` in whole runs (C40): saved ones, files, groups, limits, recovery, resume.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::{Ended, Skein, eventually};

const SIMULATED: [&str; 2] = ["--runner", "simulated"];

fn script(name: &str, body: &str) -> String {
    format!("export const meta = {{ name: '{name}', description: 'a child' }}\n{body}")
}

fn save(skein: &Skein, name: &str, body: &str) {
    skein.write(&format!(".claude/commands/{name}.js"), &script(name, body));
}

fn run(skein: &Skein, body: &str, more: &[&str]) -> Ended {
    let file = skein.workflow("w.js", body);
    let flags: Vec<&str> = SIMULATED.iter().chain(more).copied().collect();
    skein.run_json(&file, &flags)
}

fn titles(view: &Value) -> Vec<(String, u64)> {
    let phases = view["phases"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line =
        |phase: &Value| (phase["title"].as_str().unwrap_or_default().to_owned(), phase["agents"].as_u64().unwrap_or(0));
    phases.iter().map(line).collect()
}

fn logs(skein: &Skein, view: &Value) -> String {
    skein.run(["logs", view["run"].as_str().expect("an id")]).stdout
}

#[test]
fn c40_saved_workflows_and_files_run_inside_a_run_in_groups_of_their_own() {
    let skein = Skein::new();
    save(
        &skein,
        "count",
        "phase('Count'); log('counting', args.n)\nreturn (await agent('count ' + args.n)).length > 0",
    );
    skein.write("lib/part.js", &script("part", "await agent('a', { phase: 'Mine' }); await agent('b'); return args"));
    let body = "phase('Ours'); await agent('own')
        const first = await workflow('count', { n: 1 })
        const [second, part] = await parallel([() => workflow('count', { n: 2 }), () => workflow({ scriptPath: 'lib/part.js' }, [3])])
        return [first, second, part]";
    let view = run(&skein, body, &[]).completed();
    assert_eq!(view["result"], json!([true, true, [3]]));
    let expected = [("Ours", 1), ("▸ count", 1), ("▸ count #2", 1), ("▸ part", 2)];
    let mut found = titles(&view);
    found.sort();
    let mut expected = expected.map(|(title, agents)| (title.to_owned(), agents));
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(
        (&view["agents"]["started"], &view["warnings"]),
        (&json!(5), &json!(["phase 'Ours' is not in meta.phases"]))
    );
    let logs = logs(&skein, &view);
    for line in ["▸ count started", "[count] counting 1", "[count] counting 2", "▸ part done"] {
        assert!(logs.lines().any(|known| known == line), "{line} in:\n{logs}");
    }
}

#[test]
fn c40_what_is_unknown_broken_or_out_of_reach_throws_and_can_be_caught() {
    let skein = Skein::new();
    save(&skein, "fine", "return 1");
    save(&skein, "broken", "return (");
    save(&skein, "throws", "null.x");
    save(&skein, "nests", "return await workflow('fine').catch(e => e.message)");
    std::fs::write(skein.dir().join("outside.js"), script("outside", "return 'read'")).expect("writes");
    std::os::unix::fs::symlink(skein.dir().join("outside.js"), skein.project().join("link.js")).expect("links");
    let body = "const out = []
        for (const ref of ['nope', 'broken', 'throws', { scriptPath: '../outside.js' }, { scriptPath: 'link.js' }]) {
          try { out.push(await workflow(ref)) } catch (e) { out.push([e.name, e instanceof Error, e.message]) }
        }
        out.push(await workflow('nests'))
        return out";
    let view = run(&skein, body, &[]).completed();
    let out = view["result"].as_array().expect("a list");
    assert_eq!(
        out[0],
        json!(["Error", true, "workflow('nope'): no workflow with that name. Known: broken, fine, nests, throws"])
    );
    assert_eq!((&out[1][0], &out[1][1]), (&json!("SyntaxError"), &json!(true)));
    assert_eq!((&out[2][0], &out[2][1]), (&json!("TypeError"), &json!(true)));
    for outside in &out[3..5] {
        let message = outside[2].as_str().unwrap_or_default();
        assert!(message.ends_with("there is no such file below the project or the script's folder"), "{message}");
    }
    assert_eq!(out[5], "workflow() cannot be called from within a child workflow");
    let failures = view["failures"].to_string();
    assert!(failures.contains("▸ throws failed: TypeError"), "{failures}");
    let (_, error) = run(&skein, "return await workflow('broken')", &[]).failed();
    assert!(error["message"].as_str().unwrap_or_default().starts_with("SyntaxError: workflow('broken'): "), "{error}");
}

#[test]
fn c38_a_child_shares_the_budget_and_l01_the_cap_of_agents() {
    let skein = Skein::new();
    save(&skein, "spend", "for (let i = 0; i < 100; i++) await agent('q' + i)");
    let body = "const caught = await workflow('spend').catch(e => e.message); return [caught, budget.spent()]";
    let view = run(&skein, body, &["--budget", "250"]).completed();
    assert_eq!(view["result"], json!(["budget exhausted: 330 of 250 tokens", 330]));
    let view =
        run(&skein, "await agent('own'); return await workflow('spend').catch(e => e.name)", &["--max-agents", "4"]);
    let view = view.completed();
    assert_eq!((&view["result"], &view["agents"]["started"]), (&json!("WorkflowAgentCapError"), &json!(4)));
}

#[test]
fn r02a_what_a_run_may_name_is_fixed_at_its_submission() {
    let skein = Skein::new();
    skein.shell_agent("gate", "", "touch started; while ! test -e go; do sleep 0.02; done; echo done");
    save(&skein, "late", "return 'as submitted'");
    skein.write("part.js", &script("part", "return 'as first read'"));
    let body = "const before = await workflow({ scriptPath: 'part.js' })
        await agent('wait', { agentType: 'gate' })
        return [before, await workflow('late'), await workflow({ scriptPath: 'part.js' }), await workflow('new').catch(() => 'unknown')]";
    let file = skein.workflow("w.js", body);
    let mut child = skein.spawn(["run".as_ref(), file.as_os_str(), "--yes".as_ref(), "--json".as_ref()]);
    eventually("the agent waits", || skein.project().join("started").exists().then_some(()));
    save(&skein, "late", "return 'edited'");
    save(&skein, "new", "return 'added'");
    skein.write("part.js", &script("part", "return 'edited'"));
    skein.write("go", "");
    assert!(child.wait().expect("ends").success(), "{}", skein.background_stderr());
    let run = skein.only_run();
    let expected = json!(["as first read", "as submitted", "as first read", "unknown"]);
    assert_eq!(skein.run(["result", run.as_str(), "--json"]).json(), expected);
}

#[test]
fn r06_a_killed_run_goes_on_inside_its_child_with_the_texts_of_its_journal() {
    let skein = Skein::new();
    let shell = "echo \"$1\" >> ran; if test \"$1\" = second; then touch started; while ! test -e go; do sleep 0.02; done; fi; echo \"<$1>\"";
    skein.shell_agent("worker", "", shell);
    let large = format!("// {}\n", "x".repeat(40_000));
    let inner = "const a = p => agent(p, { agentType: 'worker' })\nreturn [await a('first'), await a('second'), await a('third'), random()]";
    skein.write("part.js", &script("part", &format!("{large}{inner}")));
    save(&skein, "tail", "return args");
    let body =
        "const got = await workflow({ scriptPath: 'part.js' }); return [got.slice(0, 3), await workflow('tail', 7)]";
    let file = skein.workflow("w.js", body);
    let mut child = skein.spawn(["run".as_ref(), file.as_os_str(), "--yes".as_ref()]);
    eventually("the second agent runs", || skein.project().join("started").exists().then_some(()));
    child.kill().expect("kills");
    child.wait().expect("ends");
    std::fs::remove_file(skein.project().join("part.js")).expect("removes");
    std::fs::remove_dir_all(skein.project().join(".claude")).expect("removes");
    skein.write("go", "");
    let run = skein.only_run();
    let view = skein.run(["resume", run.as_str(), "--json"]).completed();
    assert_eq!(view["result"], json!([["<first>", "<second>", "<third>"], 7]));
    let ran = std::fs::read_to_string(skein.project().join("ran")).expect("reads");
    assert_eq!(ran.lines().filter(|line| *line == "first").count(), 1, "{ran}");
    let again = skein.run(["resume", run.as_str(), "--json"]).completed();
    assert_eq!((&again["result"], &again["agents"]["reused"]), (&view["result"], &json!(3)));
    assert_eq!(titles(&again), [("▸ part".to_owned(), 3)]);
}
