//! Metrics, readiness, logs and traces of the real program, as Prometheus and those who operate it see them.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_common::agent::{RunnerKind, Simulation};
use skein_tests::prometheus::{Page, Prometheus};
use skein_tests::served::{Answer, Served};
use skein_tests::system::spec;
use skein_tests::{Skein, eventually};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

const READER: &str = "reader-reader-reader";
const STEERER: &str = "steerer-steerer-steerer";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A request for one of these paths, which stand beside the API.
fn ask(served: &Served, path: &str, headers: &[&str]) -> Answer {
    let host = format!("Host: {}", served.address);
    served.with_headers("GET", path, &[&[host.as_str()], headers].concat(), "")
}

fn page(served: &Served, token: &str) -> Page {
    let answer = ask(served, "/metrics", &[&format!("Authorization: Bearer {token}")]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    Page(answer.body)
}

/// A server with these lines of settings and these tokens.
fn served_with(settings: &str, tokens: &str) -> Served {
    let skein = Skein::new();
    let home = skein.dir().join("home");
    let write = |file: &str, text: &str| {
        let path = home.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
        std::fs::write(&path, text).expect("writes");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("changes");
    };
    write(".config/skein/config.toml", settings);
    if !tokens.is_empty() {
        write(".local/state/skein/node/api.token", tokens);
    }
    Served::begin(skein, "127.0.0.1:0")
}

/// Submits with these headers beside the usual ones; gives the run's view at its end.
fn run_with(served: &Served, spec: &skein_common::run::RunSpec, headers: &[&str]) -> Value {
    let (host, token) = (format!("Host: {}", served.address), format!("Authorization: Bearer {}", served.token()));
    let usual = [host.as_str(), &token, "Content-Type: application/json"];
    let body = json!({ "spec": spec }).to_string();
    let answer = served.with_headers("POST", "/api/v1/runs", &[&usual[..], headers].concat(), &body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let run = answer.json()["run"].as_str().expect("an id").to_owned();
    eventually("the run ends", || {
        let view = served.ask("GET", &format!("/runs/{run}"), "").json();
        ["completed", "failed", "stopped"].iter().any(|end| view["status"] == *end).then_some(view)
    })
}

#[test]
fn l01_a_real_prometheus_sees_the_truth_while_a_thousand_agents_run() {
    let served = served_with("[metrics]\nmodels = [\"opus\"]\n", "");
    let prometheus = Prometheus::watching(served.skein.dir(), &served.address, &served.token());
    // Each on a model of its own, but for two: labels are bounded whatever scripts write.
    let mut thousand = spec(
        "const model = i => i == 0 ? undefined : i == 1 ? 'opus' : 'model-' + i
        const all = await parallel(Array.from({ length: 1000 }, (_, i) => () => agent('agent-' + i, { model: model(i) })))
        return all.filter(text => typeof text === 'string').length",
    );
    thousand.simulation = Simulation { latency_ms: 100, ..Simulation::default() };
    let view = run_with(&served, &thousand, &[]);
    assert_eq!((&view["status"], &view["agents"]["done"]), (&json!("completed"), &json!(1000)), "{view:#}");

    let agents = "sum(skein_agents_total{outcome=\"done\"})";
    eventually("prometheus has read the end", || (prometheus.value(agents) == Some(1000.0)).then_some(()));
    assert_eq!(prometheus.value("sum(skein_agents_total)"), Some(1000.0));
    assert_eq!(prometheus.value("sum(skein_runs_total{outcome=\"completed\"})"), Some(1.0));
    assert_eq!(prometheus.value("sum(skein_tokens_total)"), view["tokens"]["total"].as_f64());
    assert_eq!(prometheus.value("sum(skein_agent_duration_seconds_count)"), Some(1000.0));

    let held = prometheus.samples("skein_permits_in_use{scope=\"run\"}");
    let limit = prometheus.samples("skein_permits_limit{scope=\"run\"}");
    let running = prometheus.samples("skein_agents_running");
    assert_eq!((held.len(), running.len()), (limit.len(), held.len()));
    for ((held, limit), running) in held.iter().zip(&limit).zip(&running) {
        assert_eq!((held.0, running.0), (limit.0, held.0), "read at the same moment");
        assert!(held.1 <= limit.1 && limit.1 <= 16.0 && running.1 == held.1, "{held:?} of {limit:?}");
    }
    let while_running = held.iter().filter(|(_, held)| *held > 0.0).count();
    assert!(while_running >= 3, "it was looked at while it ran: {held:?}");
    assert_eq!(held.last().map(|(_, held)| *held), Some(0.0), "all came back");

    let last = page(&served, &served.token());
    last.lint();
    for model in ["opus", "none"] {
        assert_eq!(last.sum("skein_agents_total", &format!("model=\"{model}\"")), 1.0);
    }
    assert_eq!(last.sum("skein_agents_total", "model=\"other\""), 998.0);
    assert!(!last.0.contains("model-"), "no name of a script's own");
    assert_eq!(last.sum("skein_workers", "state=\"working\""), 1.0);
    let run = view["run"].as_str().expect("an id");
    assert!(!last.0.contains(run) && !last.0.contains("agent-"), "neither runs nor prompts in labels");
    assert!(last.0.lines().count() < 400, "{} lines", last.0.lines().count());
}

#[test]
fn metrics_need_a_token_that_may_read_and_health_needs_none() {
    let served = served_with("", &format!("{READER}\n{STEERER} steer\n"));
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    for (path, body) in [("/healthz", "ok"), ("/readyz", "{\"ready\":true,\"reasons\":[]}")] {
        let answer = ask(&served, path, &[]);
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
    }
    let _detail = ask(&served, "/metrics", &[]).problem(401, "unauthorized");
    let _detail = ask(&served, "/metrics", &[&bearer("wrong-wrong-wrong-wrong")]).problem(401, "unauthorized");
    assert!(page(&served, READER).has_moved("skein_build_info"));
    let rebound = served.with_headers("GET", "/metrics", &["Host: evil.example", &bearer(READER)], "");
    let _detail = rebound.problem(403, "forbidden");
    // The user of this machine needs no token on the socket.
    let socket = served.skein.store().join("serve.sock");
    let fetch = |path: &str| {
        let mut command = Command::new("python3");
        let program = "import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(f'GET {sys.argv[2]} HTTP/1.0\\r\\nHost: skein\\r\\n\\r\\n'.encode())
sys.stdout.write(b''.join(iter(lambda: s.recv(65536), b'')).decode())";
        let output = command.args(["-c", program]).arg(&socket).arg(path).output().expect("python runs");
        String::from_utf8(output.stdout).expect("is text")
    };
    for (path, part) in [("/metrics", "skein_build_info{"), ("/readyz", "\"ready\":true"), ("/healthz", "ok")] {
        let answer = fetch(path);
        assert!(answer.starts_with("HTTP/1.0 200") && answer.contains(part), "{path}: {answer}");
    }
}

#[test]
fn where_the_settings_say_so_metrics_are_open_and_nothing_else_is() {
    let served = served_with("[api]\nmetrics_open = true\n", "");
    let answer = ask(&served, "/metrics", &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    Page(answer.body).lint();
    let _detail = ask(&served, "/api/v1/runs", &[]).problem(401, "unauthorized");
    let _detail = ask(&served, "/metrics/", &[]).problem(401, "unauthorized");
    // A page in a browser that was led here.
    let _detail = served.with_headers("GET", "/metrics", &["Host: evil.example"], "").problem(403, "forbidden");
}

#[test]
fn a_run_is_part_of_the_trace_of_who_started_it_down_to_its_programs() {
    let served = Served::default();
    let mut printing = spec("return await agent('print')");
    printing.runner = Some(RunnerKind::Command);
    printing.command = Some(["sh", "-c", "echo \"<${TRACEPARENT-none}>\""].map(str::to_owned).to_vec());
    printing.project_dir = served.skein.project().display().to_string();
    let said = |headers: &[&str]| {
        let view = run_with(&served, &printing, headers);
        view["result"].as_str().unwrap_or_else(|| panic!("{view:#}")).to_owned()
    };
    let header = format!("traceparent: {PARENT}");
    assert_eq!(said(&[&header]), format!("<{PARENT}>"));
    for ignored in [&["traceparent: 00-zz-1-1"][..], &[&header, &header], &[]] {
        assert_eq!(said(ignored), "<none>", "{ignored:?}");
    }
    let mut body = json!(printing);
    body["traceparent"] = json!("$(reboot)");
    let read: skein_common::run::RunSpec = serde_json::from_value(body).expect("what is none is ignored");
    assert_eq!(read.traceparent, None);
}

#[test]
fn lines_of_a_json_log_carry_the_ids_of_run_agent_and_attempt() {
    let served = served_with("[log]\nformat = \"json\"\nfilter = \"debug,skein_script=off\"\n", "");
    let mut stopping = spec("await Promise.all([agent('a'), agent('b')])");
    stopping.simulation = Simulation { latency_ms: 24 * 60 * 60 * 1000, ..Simulation::default() };
    let body = json!({ "spec": stopping }).to_string();
    let run = served.ask("POST", "/runs", &body).json()["run"].as_str().expect("an id").to_owned();
    let running = || served.ask("GET", &format!("/runs/{run}"), "").json()["agents"]["running"] == json!(2);
    eventually("both run", || running().then_some(()));
    assert_eq!(served.ask("POST", &format!("/runs/{run}/agents/1/skip"), "").status, 409);
    assert_eq!(served.ask("POST", &format!("/runs/{run}/stop"), "").status, 200);
    let all = || -> Vec<Value> {
        let said = served.skein.background_stderr();
        // What is meant for a person stands between the lines, and the last line may be on its way.
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let with_ids = |line: &Value, place: &Value| {
        line["level"].is_string() && place["run_id"] == json!(run) && place["agent"].is_u64()
    };
    eventually("a line of an attempt has its ids", || {
        all().iter().find(|line| with_ids(line, &line["span"]) && line["span"]["attempt"] == json!(1)).map(|_| ())
    });
    let refused = all().into_iter().find(|line| line["message"] == "command refused").expect("the skip was refused");
    assert_eq!(refused["run_id"], json!(run), "{refused}");
}

#[test]
fn a_server_whose_store_takes_no_writes_is_not_ready_and_says_why() {
    let served = Served::default();
    let ready = || ask(&served, "/readyz", &[]);
    assert_eq!(ready().status, 200);
    // Another program has the store for itself until its input ends.
    let program = "import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None); db.execute('BEGIN IMMEDIATE'); print('has it', flush=True)
sys.stdin.read()";
    let mut holder = Command::new("python3")
        .args(["-c", program])
        .arg(served.skein.store().join("skein.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let mut line = String::new();
    BufReader::new(holder.stdout.take().expect("its output")).read_line(&mut line).expect("reads");
    assert_eq!(line, "has it\n");
    let refused = eventually("it is not ready", || Some(ready()).filter(|answer| answer.status == 503));
    let reasons = json!(["the store takes too long to write one record"]);
    assert_eq!(refused.json(), json!({ "ready": false, "reasons": reasons }));
    assert_eq!(ask(&served, "/healthz", &[]).status, 200, "it lives all the same");
    drop(holder.stdin.take());
    holder.wait().expect("ends");
    eventually("it is ready again", || (ready().status == 200).then_some(()));
}
