//! What a person does to a run from another terminal, and what an agent may not.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::Value;
use skein_tests::{Skein, eventually, processes};
use std::process::Child;

/// Runs until it is told to go: each agent says that it is there, then waits for a file of its own name.
const WAITS: &str = "echo $$ >> \"at-$SKEIN_AGENT\"; while [ ! -e \"go-$SKEIN_AGENT\" ]; do sleep 0.02; done; echo \"done by $SKEIN_ATTEMPT\"";

struct Scene {
    skein: Skein,
    running: Child,
    run: String,
}

impl Scene {
    /// Four agents, two at a time; the script adds what it caught and gives all of it back.
    fn begin() -> Scene {
        Scene::of(
            "let caught = null;
             const all = await parallel([1, 2, 3, 4].map(i => () => agent('p' + i, {agentType: 'waits'})));
             try { all.push(await agent('last', {agentType: 'waits'})) } catch (error) { caught = error.message }
             return {all, caught}",
        )
    }

    fn of(body: &str) -> Scene {
        let skein = Skein::new();
        skein.shell_agent("waits", "", WAITS);
        let script = skein.workflow("w.js", body);
        let args = ["run", script.to_str().expect("a path"), "--yes", "--json", "--concurrency", "2"];
        let running = skein.spawn(args);
        eventually("the first agents run", || skein.project().join("at-2").exists().then_some(()));
        let run = skein.only_run();
        Scene { skein, running, run }
    }

    fn go(&self, agent: u32) {
        std::fs::write(self.skein.project().join(format!("go-{agent}")), "").expect("writes");
    }

    fn control(&self, words: &[&str]) -> Value {
        let (command, rest) = words.split_first().expect("a command");
        let args = [&[*command, self.run.as_str()][..], rest, &["--json"][..]].concat();
        self.skein.run(args).answered()
    }

    fn refused(&self, words: &[&str]) -> String {
        let (command, rest) = words.split_first().expect("a command");
        let ended = self.skein.run([&[*command, self.run.as_str()][..], rest].concat());
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        ended.stderr
    }

    fn status(&self) -> String {
        self.control(&["show"])["status"].as_str().expect("a status").to_owned()
    }

    fn agents(&self) -> Vec<String> {
        let agents = self.control(&["agents"]);
        let agents = agents.as_array().expect("a list");
        agents.iter().map(|agent| agent["status"].as_str().expect("a status").to_owned()).collect()
    }

    fn until(&self, what: &str, agents: &[&str]) {
        eventually(what, || (self.agents() == agents).then_some(()));
    }

    fn end(mut self) -> (Option<i32>, Value) {
        let code = self.running.wait().expect("ends").code();
        let view = self.control(&["show"]);
        assert!(processes::of_run(&self.run).is_empty(), "a process is left");
        (code, view)
    }
}

#[test]
fn r08_a_paused_run_finishes_what_runs_and_goes_on_when_it_is_resumed() {
    let scene = Scene::begin();
    assert_eq!(scene.control(&["pause"])["status"], "pausing");
    scene.go(1);
    scene.go(2);
    eventually("what ran has ended", || (scene.status() == "paused").then_some(()));
    scene.until("nothing new starts", &["done", "done", "queued", "queued"]);
    assert_eq!(scene.control(&["resume"])["status"], "running");
    assert!(scene.refused(&["resume"]).contains("the run is not paused"));
    (3..=5).for_each(|agent| scene.go(agent));
    let (code, view) = scene.end();
    assert_eq!((code, &view["result"]["all"][4]), (Some(0), &Value::from("done by 1")));
}

#[test]
fn r08_a_pause_outlives_a_kill_and_resume_ends_it() {
    let mut scene = Scene::begin();
    scene.control(&["pause"]);
    scene.go(1);
    scene.until("its result is held back", &["done", "running", "queued", "queued"]);
    processes::kill_9(i32::try_from(scene.running.id()).expect("a pid"));
    scene.running.wait().expect("is gone");
    (2..=5).for_each(|agent| scene.go(agent));
    let view = scene.skein.run(["resume", &scene.run, "--json"]).completed();
    assert_eq!(view["result"]["all"].as_array().expect("a list").len(), 5);
    assert_eq!(view["result"]["all"][0], "done by 1");
}

