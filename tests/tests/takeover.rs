//! Another coordinator takes a run over after a crash at any event of its journal: every example with its real script
//! in the real script host, agents answered as they answered before.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test says what it expects and what it did")]

use serde_json::{Value, json};
use skein_common::RunId;
use skein_engine::Event;
use skein_tests::fleet::generate;
use skein_tests::recorded::{Recorded, Successors, TakenOver};
use skein_tests::{Ended, Skein, project_dir};
use std::collections::BTreeSet;

/// Crashes of one workflow in the quick tier; `SKEIN_TEST_CRASHES` sets another number, and `all` every event.
const CRASHES: usize = 12;

/// After how many events the crashes are: the first, the last, and every k-th between them; `SKEIN_TEST_SEED` moves
/// those between.
fn crashes(events: usize) -> Vec<usize> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let wanted = match std::env::var("SKEIN_TEST_CRASHES").as_deref() {
        Ok("all") => events,
        _ => number("SKEIN_TEST_CRASHES").unwrap_or(CRASHES),
    };
    let step = events.div_ceil(wanted.max(1)).max(1);
    let first = 1 + number("SKEIN_TEST_SEED").unwrap_or(0) % step;
    let chosen: BTreeSet<usize> = (first..events).step_by(step).chain([1, events - 1]).collect();
    chosen.into_iter().collect()
}

/// What must be the same wherever the crash was, whatever the order in which agents end: each agent ends once, the same
/// agents are called, the same lines are logged, the run ends once and in the same way.
fn summary(events: &[(i64, Event)]) -> Vec<String> {
    let lines = events.iter().filter_map(|(_, event)| match event {
        Event::AgentQueued { key, spec, .. } => Some(format!("called {} {key}", spec.label)),
        Event::TaskEnded { agent, .. } => Some(format!("ended {agent}")),
        Event::LogLine { text, .. } => Some(format!("logged {text}")),
        Event::PhaseEntered { title } => Some(format!("phase {title}")),
        Event::ScriptReturned { result } => Some(format!("returned {result:?}")),
        Event::RunEnded { .. } => Some(format!("{event:?}")),
        _ => None,
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    lines
}

fn crash_everywhere(name: &str, skein: &Skein, ended: &Ended) {
    let view: Value = ended.json();
    let run: RunId = view["run"].as_str().expect("an id").parse().expect("an id");
    actix::System::new().block_on(async {
        let recorded = Recorded::read(&skein.store(), &run).await;
        let store = skein.store();
        let successors = Successors::start(&store, &recorded).await;
        let before = summary(&recorded.events);
        let crashes = crashes(recorded.events.len());
        for kept in &crashes {
            let TakenOver { view: again, events, carried_out } = successors.take_over(*kept, 0).await;
            let result: Value =
                again.result.map_or(Value::Null, |json| serde_json::from_str(json.get()).expect("JSON"));
            assert_eq!(result, view["result"], "{name}, {kept} events");
            assert_eq!(again.agents.done, view["agents"]["done"], "{name}, {kept} events");
            assert_eq!(again.agents.failed, view["agents"]["failed"], "{name}, {kept} events");
            assert_eq!(summary(&events), before, "{name}, {kept} events");
            let finished = recorded.ended_within(*kept);
            let twice = carried_out.iter().find(|attempt| finished.contains(&attempt.agent));
            assert!(twice.is_none(), "{name}, {kept} events: a finished agent ran again: {twice:?}");
        }
        println!("{name}: {} crashes in a journal of {} events", crashes.len(), recorded.events.len());
    });
}

fn run_example(skein: &Skein, name: &str, args: &Value) {
    let script = project_dir().join("examples").join(name).join(format!("{name}.js"));
    let ended = skein.run_json(&script, &["--args", &args.to_string()]);
    assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
    crash_everywhere(name, skein, &ended);
}

#[test]
fn r04_fan_out_is_taken_over_at_any_event() {
    let skein = Skein::new();
    for (name, text) in [("a.txt", "TODO one\nTODO two\n"), ("b.txt", "nothing\n"), ("deep/c.txt", "a TODO\n")] {
        skein.write(&format!("src/{name}"), text);
    }
    run_example(&skein, "fan-out", &json!({ "dir": "src" }));
}

#[test]
fn r04_pipeline_verify_is_taken_over_at_any_event() {
    let skein = Skein::new();
    skein.write("app.conf", "name = shop\npassword = hunter2\n# password = old\ndb_password = ${DB_PASSWORD}\n");
    skein.write("db.conf", "port: 5432\nsecret: \"s3cr3t\"\n");
    run_example(&skein, "pipeline-verify", &json!({ "files": ["app.conf", "gone.conf", "db.conf"] }));
}

#[test]
fn r04_loop_until_dry_is_taken_over_at_any_event() {
    let skein = Skein::new();
    for (name, text) in [("index.md", "[a](a.md)\n"), ("a.md", "`b.md`\n"), ("b.md", "[c](c.md)\n"), ("c.md", "\n")] {
        skein.write(&format!("docs/{name}"), text);
    }
    run_example(&skein, "loop-until-dry", &json!({ "dir": "docs", "start": "index.md" }));
}

#[test]
fn r04_schema_review_is_taken_over_at_any_event() {
    let skein = Skein::new();
    skein.write("one.csv", "id,customer,amount\n1,anna,10.50\n2,bert\n3,carl,4\n");
    skein.write("two.csv", "id,customer,amount\n4,dora,ten\n5,emil,1.25\n");
    skein.write("three.csv", "name;price\nx;1\n");
    run_example(&skein, "schema-review", &json!({ "files": ["one.csv", "two.csv", "three.csv"] }));
}

#[test]
fn r04_tournament_is_taken_over_at_any_event() {
    let skein = Skein::new();
    let texts = ["Notwithstanding circumstances\n", "We ate a pie\n", "\n", "Perhaps sunshine\n", "\n"];
    let files: Vec<String> = texts
        .iter()
        .zip(0..)
        .map(|(text, number)| {
            skein.write(&format!("{number}.md"), text);
            format!("{number}.md")
        })
        .collect();
    run_example(&skein, "tournament", &json!({ "files": files }));
}

#[test]
fn r04_repo_headings_is_taken_over_at_any_event() {
    let skein = Skein::new();
    for number in 0..6 {
        skein.write(&format!("docs/{number}.md"), &format!("# Title {number}\n\n## Part\n"));
    }
    run_example(&skein, "repo-headings", &json!({ "dir": skein.project().join("docs") }));
}

#[test]
fn r04_nginx_502_is_taken_over_at_any_event() {
    let skein = Skein::new();
    let fleet = generate(skein.dir(), 1, &["--hosts", "12", "--lines", "500"]);
    run_example(&skein, "nginx-502", &json!({ "fleet": fleet.dir }));
}

#[test]
fn r04_the_demo_is_taken_over_at_any_event() {
    let skein = Skein::new();
    let ended = skein.run(["demo", "--hosts", "10", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    crash_everywhere("demo", &skein, &ended);
}
