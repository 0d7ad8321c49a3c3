//! Ordinary JavaScript gives what Node 20 gives (C4): the `.expected.json` beside each script came from there.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use skein_common::script::{Call, Outcome};
use skein_script::{HostLimits, HostPool};
use support::*;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/scripts/lang");

/// Members whose value is another than Node's, each known.
fn differs(name: &str) -> &'static [&'static str] {
    match name {
        // Newer than Node 20.
        "02_regex" => &["mods", "src"],
        "03_arrays" => &["mgb", "it", "itTake", "su", "si", "sd"],
        "05_async" => &["wr", "tr"],
        // No locale data: dates and comparisons by language.
        "06_intl" => &["dloc", "dloc2", "lc2", "lc3", "lup", "intl", "cmp", "alnum"],
        // Only ISO and HTTP dates are read.
        "07_dates" => &["p4", "p6", "str"],
        // What a script does not have, and what is newer.
        "08_strings_json" => &["q", "b64", "f16", "sp", "rawj", "esc"],
        // The engine's own words for errors, no code from strings, no clock.
        "10_edge" => {
            &["tdz", "constAssign", "nullProp", "notFn", "notIter", "undeclared", "frozen", "using", "datenow"]
        }
        _ => &[],
    }
}

fn answer(call: &Call) -> Outcome {
    match prompt_of(call) {
        prompt if prompt.starts_with("fail") => error("agent failed"),
        prompt => Outcome::Json { json: json!({ "prompt": prompt }).to_string() },
    }
}

#[tokio::test]
async fn c04_scripts_give_what_node_gives() {
    compare(&pool().await).await;
}

#[tokio::test]
async fn c04_an_executed_host_gives_the_same() {
    compare(&HostPool::with_exec(executable())).await;
}

async fn compare(pool: &HostPool) {
    let mut scripts: Vec<_> = fs::read_dir(SCRIPTS).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "js"));
    scripts.sort();
    assert_eq!(scripts.len(), 10);
    let mut problems = Vec::new();
    for path in scripts {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let source = fs::read_to_string(&path).unwrap();
        let (_, body) = source.split_once('\n').unwrap();
        let run = run_with(pool, &with_meta(body), first_turn(), &HostLimits::default(), answer).await;
        let expected = fs::read_to_string(Path::new(SCRIPTS).join(format!("{name}.expected.json"))).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        if name == "01_basics" {
            // A pattern that the engine gets wrong is refused (C13).
            assert!(run.error().message.contains("nested pattern and ...rest"));
            continue;
        }
        let Ok(value) = &run.end else {
            problems.push(format!("{name}: {:?}", run.end));
            continue;
        };
        let (value, expected) = (value.as_object().unwrap(), expected.as_object().unwrap());
        for key in value.keys().chain(expected.keys().filter(|key| !value.contains_key(*key))) {
            let (ours, theirs) = (value.get(key), expected.get(key));
            if (ours == theirs) == differs(&name).contains(&key.as_str()) {
                problems.push(format!("{name} {key}: {ours:?}, Node {theirs:?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
