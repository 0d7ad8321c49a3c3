//! Saved workflows (U4): save, list, show, remove, and run by name.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::Skein;
use std::path::{Path, PathBuf};

const SIMULATED: [&str; 4] = ["--yes", "--json", "--runner", "simulated"];

fn text(name: &str, body: &str) -> String {
    format!("\u{feff}export const meta = {{ name: '{name}', description: 'about {name}' }}\r\n{body}\r\n")
}

/// Runs this text and gives the id of the run.
fn run_of(skein: &Skein, text: &str) -> String {
    let file = skein.write("w.js", text);
    let view = skein.run_json(&file, &SIMULATED[2..]).completed();
    std::fs::remove_file(file).expect("removes");
    view["run"].as_str().expect("an id").to_owned()
}

fn run_named(skein: &Skein, args: &[&str]) -> Value {
    let args: Vec<&str> = ["run"].iter().chain(args).chain(&SIMULATED).copied().collect();
    skein.run(args).completed()
}

fn saved_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".claude/commands/{name}.js"))
}

#[test]
fn u04_a_run_is_saved_byte_for_byte_and_runs_by_its_name() {
    let skein = Skein::new();
    let text = text("echo-args", "await agent('x'); return args");
    let run = run_of(&skein, &text);
    let saved = skein.run(["save", &run, "--json"]).json();
    let path = saved_path(&skein.project(), "echo-args");
    assert_eq!(saved, json!({ "name": "echo-args", "where": "project", "path": path, "replaced": false }));
    assert_eq!(std::fs::read(&path).expect("reads"), text.as_bytes());
    assert_eq!(run_named(&skein, &["echo-args", "plain", "words"])["result"], "plain words");
    let view = run_named(&skein, &["echo-args", "{\"n\":1}"]);
    assert_eq!((&view["result"], &view["workflow"]), (&json!({ "n": 1 }), &json!("echo-args")));
    assert_eq!(run_named(&skein, &["echo-args"])["result"], Value::Null);
    let run = view["run"].as_str().expect("an id");
    assert_eq!(skein.run(["script", run]).stdout, text);
    std::fs::remove_file(&path).expect("removes");
    let again = skein.run(["resume", run, "--json"]).completed();
    assert_eq!((&again["result"], &again["agents"]["reused"]), (&json!({ "n": 1 }), &json!(1)));
}

#[test]
fn u04_another_text_is_not_overwritten_and_names_are_checked() {
    let skein = Skein::new();
    let first = run_of(&skein, &text("mine", "return 1"));
    let second = run_of(&skein, &text("mine", "return 2"));
    assert_eq!(skein.run(["save", &first]).code, Some(0));
    let again = skein.run(["save", &first]);
    assert!(again.code == Some(0) && again.stdout.starts_with("already saved"), "{again:?}");
    let refused = skein.run(["save", &second]);
    assert!(refused.code == Some(2) && refused.stderr.contains("--force"), "{refused:?}");
    assert_eq!(run_named(&skein, &["mine"])["result"], 1);
    assert_eq!(skein.run(["save", &second, "--force", "--json"]).json()["replaced"], true);
    assert_eq!(run_named(&skein, &["mine"])["result"], 2);
    for name in ["../up", "Big", "a.js"] {
        let refused = skein.run(["save", &second, "--name", name]);
        assert!(refused.code == Some(2) && refused.stderr.contains("no name of a workflow"), "{refused:?}");
    }
    assert_eq!(skein.run(["save", "wf_00000000000000000000000000"]).code, Some(2));
}

