//! Each example, run as a user runs it.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::fleet::{Fleet, generate};
use skein_tests::{Skein, project_dir};
use std::path::PathBuf;

fn example(name: &str) -> PathBuf {
    project_dir().join("examples").join(name).join(format!("{name}.js"))
}

fn nginx_502(skein: &Skein, fleet: &Fleet) -> Value {
    let args = json!({ "fleet": fleet.dir }).to_string();
    skein.run_json(&example("nginx-502"), &["--args", &args]).completed()["result"].clone()
}

/// Every host's record equals what the generator counted.
fn assert_scan_is_exact(found: &Value, answers: &Value) {
    let records = found["scan"].as_array().expect("records");
    let hosts = answers["hosts"].as_object().expect("hosts");
    assert_eq!(records.len(), hosts.len());
    for record in records {
        let host = record["host"].as_str().expect("a host");
        for key in ["count", "per_minute", "top_upstream", "top_count"] {
            assert_eq!(record[key], hosts[host][key], "{host} {key}");
        }
    }
}

/// The planted cause, or honestly unknown; never another service.
fn assert_right_or_unknown(found: &Value, answers: &Value, what: &str) -> bool {
    let planted = &answers["root_cause"];
    if found["kind"] == "unknown" {
        assert!(found["service"].is_null(), "{what}: unknown but a service is blamed");
        return false;
    }
    assert_eq!(found["kind"], planted["kind"], "{what}");
    assert_eq!(found["service"], planted["service"], "{what}");
    assert_eq!(found["addr"], planted["addr"], "{what}");
    true
}

#[test]
fn nginx_502_seed_1_is_exact_on_all_hosts_and_names_the_cause() {
    let skein = Skein::new();
    let fleet = generate(skein.dir(), 1, &[]);
    let found = nginx_502(&skein, &fleet);
    assert_scan_is_exact(&found, &fleet.answers);
    assert!(assert_right_or_unknown(&found, &fleet.answers, "seed 1"));
    assert_eq!(found["at"], "2026-11-20T02:47:23");
    assert_eq!(found["coverage"], json!({ "targeted": 100, "read": 100, "unread": [] }));
    for key in ["evidence", "plan"] {
        assert!(!found[key].as_array().expect("lines").is_empty(), "{key}");
    }
    let text = found.to_string();
    assert!(!text.contains("IGNORE ALL PREVIOUS"), "log text is data and stays where it is");
}

#[test]
fn nginx_502_seeds_2_to_8_are_right_or_unknown_and_blame_no_wrong_service() {
    let mut right = 0;
    for seed in 2..=8 {
        let skein = Skein::new();
        let fleet = generate(skein.dir(), seed, &["--lines", "2000"]);
        let found = nginx_502(&skein, &fleet);
        assert_scan_is_exact(&found, &fleet.answers);
        right += u32::from(assert_right_or_unknown(&found, &fleet.answers, &format!("seed {seed}")));
    }
    println!("right in {right} of 7 seeds, unknown in the others");
}

#[test]
fn nginx_502_finds_a_stopped_the_world_pause_wherever_it_is_planted() {
    for (seed, salt) in [(11, "a"), (12, "b"), (13, "c"), (14, "d")] {
        let skein = Skein::new();
        let more = ["--cause", "fullgc", "--salt", salt, "--hosts", "30", "--lines", "2000"];
        let fleet = generate(skein.dir(), seed, &more);
        let found = nginx_502(&skein, &fleet);
        assert!(
            assert_right_or_unknown(&found, &fleet.answers, salt),
            "seed {seed} salt {salt}: {}",
            found["evidence"]
        );
        let planted = fleet.answers["root_cause"]["at"].as_str().expect("a time");
        assert!(planted.starts_with(found["at"].as_str().expect("a time")), "{planted}");
    }
}

#[test]
fn nginx_502_names_hosts_it_could_not_read_and_is_less_sure() {
    let skein = Skein::new();
    let fleet = generate(skein.dir(), 1, &["--hosts", "20", "--lines", "1000"]);
    for host in ["nginx-003", "nginx-017"] {
        std::fs::remove_dir_all(fleet.dir.join("hosts").join(host)).expect("removes");
    }
    let found = nginx_502(&skein, &fleet);
    let unread: Vec<&str> = found["coverage"]["unread"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|host| host["host"].as_str())
        .collect();
    assert_eq!(unread, ["nginx-003", "nginx-017"]);
    assert_eq!((&found["coverage"]["targeted"], &found["coverage"]["read"]), (&json!(20), &json!(18)));
    assert_ne!(found["confidence"], "high");
}

#[test]
fn repo_headings_gives_the_tree_of_every_markdown_file() {
    let skein = Skein::new();
    skein.write("docs/a.md", "# One\n\n```\n# not a heading\n```\n\n## Two\ntext\n### Three\n## Four\n");
    skein.write("docs/deep/b.md", "Title\n=====\n\nno more\n");
    skein.write("docs/none.md", "just text\n");
    skein.write("docs/other.txt", "# not markdown\n");
    let args = json!({ "dir": skein.project().join("docs") }).to_string();
    let view = skein.run_json(&example("repo-headings"), &["--args", &args]).completed();
    let files = view["result"]["files"].as_array().expect("files");
    let paths: Vec<&str> = files.iter().filter_map(|file| file["path"].as_str()).collect();
    assert_eq!(paths, ["a.md", "deep/b.md", "none.md"]);
    let one = &files[0]["headings"][0];
    assert_eq!((&one["text"], &one["level"]), (&json!("One"), &json!(1)));
    let below: Vec<&str> =
        one["children"].as_array().expect("children").iter().filter_map(|heading| heading["text"].as_str()).collect();
    assert_eq!(below, ["Two", "Four"]);
    assert_eq!(one["children"][0]["children"][0]["text"], "Three");
    assert_eq!(files[1]["headings"][0]["text"], "Title");
    assert_eq!(view["result"]["total"], 5);
}

#[test]
fn demo_finds_the_planted_cause_and_reports() {
    let skein = Skein::new();
    let ended = skein.run(["demo", "--hosts", "20"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("fullgc on spring-boot-api-03"), "{}", ended.stdout);
    assert!(ended.stdout.contains("found the planted cause"), "{}", ended.stdout);
    for line in ["nginx-502 completed in", "agents  ", "tokens  ", "phase   Scan", "model   haiku", "model   opus"] {
        assert!(ended.stderr.contains(line), "{line}: {}", ended.stderr);
    }
    assert_eq!(skein.runs()[0]["status"], "completed");
}
