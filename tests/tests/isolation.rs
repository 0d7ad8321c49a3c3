//! `isolation: 'worktree'` with the real program and the real git (C23).
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::{Ended, Skein, eventually, processes};
use std::path::PathBuf;
use std::process::Command;

fn git(skein: &Skein, args: &[&str]) -> String {
    let named = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"];
    let output = Command::new("git").args(named).args(args).current_dir(skein.project()).output().expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

/// A project that is a repository with one commit, and an agent type `sh` that runs its prompt.
fn repository() -> Skein {
    let skein = Skein::new();
    skein.shell_agent("sh", "", "eval \"$1\"");
    skein.write("file.txt", "one\n");
    git(&skein, &["init", "-q", "-b", "main"]);
    git(&skein, &["add", "."]);
    git(&skein, &["commit", "-q", "-m", "first"]);
    skein
}

/// Kills a `skein run` and its helpers at once.
fn kill(mut running: std::process::Child) {
    let pid = i32::try_from(running.id()).expect("a pid");
    let children = processes::children_of(pid);
    processes::kill_9(pid);
    children.into_iter().filter(|pid| processes::is_alive(*pid)).for_each(processes::kill_9);
    running.wait().expect("is gone");
}

/// What the record says of an attempt's worktree.
fn note(skein: &Skein, run: &str, name: &str) -> String {
    let path = worktrees(skein).into_iter().find(|path| path.ends_with(format!("{run}-{name}"))).expect("is kept");
    format!("worktree kept: {} (branch skein/{run}/{name})", path.display())
}

/// A run whose agent 1 has changed something and waits, on its first attempt only; it changes something in each.
fn changing_and_waiting(skein: &Skein) -> std::process::Child {
    let prompt = "echo $SKEIN_ATTEMPT > file.txt; touch $HOME/up; test -e $HOME/go || sleep 86463.25; echo ok";
    let script = skein.workflow("w.js", &format!("return await {}", isolated(prompt)));
    let running = skein.spawn(["run", script.to_str().expect("a path"), "--yes"]);
    eventually("the agent runs", || skein.dir().join("home/up").exists().then_some(()));
    std::fs::write(skein.dir().join("home/go"), "").expect("writes");
    running
}

fn isolated(prompt: &str) -> String {
    format!("agent({}, {{ agentType: 'sh', isolation: 'worktree' }})", json!(prompt))
}

fn agent(skein: &Skein, run: &str, number: u32) -> Value {
    skein.run(["agent", run, &number.to_string(), "--json"]).json()
}

/// The worktrees that the project has beside itself.
fn worktrees(skein: &Skein) -> Vec<PathBuf> {
    let listed = git(skein, &["worktree", "list", "--porcelain"]);
    listed.lines().filter_map(|line| line.strip_prefix("worktree ")).skip(1).map(PathBuf::from).collect()
}

#[test]
fn c23_what_an_agent_changed_is_kept_and_shown_and_what_it_did_not_is_gone() {
    let skein = repository();
    let body = format!(
        "return await parallel([() => {}, () => {}])",
        isolated("echo two > file.txt; cat file.txt"),
        isolated("cat file.txt")
    );
    let view = skein.run_json(&skein.workflow("w.js", &body), &[]).completed();
    assert_eq!(view["result"], json!(["two", "one"]));
    assert_eq!(std::fs::read_to_string(skein.project().join("file.txt")).expect("reads"), "one\n");
    let run = view["run"].as_str().expect("an id");
    let kept = worktrees(&skein);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let note = format!("worktree kept: {} (branch skein/{run}/1-1)", kept[0].display());
    assert_eq!(agent(&skein, run, 1)["notes"], json!([note]));
    assert_eq!(agent(&skein, run, 2)["notes"], json!([]));
    let shown = skein.run(["agent", run, "1"]).stdout;
    assert!(shown.contains(&format!("note: {note}")), "{shown}");
    assert_eq!(std::fs::read_to_string(kept[0].join("file.txt")).expect("reads"), "two\n");
}

#[test]
fn c23_a_retry_gets_a_fresh_worktree_and_each_is_recorded() {
    let skein = repository();
    let prompt = "cat file.txt; echo $SKEIN_ATTEMPT > file.txt; test $SKEIN_ATTEMPT -ge 3 || exit 75";
    let body = format!("return await {}", isolated(prompt));
    let view = skein.run_json(&skein.workflow("w.js", &body), &[]).completed();
    assert_eq!(view["result"], "one");
    let shown = agent(&skein, view["run"].as_str().expect("an id"), 1);
    let kept = worktrees(&skein);
    assert_eq!(kept.len(), 3, "{kept:?}");
    for (path, note) in kept.iter().zip(shown["notes"].as_array().expect("notes")) {
        assert!(note.as_str().expect("text").contains(&path.display().to_string()), "{note}");
    }
}

#[test]
fn c23_without_git_the_attempt_says_so_and_nothing_runs() {
    let skein = repository();
    let bin = skein.dir().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    std::os::unix::fs::symlink("/bin/sh", bin.join("sh")).expect("a link");
    let script = skein.workflow("w.js", &format!("return await {}", isolated("echo > ran")));
    let mut command = skein.command(["run", script.to_str().expect("a path"), "--yes", "--json"]);
    let view = Ended::from(command.env("PATH", &bin).output().expect("runs")).completed();
    assert_eq!(view["result"], Value::Null);
    let failure = view["failures"][0].to_string();
    assert!(failure.contains("(no_git): isolation 'worktree': git is not installed on this worker"), "{failure}");
    assert!(!skein.project().join("ran").exists());
}

#[test]
fn c23_a_simulated_agent_needs_no_repository() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return typeof await agent('p', { isolation: 'worktree' })");
    assert_eq!(skein.run_json(&script, &["--dry-run"]).completed()["result"], "string");
}