#[test]
fn u04_the_project_beats_the_user_and_the_list_says_where_each_is() {
    let skein = Skein::new();
    let run = run_of(&skein, &text("both", "return 'user'"));
    assert_eq!(skein.run(["save", &run, "--user", "--json"]).json()["where"], "user");
    assert_eq!(skein.run(["save", &run, "--user", "--name", "only-user"]).code, Some(0));
    skein.write(".claude/workflows/both.js", &text("both", "return 'project'"));
    skein.write(".claude/workflows/broken.js", "return 1");
    let listed = skein.run(["commands", "--json"]).json();
    let short = |one: &Value| json!([one["name"], one["where"], one["description"], one["error"].is_null()]);
    let short: Vec<Value> = listed.as_array().expect("a list").iter().map(short).collect();
    let expected = json!([
        ["both", "project", "about both", true],
        ["broken", "project", null, false],
        ["only-user", "user", "about both", true]
    ]);
    assert_eq!(Value::Array(short), expected);
    let lines = skein.run(["commands"]);
    assert!(lines.stdout.contains("only-user  user     about both"), "{}", lines.stdout);
    assert!(lines.stderr.contains("is hidden by another `both`"), "{}", lines.stderr);
    assert_eq!(run_named(&skein, &["both"])["result"], "project");
    assert_eq!(skein.run(["commands", "show", "both"]).stdout, text("both", "return 'project'"));
    assert_eq!(skein.run(["commands", "show", "both", "--user"]).stdout, text("both", "return 'user'"));
    let removed = skein.run(["commands", "remove", "both"]);
    assert!(removed.stderr.contains("`both` now means"), "{removed:?}");
    assert_eq!(run_named(&skein, &["both"])["result"], "user");
    assert_eq!(skein.run(["commands", "remove", "both", "--user", "--json"]).json()["name"], "both");
    let gone = skein.run(["commands", "show", "both"]);
    assert!(gone.code == Some(2) && gone.stderr.contains("saved are: broken, only-user"), "{gone:?}");
}

#[test]
fn u04_a_file_goes_before_a_name_and_an_unknown_name_lists_the_known() {
    let skein = Skein::new();
    skein.write(".claude/commands/pick.js", &text("pick", "return 'saved'"));
    std::fs::create_dir(skein.project().join("pick")).expect("creates");
    assert_eq!(run_named(&skein, &["pick"])["result"], "saved", "a folder is no file");
    std::fs::remove_dir(skein.project().join("pick")).expect("removes");
    skein.write("pick", &text("pick", "return 'file'"));
    assert_eq!(run_named(&skein, &["pick"])["result"], "file");
    let unknown = skein.run(["run", "nope", "--yes"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("no saved workflow `nope`; saved are: pick"), "{}", unknown.stderr);
    let empty = Skein::new().run(["run", "nope", "--yes"]);
    assert!(empty.stderr.contains("none is saved here"), "{}", empty.stderr);
}

#[test]
fn u04_nothing_is_read_or_written_through_a_link() {
    let skein = Skein::new();
    let run = run_of(&skein, &text("linked", "return 1"));
    let elsewhere = skein.dir().join("elsewhere");
    std::fs::create_dir_all(elsewhere.join("commands")).expect("creates");
    std::fs::write(elsewhere.join("commands/evil.js"), text("evil", "return 1")).expect("writes");
    std::os::unix::fs::symlink(&elsewhere, skein.project().join(".claude")).expect("links");
    let refused = skein.run(["save", &run]);
    assert!(refused.code == Some(2) && refused.stderr.contains("is a link"), "{refused:?}");
    assert_eq!(std::fs::read_dir(elsewhere.join("commands")).expect("reads").count(), 1);
    let listed = skein.run(["commands"]);
    assert!(listed.stdout.is_empty() && listed.stderr.contains("is a link"), "{listed:?}");
    assert_eq!(skein.run(["run", "evil", "--yes"]).code, Some(2));
}

#[test]
fn r02a_definitions_and_saved_workflows_are_4_mib_at_most() {
    let skein = Skein::new();
    for index in 0..9 {
        let filler = format!("// {}\n", "x".repeat(500_000));
        skein.write(&format!(".claude/commands/big-{index}.js"), &text("big", &filler));
    }
    let file = skein.workflow("w.js", "return 1");
    let refused = skein.run_json(&file, &[]);
    assert!(refused.code == Some(2) && refused.stderr.contains("the limit for both is 4 MiB"), "{refused:?}");
}

#[test]
fn u04_a_text_that_ends_its_script_host_is_listed_with_its_error_beside_the_others() {
    let skein = Skein::new();
    skein.write(".claude/commands/deep.js", &text("deep", &format!("return {}1", "!".repeat(400_000))));
    skein.write(".claude/commands/good.js", &text("good", "return 1"));
    let listed = skein.run(["commands", "--json"]).json();
    assert!(listed[0]["error"].as_str().is_some_and(|error| error.contains("overflowed")), "{listed}");
    assert_eq!((&listed[1]["name"], &listed[1]["error"]), (&json!("good"), &Value::Null));
}
