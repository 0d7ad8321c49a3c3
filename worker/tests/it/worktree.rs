//! Attempts in a worktree of their own, with the real git (C23).

use crate::bench::{Bench, failure, text};
use crate::support::{attempt, eventually, shell};
use skein_common::agent::Isolation;
use skein_common::wire::{AttemptEnd, AttemptReport, Cancel, Task};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs git and gives what it printed.
fn git(dir: &Path, args: &[&str]) -> String {
    let named = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"];
    let output = Command::new("git").args(named).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// With an identity for agents that commit.
const COMMIT: &str = "git -c user.name=agent -c user.email=agent@example.org commit -q";

/// A bench whose project is a repository with one commit.
async fn repository() -> Bench {
    let bench = Bench::new().await;
    let project = project(&bench);
    std::fs::create_dir_all(project.join("sub")).unwrap();
    std::fs::write(project.join("file.txt"), "one\n").unwrap();
    std::fs::write(project.join("sub/more.txt"), "more\n").unwrap();
    std::fs::write(project.join(".gitignore"), "*.log\n").unwrap();
    git(&project, &["init", "-q", "-b", "main"]);
    git(&project, &["add", "."]);
    git(&project, &["commit", "-q", "-m", "first"]);
    bench
}

fn project(bench: &Bench) -> PathBuf {
    bench.path().join("project")
}

fn isolated(bench: &Bench, agent: u32, line: &str) -> Task {
    Task { isolation: Some(Isolation::Worktree), ..shell(&bench.run, agent, &project(bench), line) }
}

async fn report(bench: &Bench, agent: u32, line: &str) -> AttemptReport {
    bench.report(&isolated(bench, agent, line)).await
}

/// Worktrees beside the project's own, branches beside `main`, and records that are not of kept worktrees.
fn left(bench: &Bench) -> (usize, usize, usize) {
    let worktrees = git(&project(bench), &["worktree", "list"]).lines().count() - 1;
    let branches = git(&project(bench), &["branch", "--list"]).lines().count() - 1;
    let entries = std::fs::read_dir(bench.path().join("attempts/worktrees")).into_iter().flatten().flatten();
    let is_open = |path: &PathBuf| path.extension().is_some() && note_in(path).is_none();
    (worktrees, branches, entries.map(|entry| entry.path()).filter(is_open).count())
}

/// What the record of a kept worktree says.
fn note_in(record: &Path) -> Option<String> {
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(record).ok()?).ok()?;
    Some(record["kept"].as_str()?.to_owned())
}

