//! The files for those who watch Skein: rules and dashboard name what there is, and the catalogue has all of it.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::Value;
use skein_common::metrics::{AllowedNames, Deliveries, Meters};
use skein_tests::project_dir;
use skein_tests::prometheus::promtool;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn deploy(name: &str) -> PathBuf {
    project_dir().join("deploy").join(name)
}

/// Everything that a process registers.
fn registered() -> BTreeSet<String> {
    let meters = Meters::default();
    meters.say_build("0.0.0", "test").expect("registers");
    let deliveries = Deliveries::register(&meters).expect("registers");
    skein_coordinator::Metrics::register(&meters, deliveries.clone(), AllowedNames::default()).expect("registers");
    skein_worker::Metrics::register(&meters, deliveries).expect("registers");
    meters.names().into_iter().collect()
}

/// The names of metrics in an expression, without the endings of a histogram's series.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("skein_"));
    let without_end = |name: &str| {
        let ends = ["_bucket", "_count", "_sum"].into_iter();
        ends.filter_map(|end| name.strip_suffix(end)).next().unwrap_or(name).to_owned()
    };
    names.map(without_end).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(deploy("grafana/skein.json")).expect("the dashboard")).expect("JSON")
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().expect("panels")
}

fn expressions(dashboard: &Value) -> Vec<String> {
    let targets = panels(dashboard).iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

#[test]
fn prometheus_takes_configuration_and_rules_and_each_alert_comes_and_goes() {
    let dir = tempfile::tempdir().expect("a folder");
    for file in ["prometheus.yml", "alerts.yml", "alerts_test.yml"] {
        std::fs::copy(deploy("prometheus").join(file), dir.path().join(file)).expect("copies");
    }
    for token in ["skein.token", "skein-worker.token"] {
        std::fs::write(dir.path().join(token), "a token").expect("writes");
    }
    promtool(dir.path(), &["check", "config", "prometheus.yml"]);
    promtool(dir.path(), &["check", "rules", "alerts.yml"]);
    promtool(dir.path(), &["test", "rules", "alerts_test.yml"]);
    let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).expect("reads");
    let rules: Value = serde_saphyr::from_str(&read("alerts.yml")).expect("is YAML");
    let tests = read("alerts_test.yml");
    for rule in rules["groups"][0]["rules"].as_array().expect("rules") {
        let alert = rule["alert"].as_str().expect("a name");
        let expr = rule["expr"].as_str().expect("an expression");
        let unknown: Vec<String> = named(expr).difference(&registered()).cloned().collect();
        assert!(unknown.is_empty(), "{alert} names {unknown:?}");
        let runbook = rule["annotations"]["runbook"].as_str().expect("says what to do");
        assert!(runbook.len() > 80, "{alert}: {runbook}");
        // Once where it stays away, and at least once where it comes.
        let shown = tests.split(&format!("alertname: {alert}\n        exp_alerts:\n")).count() - 1;
        assert!(shown >= 1 && tests.contains(&format!("alertname: {alert} }}")), "{alert} is not shown to come and go");
    }
}

#[test]
fn the_dashboard_can_be_taken_as_it_is() {
    let dashboard = dashboard();
    assert_eq!((dashboard["uid"].as_str(), &dashboard["id"]), (Some("skein"), &Value::Null));
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert!(variables.iter().any(|variable| variable["type"] == "datasource" && variable["name"] == "datasource"));
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "{title}: its id is another's");
        let place = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        let (x, y, width, height) = (place("x"), place("y"), place("w"), place("h"));
        assert!(x + width <= 24 && height > 0, "{title} is too wide");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies on another at {cell:?}");
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title} says nothing");
        }
    }
}

#[test]
fn every_expression_of_the_dashboard_parses_and_every_metric_is_on_it() {
    let expressions = expressions(&dashboard());
    let on_it: BTreeSet<String> = expressions.iter().flat_map(|expr| named(expr)).collect();
    assert_eq!(on_it, registered());
    let dir = tempfile::tempdir().expect("a folder");
    // The tool reads expressions in rules only. Grafana fills the interval in.
    let rule = |(number, expr): (usize, &String)| {
        let expr = expr.replace("$__rate_interval", "1m");
        format!("      - record: panel:{number}\n        expr: {}\n", Value::String(expr))
    };
    let rules: String = expressions.iter().enumerate().map(rule).collect();
    std::fs::write(dir.path().join("rules.yml"), format!("groups:\n  - name: g\n    rules:\n{rules}")).expect("writes");
    promtool(dir.path(), &["check", "rules", "rules.yml"]);
}

#[test]
fn the_catalogue_has_what_is_registered_and_what_waits_and_nothing_else() {
    let text = std::fs::read_to_string(project_dir().join("docs/metrics.md")).expect("the catalogue");
    let (has, waits) = text.split_once("## Waiting").expect("both parts");
    let rows = has.lines().filter_map(|line| line.strip_prefix("| `skein_")?.split('`').next());
    let rows: BTreeSet<String> = rows.map(|name| format!("skein_{name}")).collect();
    assert_eq!(rows, registered());
    let waiting: Vec<&str> = waits.split('`').filter(|word| word.starts_with("skein_")).collect();
    let expected = ["cost_usd_total", "model_requests_total", "model_retries_total", "gate_closed", "tool_calls_total"];
    let expected = expected.into_iter().chain(["permission_requests_total", "permission_wait_seconds"]);
    assert_eq!(waiting, expected.map(|name| format!("skein_{name}")).collect::<Vec<_>>());
    assert!(waiting.iter().all(|name| !rows.contains(*name)));
}
