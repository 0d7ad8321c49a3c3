//! `kill -9` of `skein run` in the middle of 1000 agents: `skein resume` completes it, and the agents themselves saw
//! that never more than 16 of them ran.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::Value;
use skein_tests::{Skein, eventually, processes};
use std::collections::BTreeMap;
use std::path::Path;

const AGENTS: usize = 1000;
const CAP: usize = 16;

/// How many kills: 2 in the quick tier, as many as `SKEIN_TEST_KILLS` says in the full one.
fn kills() -> usize {
    std::env::var("SKEIN_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

fn lines(probe: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(probe.join("lines")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn r04_a_killed_run_is_resumed_and_nothing_is_lost_or_doubled() {
    let kills = kills();
    for kill in 1..=kills {
        // Spread over the tenths of the run.
        let at = AGENTS * (1 + (kill - 1) * 9 / kills) / 10;
        kill_and_resume(at);
        println!("kill -9 after {at} agents: resumed, right");
    }
}

fn kill_and_resume(after_agents: usize) {
    let skein = Skein::new();
    let probe = skein.dir().join("probe");
    std::fs::create_dir(&probe).expect("a folder");
    let body = format!(
        "const all = await parallel(Array.from({{length: {AGENTS}}}, (_, i) => () => agent('agent-' + i)));
         return all.map((text, i) => text === 'agent-' + i).filter(Boolean).length"
    );
    let script = skein.workflow("w.js", &body);
    let command = format!("{} {} {{prompt}}", env!("CARGO_BIN_EXE_probe-agent"), probe.display());
    let args = ["run", script.to_str().expect("a path"), "--yes", "--json", "--command", &command];
    let mut first = skein.spawn(args);
    eventually("the agents get going", || (lines(&probe).len() >= after_agents).then_some(()));
    processes::kill_9(i32::try_from(first.id()).expect("a pid"));
    first.wait().expect("is gone");
    let run = skein.only_run();
    let view = skein.run(["resume", &run, "--json"]).completed();
    check(&view, &lines(&probe));
    assert!(processes::of_run(&run).is_empty(), "a process is left");
}

fn check(view: &Value, lines: &[String]) {
    assert_eq!(view["result"], AGENTS, "{view}");
    assert_eq!(view["agents"]["done"], AGENTS, "{view}");
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines {
        let (prompt, slot) = line.split_once(' ').expect("prompt and slot");
        *times.entry(prompt).or_default() += 1;
        assert!(slot.parse::<usize>().expect("a number") < CAP, "more than {CAP} agents at once: {line}");
    }
    assert_eq!(times.len(), AGENTS, "none lost");
    let twice = times.values().filter(|times| **times == 2).count();
    assert!(times.values().all(|times| *times <= 2) && twice <= CAP, "{twice} agents ran twice");
}

#[test]
fn r06_ctrl_c_ends_the_agents_and_prints_the_command_that_continues() {
    let skein = Skein::new();
    skein.shell_agent("slow", "", "touch started-$SKEIN_AGENT; test -e go || sleep 1000; echo done");
    let body = "return await parallel([1, 2, 3].map(i => () => agent('p' + i, {agentType: 'slow'})))";
    let script = skein.workflow("w.js", body);
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
        let mut running = skein.spawn(["run", script.to_str().expect("a path"), "--yes"]);
        eventually("the agents run", || skein.project().join("started-3").exists().then_some(()));
        processes::signal(i32::try_from(running.id()).expect("a pid"), signal);
        assert_eq!(running.wait().expect("ends").code(), Some(code));
        let stderr = skein.background_stderr();
        let run = skein.runs()[0]["run"].as_str().expect("an id").to_owned();
        assert!(stderr.contains(&format!("skein resume {run}")), "{stderr}");
        assert!(processes::of_run(&run).is_empty());
        assert_eq!(skein.runs()[0]["status"], "interrupted");
        assert_eq!(skein.runs()[0]["continue_with"], format!("skein resume {run}"));
        std::fs::remove_file(skein.project().join("started-3")).expect("removes");
    }
    skein.write("go", "");
    let run = skein.runs()[0]["run"].as_str().expect("an id").to_owned();
    let view = skein.run(["resume", &run, "--json"]).completed();
    assert_eq!(view["result"], serde_json::json!(["done", "done", "done"]));
}

/// A run of agents that wait for the file `go`, with one of its helper processes killed in the middle.
fn kill_helper_and_go_on(role: &str, find: impl Fn(i32) -> Option<i32>) {
    let skein = Skein::new();
    skein.shell_agent("slow", "", "echo $SKEIN_AGENT >> started; until test -e go; do sleep 0.01; done; echo done");
    let body = "const first = await parallel([1, 2, 3].map(i => () => agent('p' + i, {agentType: 'slow'})))
        return [...first, await agent('last', {agentType: 'slow'})]";
    let script = skein.workflow("w.js", body);
    let mut running = skein.spawn(["run", script.to_str().expect("a path"), "--yes", "--json"]);
    let started = || std::fs::read_to_string(skein.project().join("started")).unwrap_or_default().lines().count();
    eventually("the agents run", || (started() == 3).then_some(()));
    let skein_pid = i32::try_from(running.id()).expect("a pid");
    let helper = find(skein_pid).unwrap_or_else(|| unreachable!("there is no {role}"));
    processes::kill_9(helper);
    eventually("it is gone", || (!processes::is_alive(helper)).then_some(()));
    skein.write("go", "");
    assert_eq!(running.wait().expect("ends").code(), Some(0), "{role}: {}", skein.background_stderr());
    let run = skein.only_run();
    let result: Value = serde_json::from_str(&skein.run(["result", &run]).stdout).expect("a result");
    assert_eq!(result, serde_json::json!(["done", "done", "done", "done"]), "{role}");
    assert!(processes::of_run(&run).is_empty(), "{role}: a process is left");
}

fn child_with(parent: i32, word: &str) -> Option<i32> {
    processes::children_of(parent).into_iter().find(|pid| processes::command_line(*pid).contains(word))
}

#[test]
fn r04_a_killed_keeper_costs_attempts_and_not_the_run() {
    kill_helper_and_go_on("keeper", |skein| child_with(skein, "keeper"));
}

#[test]
fn r04_a_killed_script_host_is_replaced_by_a_replay() {
    kill_helper_and_go_on("script host", |skein| {
        processes::children_of(child_with(skein, "script-zygote")?).into_iter().next()
    });
}

#[test]
fn r04_a_killed_zygote_is_replaced_with_its_hosts() {
    kill_helper_and_go_on("zygote", |skein| child_with(skein, "script-zygote"));
}