/// Agent 1 has changed something when everything is killed, agent 2 has not.
#[test]
fn c23_a_kill_leaves_no_unchanged_worktree_behind() {
    let skein = repository();
    let wait = "touch $HOME/up-$SKEIN_AGENT; test -e $HOME/go || sleep 86461.25; cat file.txt";
    let body = format!(
        "return await parallel([() => {}, () => {}])",
        isolated(&format!("test -e $HOME/go || echo two > file.txt; {wait}")),
        isolated(wait)
    );
    let script = skein.workflow("w.js", &body);
    let running = skein.spawn(["run", script.to_str().expect("a path"), "--yes"]);
    let is_up = |agent: u32| skein.dir().join(format!("home/up-{agent}")).exists();
    eventually("both agents run", || (is_up(1) && is_up(2)).then_some(()));
    assert_eq!(worktrees(&skein).len(), 2);
    kill(running);
    std::fs::write(skein.dir().join("home/go"), "").expect("writes");
    let run = skein.only_run();
    let view = skein.run(["resume", &run, "--json"]).completed();
    assert_eq!(view["result"], json!(["one", "one"]));
    let kept = worktrees(&skein);
    let name = format!("{run}-1-1");
    assert!(kept.len() == 1 && kept[0].ends_with(&name), "{kept:?}");
    let note = format!("worktree kept: {} (branch skein/{run}/1-1)", kept[0].display());
    assert_eq!(agent(&skein, &run, 1)["notes"], json!([note]));
    assert_eq!(git(&skein, &["branch", "--list", "skein/*"]).lines().count(), 1);
}

#[test]
fn c23_ctrl_c_leaves_no_unchanged_worktree_behind() {
    let skein = repository();
    let body = format!("return await {}", isolated("touch $HOME/up; sleep 86462.25"));
    let script = skein.workflow("w.js", &body);
    let mut running = skein.spawn(["run", script.to_str().expect("a path"), "--yes"]);
    eventually("the agent runs", || skein.dir().join("home/up").exists().then_some(()));
    processes::signal(i32::try_from(running.id()).expect("a pid"), rustix::process::Signal::INT);
    assert_eq!(running.wait().expect("ends").code(), Some(130));
    assert_eq!(worktrees(&skein), Vec::<PathBuf>::new());
    assert_eq!(git(&skein, &["branch", "--list", "skein/*"]), "");
}

