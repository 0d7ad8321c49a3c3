//! Clauses that only the whole program can show.

use serde_json::json;
use skein_tests::{Ended, Skein, eventually, processes};

const CAP: usize = 16;

#[test]
fn c34_stages_that_use_parallel_do_not_deadlock_at_concurrency_1() {
    let skein = Skein::new();
    let body = "return await pipeline([1, 2, 3],
          (n) => parallel([() => agent('a' + n), () => pipeline(['b', 'c'], (x) => agent(x + n))]),
          ([first, [second, third]]) => parallel([first, second, third].map((text) => () => agent(text))),
          (texts) => texts.filter(Boolean).length)";
    let script = skein.workflow("w.js", body);
    let view = skein.run_json(&script, &["--runner", "simulated", "--concurrency", "1"]).completed();
    assert_eq!(view["result"], json!([3, 3, 3]));
    assert_eq!(view["agents"]["done"], 18);
}

/// Each agent waits until so many have started that only a full cap can get it on, then says how many are there.
#[test]
fn c34_a_fan_out_of_65_has_the_cap_at_once_and_never_more() {
    const AGENTS: usize = 65;
    let skein = Skein::new();
    let shell = format!(
        "mkdir -p running started; : > running/$SKEIN_AGENT; : > started/$SKEIN_AGENT
         full=$(( (SKEIN_AGENT + {CAP} - 1) / {CAP} * {CAP} )); [ $full -le {AGENTS} ] || full={AGENTS}
         while [ $(ls started | wc -l) -lt $full ]; do :; done
         ls running | wc -l; rm running/$SKEIN_AGENT"
    );
    skein.shell_agent("count", "", &shell);
    let body = format!(
        "const counts = await parallel(Array.from({{ length: {AGENTS} }}, (_, i) => () =>
           agent('p' + i, {{ agentType: 'count' }})))
         return counts.map(Number)"
    );
    let view = skein.run_json(&skein.workflow("w.js", &body), &[]).completed();
    let counts: Vec<usize> = serde_json::from_value(view["result"].clone()).expect("numbers");
    assert_eq!(counts.len(), AGENTS);
    assert!(counts.iter().all(|count| (1..=CAP).contains(count)), "{counts:?}");
}

#[test]
fn c35_agents_before_any_phase_and_phases_that_come_again() {
    let skein = Skein::new();
    let source = "export const meta = { name: 'p', description: 'p', phases: [{ title: 'Unused' }, { title: 'X' }] }
        await agent('early')
        for (const title of ['X', 'X', 'Y', 'X']) { phase(title); await agent(title) }";
    let script = skein.write("w.js", source);
    let view = skein.run_json(&script, &["--runner", "simulated"]).completed();
    let mut phases: Vec<(&str, u64)> = view["phases"]
        .as_array()
        .expect("phases")
        .iter()
        .filter_map(|phase| Some((phase["title"].as_str()?, phase["agents"].as_u64()?)))
        .collect();
    phases.sort_unstable();
    assert_eq!(phases, [("(no phase)", 1), ("X", 3), ("Y", 1)]);
    assert_eq!(view["warnings"], json!(["phase 'Y' is not in meta.phases"]));
}

#[test]
fn c37_text_that_is_an_object_or_array_is_parsed_with_one_log_line_and_other_text_stays() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return { type: typeof args, args }");
    let run = |text: &str| {
        let ended = skein.run(["run", script.to_str().expect("a path"), text, "--yes", "--json"]).completed();
        let logs = skein.run(["logs", ended["run"].as_str().expect("an id")]);
        (ended["result"].clone(), logs.stdout.lines().count())
    };
    assert_eq!(run(r#"{"a":[1]}"#), (json!({ "type": "object", "args": { "a": [1] } }), 1));
    assert_eq!(run("[1,2]"), (json!({ "type": "object", "args": [1, 2] }), 1));
    for text in ["5", "null", "\"x\"", "{not json", "plain words"] {
        assert_eq!(run(text), (json!({ "type": "string", "args": text }), 0), "{text}");
    }
}

#[test]
fn c37_args_absent_are_undefined_and_bad_ones_are_refused() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return typeof args");
    assert_eq!(skein.run_json(&script, &[]).completed()["result"], "undefined");
    assert_eq!(skein.run_json(&script, &["--args", "null"]).completed()["result"], "object");
    let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
    for bad in ["{", "plain", deep.as_str()] {
        assert_eq!(skein.run_json(&script, &["--args", bad]).code, Some(2), "{bad}");
    }
    let fine = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(skein.run_json(&script, &["--args", &fine]).completed()["result"], "object");
}