#[test]
fn r08_one_agent_is_stopped_one_restarted_one_skipped() {
    let scene = Scene::begin();
    scene.control(&["agent-skip", "4"]);
    scene.control(&["agent-stop", "1"]);
    scene.control(&["agent-restart", "2"]);
    eventually("the second attempt is there", || {
        let pids = std::fs::read_to_string(scene.skein.project().join("at-2")).unwrap_or_default();
        (pids.lines().count() == 2).then_some(())
    });
    assert!(scene.refused(&["agent-stop", "1"]).contains("agent 1 has ended already"));
    assert!(scene.refused(&["agent-skip", "2"]).contains("agent 2 has started: stop it instead"));
    assert!(scene.refused(&["agent-stop", "9"]).contains("there is no agent 9: the run has 4 so far"));
    (2..=5).for_each(|agent| scene.go(agent));
    let detail = scene.control(&["agent", "2"]);
    assert!(detail["attempts_log"].to_string().contains("attempt 1 interrupted: restarted by a person"), "{detail}");
    let (code, view) = scene.end();
    let expected = serde_json::json!([null, "done by 2", "done by 1", null, "done by 1"]);
    assert_eq!((code, &view["result"]["all"]), (Some(0), &expected));
    assert_eq!((&view["agents"]["stopped"], &view["agents"]["skipped"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(view["degraded"], false, "a person wanted it so");
}

#[test]
fn c33_a_stopped_run_ends_its_agents_and_keeps_what_was_finished() {
    let scene = Scene::begin();
    scene.go(1);
    scene.until("one has ended", &["done", "running", "running", "queued"]);
    assert!(["stopping", "stopped"].contains(&scene.control(&["stop"])["status"].as_str().expect("a status")));
    let run = scene.run.clone();
    let (code, view) = scene.end();
    assert_eq!((code, &view["status"]), (Some(4), &Value::from("stopped")));
    assert_eq!((&view["agents"]["done"], &view["agents"]["stopped"]), (&Value::from(1), &Value::from(3)));
    assert!(processes::of_run(&run).is_empty());
}

#[test]
fn c33_a_script_that_will_not_end_is_ended() {
    for body in [
        // The wait is over, and then it never comes to rest again.
        "await agent('p1', {agentType: 'waits'}).catch(() => {}); while (true) {}",
        // Every later call rejects at once.
        "while (true) await agent('p', {agentType: 'waits'}).catch(() => {})",
        // It waits for something else.
        "await agent('p1', {agentType: 'waits'}).catch(() => {}); await new Promise(done => setTimeout(done, 3600000))",
    ] {
        let body = format!("agent('other', {{agentType: 'waits'}}).catch(() => {{}}); {body}");
        let scene = Scene::of(&body);
        scene.control(&["stop"]);
        let (code, view) = scene.end();
        assert_eq!((code, &view["status"]), (Some(4), &Value::from("stopped")), "{body}");
    }
}

#[test]
fn r08_what_has_ended_or_was_interrupted_cannot_be_controlled_and_says_what_can_be_done() {
    let mut scene = Scene::begin();
    processes::kill_9(i32::try_from(scene.running.id()).expect("a pid"));
    scene.running.wait().expect("is gone");
    assert!(scene.refused(&["pause"]).contains("continue it with: skein resume wf_"));
    (1..=5).for_each(|agent| scene.go(agent));
    scene.skein.run(["resume", &scene.run, "--json"]).completed();
    assert!(scene.refused(&["stop"]).contains("has ended: it completed"));
    let unknown = scene.skein.run(["pause", "wf_00000000000000000000000000"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("there is no run wf_00000000000000000000000000"), "{}", unknown.stderr);
}

#[test]
fn c33_a_script_that_computes_without_end_is_stopped_and_whoever_asked_is_told_so() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "log('begins'); await agent('p'); while (true) {}");
    let args = ["run", script.to_str().expect("a path"), "--yes", "--json", "--runner", "simulated"];
    let mut running = skein.spawn(args);
    let run = eventually("its agent has ended", || {
        let run = skein.runs().first()?.clone();
        (run["agents"]["done"] == 1).then(|| run["run"].as_str().expect("an id").to_owned())
    });
    let answer = skein.run(["stop", &run, "--json"]).answered();
    assert_eq!(answer["status"], "stopped");
    assert_eq!(running.wait().expect("ends").code(), Some(4));
}

/// Agents try with the program itself, from a daemon that left its session, with an environment of its own.
#[test]
fn a05_an_agent_that_steers_is_refused() {
    let skein = Skein::new();
    let program = skein_tests::skein_binary().display().to_string();
    let store = skein.store().display().to_string();
    let steer = format!(
        "{program} stop $SKEIN_RUN --store {store} 2>&1; \
         env -i {program} agent-stop $SKEIN_RUN 1 --store {store} 2>&1; \
         (setsid env -i sh -c '{program} pause '$SKEIN_RUN' --store {store} > daemon 2>&1; mv daemon daemon-done' &); \
         while [ ! -e daemon-done ]; do sleep 0.02; done; cat daemon-done"
    );
    skein.shell_agent("steers", "", &steer);
    let script = skein.workflow("w.js", "return await agent('steer', {agentType: 'steers'})");
    let view = skein.run_json(&script, &[]).completed();
    let said = view["result"].as_str().expect("a text");
    assert_eq!(said.matches("agents cannot start, steer or answer for runs").count(), 3, "{said}");
    assert_eq!(view["status"], "completed");
}

/// Nor in a process of their own, nor what is kept for runs to come.
#[test]
fn a05_an_agent_starts_removes_and_trusts_nothing() {
    let skein = Skein::new();
    let program = skein_tests::skein_binary().display().to_string();
    let store = skein.store().display().to_string();
    let quiet = skein.workflow("quiet.js", "return 1");
    let other = skein.run_json(&quiet, &[]).completed()["run"].as_str().expect("an id").to_owned();
    let quiet = quiet.display();
    let tries = [
        format!("run {quiet} --yes"),
        format!("resume {other}"),
        format!("remove {other}"),
        format!("save {other} --name kept"),
        String::from("serve"),
        String::from("trust ."),
        String::from("commands remove kept"),
    ];
    let lines: Vec<String> = tries.iter().map(|words| format!("{program} {words} --store {store} 2>&1")).collect();
    skein.shell_agent("tries", "", &format!("{}; true", lines.join("; ")));
    let script = skein.workflow("w.js", "return await agent('try', {agentType: 'tries'})");
    let view = skein.run_json(&script, &[]).completed();
    let said = view["result"].as_str().expect("a text");
    let refused = said.matches("agents cannot start, steer or answer for runs").count();
    assert_eq!(refused, tries.len(), "{said}");
    assert_eq!(skein.runs().len(), 2);
}

#[test]
fn r06_serve_executes_detached_runs_and_takes_up_interrupted_ones() {
    let skein = Skein::new();
    skein.shell_agent("waits", "", WAITS);
    let script =
        skein.workflow("w.js", "return await parallel([1, 2].map(i => () => agent('p' + i, {agentType: 'waits'})))");
    let path = script.to_str().expect("a path");
    let alone = skein.run(["run", path, "--yes", "--detach"]);
    assert_eq!(alone.code, Some(69));
    assert!(alone.stderr.contains("--detach needs a `skein serve`"), "{}", alone.stderr);

    let mut served = skein.spawn(["serve"]);
    eventually("it serves", || skein.store().join("serve.sock").exists().then_some(()));
    let second = skein.run(["serve"]);
    assert!(second.stderr.contains("is in use by another process"), "{}", second.stderr);
    let detached = skein.run(["run", path, "--yes", "--detach", "--json"]).answered();
    let run = detached["run"].as_str().expect("an id").to_owned();
    eventually("its agents run", || skein.project().join("at-2").exists().then_some(()));
    assert_eq!(skein.run(["pause", &run, "--json"]).answered()["status"], "pausing");
    assert_eq!(skein.run(["resume", &run, "--json"]).answered()["status"], "running");
    processes::kill_9(i32::try_from(served.id()).expect("a pid"));
    served.wait().expect("is gone");

    let mut again = skein.spawn(["serve"]);
    std::fs::write(skein.project().join("go-1"), "").expect("writes");
    std::fs::write(skein.project().join("go-2"), "").expect("writes");
    eventually("it is taken up and ends", || {
        let view = skein.run(["show", &run, "--json"]).answered();
        (view["status"] == "completed").then_some(())
    });
    // So is one whose process dies while it serves.
    let mut alone = skein.spawn(["run", path, "--yes"]);
    std::fs::remove_file(skein.project().join("go-1")).expect("removes");
    let is_second = |run: &Value| run["run"] != detached["run"] && run["agents"]["running"] == 1;
    eventually("another run waits", || skein.runs().iter().any(is_second).then_some(()));
    processes::kill_9(i32::try_from(alone.id()).expect("a pid"));
    alone.wait().expect("is gone");
    std::fs::write(skein.project().join("go-1"), "").expect("writes");
    eventually("it is taken up and ends", || skein.runs().iter().all(|run| run["status"] == "completed").then_some(()));
    processes::signal(i32::try_from(again.id()).expect("a pid"), rustix::process::Signal::TERM);
    assert_eq!(again.wait().expect("ends").code(), Some(143));
    assert!(!skein.store().join("serve.sock").exists());
}
