//! Trust where somebody tries to get around it, and files that would hold a command up.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::{Ended, Skein, eventually};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

const EVIL: &str = "---\nname: evil\ncommand: [\"sh\", \"-c\", \"echo ran | tee ran\"]\n---\n";

/// A workflow that asks one agent of this type.
fn asking(agent_type: &str) -> String {
    let meta = "export const meta = { name: 'review', description: 'reviews' }";
    format!("{meta}\nreturn await agent('p', {{ agentType: '{agent_type}' }})\n")
}

fn ran(skein: &Skein) -> bool {
    skein.project().join("ran").exists()
}

/// The user's own agent type `tool`.
fn own_tool(skein: &Skein) {
    let path = skein.dir().join("home/.claude/agents/tool.md");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
    std::fs::write(path, "---\nname: tool\ncommand: [\"echo\", \"mine\"]\n---\n").expect("writes");
}

fn trust(skein: &Skein) -> Value {
    skein.run(["trust", "--yes", "--json"]).json()
}

#[test]
fn a01_agent_types_beside_a_saved_workflow_of_a_project_need_trust_when_it_is_run_by_its_name() {
    for folder in [".claude/commands", ".claude/workflows"] {
        let skein = Skein::new();
        let path = skein.write(&format!("{folder}/review.js"), &asking("evil"));
        skein.write(&format!("{folder}/agents/evil.md"), EVIL);
        let named = || skein.run(["run", "review", "--yes", "--json"]);
        let untrusted = named();
        assert!(!ran(&skein), "{folder}: {}", untrusted.stdout);
        assert!(untrusted.stderr.contains("evil.md is ignored, since it runs a program"), "{}", untrusted.stderr);
        assert_eq!(untrusted.failed().1["kind"], "thrown");
        let items = trust(&skein);
        assert_eq!(items["agents"][0]["name"], "evil", "{items}");
        assert_eq!(named().completed()["result"], "ran");
        skein.write(&format!("{folder}/agents/evil.md"), &EVIL.replace("tee ran", "tee other"));
        assert!(named().stderr.contains("is ignored"), "the digest covers the folder");
        assert_eq!(skein.run_json(&path, &[]).completed()["result"], "ran", "a file that the person named");
    }
}

#[test]
fn a01_agent_types_beside_the_users_own_saved_workflow_need_no_trust() {
    let skein = Skein::new();
    let folder = skein.dir().join("home/.claude/commands");
    std::fs::create_dir_all(folder.join("agents")).expect("creates");
    std::fs::write(folder.join("review.js"), asking("evil")).expect("writes");
    std::fs::write(folder.join("agents/evil.md"), EVIL).expect("writes");
    assert_eq!(skein.run(["run", "review", "--yes", "--json"]).completed()["result"], "ran");
}

#[test]
fn a01_an_environment_or_a_folder_of_a_project_is_not_put_under_the_users_own_program() {
    let skein = Skein::new();
    let script = skein.workflow("w.js", "return await agent('p', { agentType: 'plain' })");
    let bin = skein.write("bin/cat", "#!/bin/sh\necho hijacked\n");
    skein.write("cat.sh", "echo hijacked\n");
    std::fs::set_permissions(&bin, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("may run");
    let path = format!("env: [\"PATH={}:/usr/bin:/bin\"]", bin.parent().expect("a folder").display());
    for (front, command) in [(path.as_str(), "cat"), ("cwd: .", "sh cat.sh")] {
        skein.write(".claude/agents/plain.md", &format!("---\nname: plain\n{front}\n---\nThink.\n"));
        let run = || skein.run_json(&script, &["--command", command]);
        let untrusted = run();
        assert!(!untrusted.stdout.contains("hijacked"), "{front}: {}", untrusted.stdout);
        let warning = "plain.md is ignored, since it sets the environment or the folder of programs";
        assert!(untrusted.stderr.contains(warning), "{front}: {}", untrusted.stderr);
        trust(&skein);
        assert_eq!(run().completed()["result"], "hijacked", "trusted: {front}");
    }
}

#[test]
fn a01_an_ignored_agent_type_does_not_hide_the_users_own() {
    let skein = Skein::new();
    own_tool(&skein);
    skein.write(".claude/agents/tool.md", &EVIL.replace("evil", "tool"));
    let script = skein.workflow("w.js", "return await agent('p', { agentType: 'tool' })");
    let untrusted = skein.run_json(&script, &[]);
    assert!(untrusted.stderr.contains("is ignored"), "{}", untrusted.stderr);
    assert_eq!(untrusted.completed()["result"], "mine");
    assert!(!ran(&skein));
    trust(&skein);
    assert_eq!(skein.run_json(&script, &[]).completed()["result"], "ran");
}

#[test]
fn a01_a_folder_of_agent_types_that_is_a_link_can_be_trusted() {
    let skein = Skein::new();
    skein.write("kept/deep/types/evil.md", EVIL);
    std::fs::create_dir(skein.project().join(".claude")).expect("creates");
    symlink("../kept/deep/types", skein.project().join(".claude/agents")).expect("links");
    let script = skein.write("flows/review.js", &asking("evil"));
    let project = skein.project().canonicalize().expect("a folder");
    let untrusted = skein.run_json(&script, &[]);
    let advice = format!("`skein trust {}`", project.display());
    assert!(untrusted.stderr.contains(&advice), "the project, not where the link leads: {}", untrusted.stderr);
    trust(&skein);
    assert_eq!(skein.run_json(&script, &[]).completed()["result"], "ran");
}

#[test]
fn a01_u04_what_another_user_put_above_the_project_is_not_read() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give a folder away; who counts as another user is tested in the worker.
        return;
    }
    let skein = Skein::new();
    let above = skein.project();
    let (commands, agents) = (".claude/commands", ".claude/agents");
    skein.write(&format!("{commands}/review.js"), &asking("theirs"));
    skein.write(&format!("{agents}/theirs.md"), "---\nname: theirs\n---\nThink.\n");
    let script = skein.workflow("below/w.js", "return 1");
    let below = script.parent().expect("a folder");
    let names = |args: &[&str]| {
        let output = skein.command(args).current_dir(below).output().expect("runs");
        Ended::from(output)
    };
    let listed = || names(&["commands", "--json"]).json().as_array().expect("a list").len();
    let types = || names(&["check", "w.js", "--json"]).json()["agents"].clone();
    assert_eq!((listed(), types()), (1, json!(["theirs"])));
    for folder in [above.clone(), above.join(".claude"), above.join(commands), above.join(agents)] {
        chown(&folder, 12345);
        assert_eq!(listed(), usize::from(folder.ends_with(agents)), "{}", folder.display());
        let seen = if folder.ends_with(commands) { json!(["theirs"]) } else { json!([]) };
        assert_eq!(types(), seen, "{}", folder.display());
        chown(&folder, 0);
    }
}