#[test]
fn c23_what_ctrl_c_kept_is_named_by_the_run_that_goes_on() {
    let skein = repository();
    let mut running = changing_and_waiting(&skein);
    processes::signal(i32::try_from(running.id()).expect("a pid"), rustix::process::Signal::INT);
    assert_eq!(running.wait().expect("ends").code(), Some(130));
    let run = skein.only_run();
    assert_eq!(skein.run(["resume", &run, "--json"]).completed()["result"], "ok");
    let both = [note(&skein, &run, "1-1"), note(&skein, &run, "1-2")];
    assert_eq!(agent(&skein, &run, 1)["notes"], json!(both));
}

#[test]
fn c23_what_a_kill_left_is_named_by_its_run_although_another_one_came_between() {
    let skein = repository();
    let running = changing_and_waiting(&skein);
    let run = skein.only_run();
    kill(running);
    // The first may find processes that are just ending, and leave the worktree to the second.
    for _ in 0..2 {
        skein.run_json(&skein.workflow("other.js", "return 1"), &[]).completed();
    }
    assert_eq!(skein.run(["resume", &run, "--json"]).completed()["result"], "ok");
    let both = [note(&skein, &run, "1-1"), note(&skein, &run, "1-2")];
    assert_eq!(agent(&skein, &run, 1)["notes"], json!(both));
}

#[test]
fn c23_remove_names_the_worktrees_it_leaves() {
    let skein = repository();
    let body = format!(
        "return await parallel([() => {}, () => {}, () => {}])",
        isolated("echo two > file.txt"),
        isolated("true"),
        isolated("echo three > file.txt")
    );
    let view = skein.run_json(&skein.workflow("w.js", &body), &[]).completed();
    let run = view["run"].as_str().expect("an id");
    let (first, third) = (note(&skein, run, "1-1"), note(&skein, run, "3-1"));
    let kept = worktrees(&skein);
    git(&skein, &["worktree", "remove", "--force", kept[1].to_str().expect("a path")]);
    let gone = if kept[1].ends_with(format!("{run}-1-1")) { &first } else { &third };
    let removed = skein.run(["remove", run, "--json"]);
    assert_eq!((removed.code, removed.json()), (Some(0), json!({ "removed": run })));
    for note in [&first, &third] {
        assert_eq!(removed.stderr.contains(note), note != gone, "{}", removed.stderr);
    }
    assert_eq!(worktrees(&skein), kept[..1]);
    let of_run = |entry: &std::fs::DirEntry| entry.path().extension().is_some();
    let records = std::fs::read_dir(skein.store().join("runs/worktrees")).expect("a folder").flatten();
    assert_eq!(records.filter(of_run).count(), 0);
}

/// A run that was killed and never taken up again: agent 1 has changed something, agent 2 has not.
#[test]
fn c23_remove_settles_what_a_kill_left() {
    let skein = repository();
    let wait = "touch $HOME/up-$SKEIN_AGENT; sleep 86464.25";
    let body = format!(
        "return await parallel([() => {}, () => {}])",
        isolated(&format!("echo > new; {wait}")),
        isolated(wait)
    );
    let script = skein.workflow("w.js", &body);
    let running = skein.spawn(["run", script.to_str().expect("a path"), "--yes"]);
    let is_up = |agent: u32| skein.dir().join(format!("home/up-{agent}")).exists();
    eventually("both agents run", || (is_up(1) && is_up(2)).then_some(()));
    kill(running);
    let run = skein.only_run();
    let removed = skein.run(["remove", &run]);
    assert_eq!(removed.code, Some(0), "{}", removed.stderr);
    assert_eq!(worktrees(&skein).len(), 1);
    let note = note(&skein, &run, "1-1");
    assert!(removed.stderr.contains(&note), "{}", removed.stderr);
    assert_eq!(git(&skein, &["branch", "--list", "skein/*"]).lines().count(), 1);
}