#[test]
fn l02_limits_out_of_range_are_refused_before_anything_starts() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return 1");
    for (flag, bad) in [("--concurrency", "0 -1 1.5 NaN 257"), ("--max-agents", "0 -1 1.5 NaN 100001")] {
        for value in bad.split(' ') {
            let ended = skein.run_json(&script, &[&format!("{flag}={value}")]);
            assert_eq!(ended.code, Some(2), "{flag} {value}: {}", ended.stderr);
        }
    }
    assert!(!skein.store().exists(), "a refused run leaves nothing");
}

#[test]
fn r02_the_script_is_kept_byte_for_byte() {
    let skein = Skein::new();
    let source = "\u{feff}// ü\r\nexport const meta = { name: 'b', description: 'c' }\r\r\n\treturn 'x\u{2028}'  \n\n";
    for source in [source.trim_start_matches('\u{feff}'), source] {
        let script = skein.write("w.js", source);
        let run = skein.run_json(&script, &[]).json()["run"].as_str().expect("an id").to_owned();
        assert_eq!(skein.run(["script", &run]).stdout, source);
    }
}

#[test]
fn r02a_an_interrupted_run_goes_on_with_the_script_args_and_definitions_it_was_given() {
    let skein = Skein::new();
    skein.shell_agent(
        "step",
        "",
        ": > at-$SKEIN_LABEL; until test -e $SKEIN_LABEL; do :; done; echo \"old $SKEIN_LABEL\"",
    );
    let body = "const out = []
        for (const label of args.labels) out.push(await agent(label, { agentType: 'step', label }))
        return out";
    let script = skein.workflow("w.js", body);
    skein.write("one", "");
    let path = script.to_str().expect("a path").to_owned();
    let mut first = skein.spawn(["run", &path, "--yes", "--json", "--args", r#"{"labels":["one","two","three"]}"#]);
    eventually("the second agent runs", || skein.project().join("at-two").exists().then_some(()));
    processes::kill_9(i32::try_from(first.id()).expect("a pid"));
    first.wait().expect("is gone");
    skein.shell_agent("step", "", "echo new");
    skein.workflow("w.js", "return 'another script'");
    for label in ["two", "three"] {
        skein.write(label, "");
    }
    let view = skein.run(["resume", &skein.only_run(), "--json"]).completed();
    assert_eq!(view["result"], json!(["old one", "old two", "old three"]));
    std::fs::remove_dir_all(skein.project().join("agents")).expect("removes");
    std::fs::remove_file(&script).expect("removes");
    let again: Ended = skein.run(["script", &skein.only_run()]);
    assert!(again.stdout.ends_with(body), "{}", again.stdout);
}

#[test]
fn c24_the_record_keeps_the_label_as_given() {
    let skein = Skein::new();
    let label = "über\ta ".repeat(10);
    let body = format!("await agent('p', {{ label: {label:?} }}); await agent('p', {{ label: {label:?} }})");
    let run = skein.run_json(&skein.workflow("w.js", &body), &["--runner", "simulated"]).completed();
    let agents = skein.run(["agents", run["run"].as_str().expect("an id"), "--json"]).json();
    assert_eq!((&agents[0]["label"], &agents[1]["label"]), (&json!(label), &json!(format!("{label} [2]"))));
}