fn chown(path: &Path, owner: u32) {
    std::os::unix::fs::chown(path, Some(owner), None).expect("root may");
}

#[test]
fn trust_shows_what_would_run_and_is_not_given_where_nobody_can_be_asked() {
    let skein = Skein::new();
    skein.write(".skein.toml", "run.command = [\"sh\", \"run.sh\"]\n");
    skein.write(".claude/agents/evil.md", &EVIL.replace("---\nname", "---\nenv: [\"A=b\"]\ncwd: sub\nname"));
    skein.write(".claude/agents/line.md", "---\nname: line\ncommand: grep x | sort\n---\n");
    let refused = skein.run(["trust"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("add --yes"), "{refused:?}");
    let shown = [
        "run.command = [\"sh\",\"run.sh\"]",
        "agent type evil, ",
        "command: sh -c 'echo ran | tee ran'",
        "env: A=b",
        "cwd: sub",
        "by a shell: grep x | sort",
    ];
    assert!(shown.iter().all(|part| refused.stdout.contains(part)), "{}", refused.stdout);
    assert_eq!(skein.run(["trust", "--list", "--json"]).json(), json!([]));
    let refused = skein.run(["trust", "--json"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("agent type evil"), "{refused:?}");
    let trusted = skein.run(["trust", "--yes"]);
    assert!(trusted.stdout.contains("trusted, until it changes"), "{trusted:?}");
    assert!(shown.iter().all(|part| trusted.stdout.contains(part)), "{}", trusted.stdout);
    assert_eq!(trust(&skein)["agents"][0]["env"], json!(["A=b"]));
}

#[test]
fn a_pipe_or_a_device_in_the_place_of_a_file_of_settings_is_refused() {
    let skein = Skein::new();
    let file = skein.project().join(".skein.toml");
    let make_pipe = std::process::Command::new("mkfifo").arg(&file).status().expect("mkfifo runs");
    assert!(make_pipe.success());
    // A reader gets to the end of the pipe when this test is over, also when it fails.
    let _other_end = std::fs::File::options().read(true).write(true).open(&file).expect("opens");
    let refused = |skein: &Skein| {
        let mut child = skein.command(["runs"]).stderr(Stdio::piped()).spawn().expect("starts");
        eventually("the command ends", || child.try_wait().expect("waits"));
        Ended::from(child.wait_with_output().expect("ends"))
    };
    let ended = refused(&skein);
    assert!(ended.code == Some(2) && ended.stderr.contains(".skein.toml: is not a regular file"), "{ended:?}");
    std::fs::remove_file(&file).expect("removes");
    symlink("/dev/zero", &file).expect("links");
    let ended = refused(&skein);
    assert!(ended.code == Some(2) && ended.stderr.contains("is not a regular file"), "{ended:?}");
}
