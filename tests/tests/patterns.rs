//! The examples of patterns, each on files whose right answer is known.

use serde_json::{Value, json};
use skein_tests::{Skein, project_dir};
use std::path::PathBuf;

fn example(name: &str) -> PathBuf {
    project_dir().join("examples").join(name).join(format!("{name}.js"))
}

/// The completed run of an example on files of the project.
fn run(skein: &Skein, name: &str, args: &Value) -> Value {
    let view = skein.run_json(&example(name), &["--args", &args.to_string()]).completed();
    assert_eq!(view["warnings"], json!([]), "{name}");
    view
}

#[test]
fn fan_out_counts_every_file_and_names_what_it_could_not_read() {
    let skein = Skein::new();
    skein.write("src/a.txt", "TODO one\nfine\nTODO two\n");
    skein.write("src/deep/b c.txt", "nothing\n");
    skein.write("src/deep/d.txt", "a TODO\n");
    skein.write("src/.hidden/e.txt", "TODO\n");
    let view = run(&skein, "fan-out", &json!({ "dir": "src" }));
    let files = json!([{ "file": "a.txt", "todos": 2 }, { "file": "deep/d.txt", "todos": 1 }]);
    assert_eq!(view["result"], json!({ "total": 3, "files": files, "unread": [] }));
    assert_eq!(view["agents"]["done"], 4);
}

#[test]
fn fan_out_says_that_it_cannot_list_a_folder_that_is_not_there() {
    let skein = Skein::new();
    let ended = skein.run_json(&example("fan-out"), &["--args", r#"{"dir":"nowhere"}"#]);
    let (_, error) = ended.failed();
    assert_eq!(error["message"], "Error: cannot list nowhere");
}

#[test]
fn pipeline_verify_confirms_what_is_real_and_rejects_what_only_looks_like_it() {
    let skein = Skein::new();
    let app = "name = shop\npassword = hunter2\n# password = old\ndb_password = ${DB_PASSWORD}\n";
    skein.write("app.conf", app);
    skein.write("db.conf", "port: 5432\nsecret: \"s3cr3t\"\nPASSWD:\n");
    skein.write("none.conf", "color = blue\n");
    let view = run(&skein, "pipeline-verify", &json!({ "files": ["app.conf", "gone.conf", "db.conf", "none.conf"] }));
    let expected = json!({
        "confirmed": ["app.conf:2", "db.conf:2"],
        "rejected": ["app.conf:3", "app.conf:4", "db.conf:3"],
        "unverified": [],
        "unread": ["gone.conf"],
    });
    assert_eq!(view["result"], expected);
    assert_eq!((&view["agents"]["done"], &view["agents"]["failed"]), (&json!(8), &json!(1)));
    let phases: Vec<&Value> = view["phases"].as_array().expect("phases").iter().map(|phase| &phase["agents"]).collect();
    assert_eq!(phases, [4, 5]);
}

#[test]
fn loop_until_dry_ends_after_two_rounds_without_anything_new() {
    let skein = Skein::new();
    skein.write("docs/index.md", "See [a](a.md) and [gone](gone.md).\n");
    skein.write("docs/a.md", "Details are in `b.md`, and [back](index.md).\n");
    skein.write("docs/b.md", "[c](c.md) [a](a.md)\n");
    skein.write("docs/c.md", "The end.\n");
    skein.write("docs/orphan.md", "[a](a.md)\n");
    let view = run(&skein, "loop-until-dry", &json!({ "dir": "docs", "start": "index.md" }));
    let pages = ["a.md", "b.md", "c.md", "index.md"];
    assert_eq!(view["result"], json!({ "pages": pages, "rounds": [1, 1, 1, 0, 0], "complete": true }));
    assert_eq!(view["agents"]["done"], 10);
}

#[test]
fn schema_review_sums_valid_answers_and_names_invalid_ones() {
    let skein = Skein::new();
    skein.write("one.csv", "id,customer,amount\n1,anna,10.50\n2,bert\n3,carl,4\n");
    skein.write("two.csv", "id,customer,amount\n4,dora,ten\n5,emil,1.25\n");
    skein.write("three.csv", "name;price\nx;1\n");
    let view = run(&skein, "schema-review", &json!({ "files": ["one.csv", "two.csv", "three.csv"] }));
    let expected = json!({
        "rows": 3,
        "sum": 15.75,
        "problems": ["one.csv:3: columns", "two.csv:2: amount"],
        "invalid": ["three.csv"],
    });
    assert_eq!(view["result"], expected);
    let failure = view["failures"][0].to_string();
    assert!(failure.contains("does not fit the schema"), "{failure}");
}

#[test]
fn tournament_ends_with_the_plainest_text() {
    let skein = Skein::new();
    let texts = [
        ("long.md", "Notwithstanding considerable organisational circumstances\n"),
        ("plain.md", "We ate a big red pie\n"),
        ("middle.md", "Several people wandered slowly homeward\n"),
        ("other.md", "Perhaps tomorrow brings sunshine\n"),
        ("late.md", "Morning arrives quietly\n"),
    ];
    for (name, text) in texts {
        skein.write(name, text);
    }
    let files = texts.map(|(name, _)| name);
    let view = run(&skein, "tournament", &json!({ "files": files }));
    let rounds = json!([["plain.md", "middle.md", "late.md"], ["plain.md", "late.md"], ["plain.md"]]);
    assert_eq!(view["result"], json!({ "winner": "plain.md", "rounds": rounds }));
    assert_eq!(view["agents"]["started"], 4);
}

#[test]
fn tournament_goes_on_by_lot_when_the_judge_is_silent() {
    let skein = Skein::new();
    skein.write("words.md", "Some words\n");
    skein.write("empty.md", "\n");
    let view = run(&skein, "tournament", &json!({ "files": ["words.md", "empty.md"] }));
    let winner = view["result"]["winner"].as_str().expect("a winner");
    assert!(["words.md", "empty.md"].contains(&winner), "{winner}");
    assert_eq!(view["degraded"], true);
}

#[test]
fn every_example_passes_the_check() {
    let skein = Skein::new();
    for name in ["fan-out", "pipeline-verify", "loop-until-dry", "schema-review", "tournament", "redis-bigkey"] {
        let ended = skein.run([PathBuf::from("check"), example(name)]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{name}");
    }
}