#[actix_rt::test]
async fn c23_an_unchanged_worktree_is_removed_with_its_branch() {
    let bench = repository().await;
    std::fs::write(project(&bench).join("file.txt"), "not committed\n").unwrap();
    let report = report(&bench, 1, "pwd; git branch --show-current; cat file.txt; echo x > ignored.log").await;
    let lines: Vec<&str> = text(&report).lines().collect();
    let name = format!("{}-1-1", bench.run);
    assert_eq!(lines[0], bench.path().join("attempts/worktrees").join(&name).to_str().unwrap());
    assert_eq!(lines[1..], [format!("skein/{}/1-1", bench.run).as_str(), "one"]);
    assert_eq!((report.notes.len(), left(&bench)), (0, (0, 0, 0)));
    assert!(!Path::new(lines[0]).exists());
    assert!(std::fs::read_to_string(project(&bench).join("file.txt")).unwrap().contains("not committed"));
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn c23_a_changed_worktree_is_kept_and_named() {
    let bench = repository().await;
    let cases = [
        "echo two > file.txt".to_owned(),
        "rm file.txt; exit 3".to_owned(),
        "echo new > new.txt".to_owned(),
        format!("echo new > new.txt; git add new.txt; {COMMIT} -m second"),
    ];
    for (agent, line) in (1..).zip(&cases) {
        let report = report(&bench, agent, line).await;
        let path = bench.path().join(format!("attempts/worktrees/{}-{agent}-1", bench.run));
        let expected = format!("worktree kept: {} (branch skein/{}/{agent}-1)", path.display(), bench.run);
        assert_eq!(report.notes, [expected], "{line}");
        assert!(path.join(".git").exists(), "{line}");
    }
    assert_eq!(left(&bench), (4, 4, 0));
    bench.worker.stop().await;
}

/// The worktree and its own branch are as they were; what was committed is elsewhere, or in the worktree's log only.
#[actix_rt::test]
async fn c23_what_is_committed_elsewhere_is_a_change() {
    let bench = repository().await;
    let cases = [
        (format!("git switch -q -c other; {COMMIT} --allow-empty -m elsewhere; git switch -q -"), ""),
        (format!("git switch -q --detach; {COMMIT} --allow-empty -m nowhere; git switch -q -"), ""),
        (
            format!("git switch -q -c more; {COMMIT} --allow-empty -m elsewhere; git switch -q --detach main"),
            ", not checked out",
        ),
    ];
    for (agent, (line, more)) in (1..).zip(&cases) {
        let report = report(&bench, agent, line).await;
        let path = bench.path().join(format!("attempts/worktrees/{}-{agent}-1", bench.run));
        let expected = format!("worktree kept: {} (branch skein/{}/{agent}-1{more})", path.display(), bench.run);
        assert_eq!(report.notes, [expected], "{line}");
        assert!(git(&path, &["reflog"]).contains("where"), "{line}");
    }
    assert_eq!(text(&self::report(&bench, 4, "git switch -q -c same; git switch -q -; echo ok").await), "ok");
    assert_eq!(left(&bench), (3, 6, 0), "three are kept, and the branches `other`, `more` and `same`");
    bench.worker.stop().await;
}

/// A user may have switched the logs of git off.
#[actix_rt::test]
async fn c23_a_commit_elsewhere_is_found_where_git_keeps_no_logs() {
    let bench = repository().await;
    git(&project(&bench), &["config", "core.logAllRefUpdates", "false"]);
    let line = format!("git switch -q --detach; {COMMIT} --allow-empty -m nowhere; git switch -q -");
    assert_eq!(report(&bench, 1, &line).await.notes.len(), 1);
    assert_eq!(report(&bench, 2, "true").await.notes, Vec::<String>::new());
    assert_eq!(left(&bench), (1, 1, 0));
    bench.worker.stop().await;
}

/// The owner may never have heard of it: who was killed between a report and the journal.
#[actix_rt::test]
async fn c23_a_later_attempt_tells_again_what_was_kept_of_earlier_ones() {
    let bench = repository().await;
    let first = report(&bench, 1, "echo two > file.txt").await;
    assert_eq!(report(&bench, 2, "echo two > file.txt").await.notes.len(), 1, "of another agent");
    let mut task = isolated(&bench, 1, "cat file.txt");
    task.attempt.attempt = 2;
    assert_eq!(bench.report(&task).await.notes, first.notes);
    task.attempt.attempt = 3;
    git(&project(&bench), &["update-ref", "-d", "HEAD"]);
    let report = bench.report(&task).await;
    assert_eq!(failure(&report).1, "no_commit");
    assert_eq!(report.notes, first.notes, "although it got no worktree");
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn c23_what_a_stopped_worker_keeps_is_told_by_the_next() {
    let bench = repository().await;
    let line = "echo two > file.txt; echo up > ../../up; sleep 86452.25";
    let mut task = isolated(&bench, 1, line);
    bench.world.dispatch(&task);
    eventually("it runs", || bench.path().join("attempts/up").exists().then_some(())).await;
    bench.worker.clone().stop().await;
    let path = bench.path().join(format!("attempts/worktrees/{}-1-1", bench.run));
    let note = note_in(&path.with_extension("json")).expect("is recorded as kept");
    assert_eq!(bench.world.report(&task.attempt).await.notes, [note.as_str()], "who hears it may record it");
    let next = skein_worker::start(crate::support::config(&bench.world, &bench.path().join("attempts"))).await.unwrap();
    task = isolated(&bench, 1, "true");
    task.attempt.attempt = 2;
    assert_eq!(bench.report(&task).await.notes, [note]);
    next.stop().await;
}

#[actix_rt::test]
async fn c23_the_folder_in_the_worktree_is_the_one_in_the_project() {
    let bench = repository().await;
    let in_folder = |agent, name: &str| {
        let mut task = isolated(&bench, agent, "pwd; cat more.txt");
        task.project_dir = project(&bench).join(name).to_str().unwrap().to_owned();
        task
    };
    let report = bench.report(&in_folder(1, "sub")).await;
    assert!(text(&report).ends_with("-1-1/sub\nmore"), "{}", text(&report));
    std::fs::create_dir(project(&bench).join("new")).unwrap();
    let report = bench.report(&in_folder(2, "new")).await;
    assert_eq!(failure(&report).1, "no_directory");
    assert_eq!(left(&bench), (0, 0, 0));
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn c23_without_a_repository_or_a_commit_the_attempt_fails() {
    let bench = Bench::new().await;
    std::fs::create_dir(project(&bench)).unwrap();
    let (_, detail, message, retryable) = failure_of(report(&bench, 1, "touch ran").await);
    assert_eq!((detail.as_str(), retryable), ("no_repository", false));
    assert!(message.contains("isolation 'worktree'") && message.contains("not a git repository"), "{message}");
    git(&project(&bench), &["init", "-q"]);
    let (_, detail, message, _) = failure_of(report(&bench, 2, "touch ran").await);
    assert_eq!(detail, "no_commit", "{message}");
    assert!(!project(&bench).join("ran").exists());
    bench.worker.stop().await;
}

fn failure_of(report: AttemptReport) -> (skein_common::agent::Cause, String, String, bool) {
    let (cause, detail, message, retryable) = failure(&report);
    (cause, detail.to_owned(), message.to_owned(), retryable)
}

#[actix_rt::test]
async fn c23_a_program_that_is_not_there_leaves_no_worktree() {
    let bench = repository().await;
    let mut task = isolated(&bench, 1, "");
    task.command = Some(vec!["no-such-program-anywhere".into()]);
    assert_eq!(failure(&bench.report(&task).await).1, "not_found");
    assert_eq!(left(&bench), (0, 0, 0));
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn c23_sixteen_at_once_in_one_repository() {
    let bench = repository().await;
    for agent in 1..=16 {
        let line = "echo up >> started; echo $SKEIN_AGENT > file.txt; cat file.txt; git status --porcelain | wc -l";
        let line = if agent % 2 == 0 { "cat file.txt" } else { line };
        bench.world.dispatch(&isolated(&bench, agent, line));
    }
    for agent in 1..=16 {
        let report = bench.world.report(&attempt(&bench.run, agent)).await;
        let expected = if agent % 2 == 0 { "one".to_owned() } else { format!("{agent}\n2") };
        assert_eq!((text(&report), report.notes.len()), (expected.as_str(), (agent % 2) as usize));
    }
    assert_eq!(left(&bench), (8, 8, 0));
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn c23_an_attempt_that_is_stopped_leaves_no_worktree() {
    let bench = repository().await;
    let task = isolated(&bench, 1, "echo up > ../../up; sleep 86451.25");
    bench.world.dispatch(&task);
    eventually("it runs", || bench.path().join("attempts/up").exists().then_some(())).await;
    bench.world.cancel(&Cancel { run: bench.run.clone(), epoch: 1, attempt: None });
    assert_eq!(bench.world.report(&task.attempt).await.end, AttemptEnd::Cancelled);
    assert_eq!(left(&bench), (0, 0, 0));
    bench.worker.stop().await;
}

/// No hook of the repository runs for our worktrees: what it starts would be nobody's.
#[actix_rt::test]
async fn c23_hooks_of_the_repository_do_not_run() {
    let bench = repository().await;
    let hook = project(&bench).join(".git/hooks/post-checkout");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\ntouch hooked\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(text(&report(&bench, 1, "ls").await), "file.txt\nsub");
    assert_eq!(left(&bench), (0, 0, 0));
    bench.worker.stop().await;
}

/// A worktree as a killed worker leaves it, with a change in it.
fn leave_behind(bench: &Bench, agent: u32, ready: bool) -> PathBuf {
    let dir = bench.path().join("attempts/worktrees");
    std::fs::create_dir_all(&dir).unwrap();
    let (path, branch) = (dir.join(format!("{}-{agent}-1", bench.run)), format!("skein/{}/{agent}-1", bench.run));
    let base = git(&project(bench), &["rev-parse", "HEAD"]);
    let add = ["worktree", "add", "-q", "--lock", "-b", &branch, path.to_str().unwrap()];
    git(&project(bench), &if ready { [&add[..3], &add[4..]].concat() } else { add.to_vec() });
    std::fs::write(path.join("file.txt"), "changed\n").unwrap();
    let record = serde_json::json!({
        "attempt": attempt(&bench.run, agent),
        "repository": project(bench),
        "path": path,
        "branch": branch,
        "base": base,
        "ready": ready,
    });
    std::fs::write(path.with_extension("json"), record.to_string()).unwrap();
    path
}

#[actix_rt::test]
async fn c23_the_next_worker_settles_what_a_killed_one_left() {
    let bench = repository().await;
    let (kept, unfinished) = (leave_behind(&bench, 1, true), leave_behind(&bench, 2, false));
    let unknown_to_git = leave_behind(&bench, 3, false);
    git(&project(&bench), &["worktree", "remove", "--force", "--force", unknown_to_git.to_str().unwrap()]);
    std::fs::create_dir(&unknown_to_git).unwrap();
    bench.worker.clone().stop().await;
    let attempts_dir = bench.path().join("attempts");
    let next = skein_worker::start(crate::support::config(&bench.world, &attempts_dir)).await.unwrap();
    assert!(kept.join("file.txt").exists(), "it was changed");
    assert!(!unfinished.exists(), "no program ever worked in it");
    assert!(!unknown_to_git.exists());
    assert_eq!(left(&bench), (1, 1, 0));
    let note = note_in(&kept.with_extension("json"));
    assert!(note.is_some_and(|note| note.contains(&kept.display().to_string())), "it waits for the run");
    assert_eq!(git(&project(&bench), &["branch", "--list", "skein/*"]).lines().count(), 1);
    next.stop().await;
}

#[actix_rt::test]
async fn c23_what_is_left_of_a_living_workers_run_is_not_touched() {
    let bench = repository().await;
    let task = isolated(&bench, 1, "echo up > ../../up; until test -e ../../go; do sleep 0.01; done");
    bench.world.dispatch(&task);
    eventually("it runs", || bench.path().join("attempts/up").exists().then_some(())).await;
    let attempts_dir = bench.path().join("attempts");
    let next = skein_worker::start(crate::support::config(&bench.world, &attempts_dir)).await.unwrap();
    assert_eq!(left(&bench), (1, 1, 1));
    std::fs::write(attempts_dir.join("go"), "").unwrap();
    assert_eq!(bench.world.report(&task.attempt).await.notes, Vec::<String>::new());
    assert_eq!(left(&bench), (0, 0, 0));
    next.stop().await;
    bench.worker.stop().await;
}
