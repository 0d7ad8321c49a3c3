//! `skein doctor`: it finds nothing on a machine that is well, and names what is wrong on one that is not.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::{Ended, Skein};

fn doctor(skein: &Skein) -> (Ended, Value) {
    let ended = skein.run(["doctor", "--json"]);
    let answer = ended.json();
    (ended, answer)
}

fn check<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let checks = answer["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn a_machine_that_is_well_passes_and_nothing_is_left_behind() {
    let skein = Skein::new();
    let (ended, answer) = doctor(&skein);
    for name in
        ["version", "platform", "seccomp", "pidfd", "subreaper", "settings", "store", "git", "script-host", "run"]
    {
        assert_eq!(check(&answer, name)["status"], "ok", "{name}: {answer:#}");
    }
    assert_eq!(ended.code, Some(0));
    assert!(!skein.store().exists(), "looking creates nothing");
    let script = skein.workflow("w.js", "return 1");
    skein.run_json(&script, &[]).completed();
    let (_, answer) = doctor(&skein);
    let store = check(&answer, "store")["text"].as_str().expect("text").to_owned();
    assert!(store.contains("1 runs"), "the run of the check is not among them: {store}");
    let text = skein.run(["doctor"]).stdout;
    assert!(text.lines().all(|line| line.starts_with("ok ") || line.starts_with("warn ") || line.contains("-> ")));
}

#[test]
fn broken_settings_and_a_store_that_is_none_fail_with_what_to_do() {
    let skein = Skein::new();
    std::fs::create_dir(skein.store()).expect("creates");
    std::fs::write(skein.store().join("skein.db"), "this is no database, whatever its name says").expect("writes");
    skein.write(".skein.toml", "[limits]\nconcurency = 1\n");
    let (ended, answer) = doctor(&skein);
    assert_eq!((ended.code, &answer["status"]), (Some(1), &json!("fail")));
    for (name, part) in [("settings", ".skein.toml:2: unknown key"), ("store", "store")] {
        let check = check(&answer, name);
        assert_eq!(check["status"], "fail", "{name}: {answer:#}");
        assert!(check["text"].as_str().expect("text").contains(part), "{check}");
        assert!(check["advice"].is_string(), "{check}");
    }
    assert_eq!(check(&answer, "run")["status"], "ok", "the other checks are made all the same");
}

#[test]
fn what_does_not_count_is_a_warning_and_no_failure() {
    let skein = Skein::new();
    skein.write(".skein.toml", "[store]\ndir = \"/elsewhere\"\n");
    let output = skein.command(["doctor", "--json"]).env("PATH", "/nowhere").output().expect("runs");
    let answer = Ended::from(output).json();
    assert_eq!(check(&answer, "settings")["status"], "warn");
    assert_eq!(check(&answer, "git")["status"], "warn");
    assert_eq!(check(&answer, "store")["status"], "ok");
}

#[test]
fn a_store_below_a_file_cannot_be() {
    let skein = Skein::new();
    std::fs::write(skein.store(), "a file").expect("writes");
    let (ended, answer) = doctor(&skein);
    assert_eq!(ended.code, Some(1));
    assert_eq!(check(&answer, "store")["status"], "fail", "{answer:#}");
}
