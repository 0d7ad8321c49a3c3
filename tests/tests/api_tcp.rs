//! The HTTP API on TCP: who is let in, under which name, with what, and what is refused.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_common::agent::RunnerKind;
use skein_common::run::RunSpec;
use skein_tests::served::{Answer, Served};
use skein_tests::{Skein, eventually};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn submission(spec: RunSpec) -> String {
    json!({ "spec": spec }).to_string()
}

fn simple() -> RunSpec {
    skein_tests::system::spec("log('one', 1); await agent('a'); log('two'); return 2")
}

fn write_private(path: &Path, text: &str, mode: u32) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
    std::fs::write(path, text).expect("writes");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("changes");
}

fn ended(served: &Served, run: &str) -> Value {
    eventually("the run ends", || {
        let view = served.ask("GET", &format!("/runs/{run}"), "").json();
        ["completed", "failed", "stopped"].iter().any(|end| view["status"] == *end).then_some(view)
    })
}

/// Nothing tells a browser that a page of another site may read it.
fn no_cors(answer: &Answer) {
    assert!(!answer.head.contains("access-control-"), "{}", answer.head);
}

#[test]
fn who_has_no_token_is_told_that_the_process_lives_and_nothing_else() {
    let served = Served::default();
    let host = format!("Host: {}", served.address);
    let health = served.with_headers("GET", "/healthz", &[&host], "");
    assert_eq!((health.status, health.body.as_str()), (200, "ok"));
    let described = served.with_headers("GET", "/api-docs/openapi.json", &[&host], "");
    assert_eq!((described.status, &described.json()["paths"]["/api/v1/runs"]["get"]["tags"]), (200, &json!(["runs"])));
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    let token = served.token();
    let (short, long) = (bearer(&token[1..]), bearer(&format!("{token}0")));
    let (basic, bare) = (format!("Authorization: Basic {token}"), format!("Authorization: {token}"));
    let cookie = format!("Cookie: token={token}");
    for wrong in ["Accept: */*", "Authorization: Bearer ", "Authorization: Bearer wrong", &short, &long, &basic, &bare]
        .into_iter()
        .chain([cookie.as_str()])
    {
        for (method, path) in [
            ("GET", "/api/v1/runs"),
            ("POST", "/api/v1/runs"),
            ("GET", "/api/v1/workers"),
            ("GET", "/none"),
            ("POST", "/"),
            ("OPTIONS", "/api/v1/runs"),
            ("GET", "/healthz/"),
        ] {
            let answer = served.with_headers(method, path, &[&host, wrong], "");
            let detail = answer.problem(401, "unauthorized");
            assert!(!detail.contains(&token[1..]), "{detail}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
            no_cors(&answer);
        }
    }
    let in_query = format!("/api/v1/runs?token={token}");
    let _detail = served.with_headers("GET", &in_query, &[&host], "").problem(401, "unauthorized");
    let twice = [host.as_str(), &bearer(&token), &bearer(&token)];
    let _detail = served.with_headers("GET", "/api/v1/runs", &twice, "").problem(401, "unauthorized");
    assert_eq!(served.with_headers("GET", "/api/v1/runs", &twice[..2], "").json(), json!([]));
}

#[test]
fn a_page_of_another_site_is_refused_though_it_had_the_token() {
    let served = Served::default();
    let (host, token) = (format!("Host: {}", served.address), format!("Authorization: Bearer {}", served.token()));
    let port = served.address.split(':').nth(1).expect("a port");
    // The name of another site that was made to mean this machine.
    for rebound in ["Host: evil.example".to_owned(), format!("Host: evil.example:{port}"), "Host: 0.0.0.0".to_owned()] {
        let answer = served.with_headers("GET", "/api/v1/runs", &[&rebound, &token], "");
        let detail = answer.problem(403, "forbidden");
        assert!(detail.contains("is no name of this API"), "{detail}");
        no_cors(&answer);
    }
    let no_host = format!("GET /api/v1/runs HTTP/1.0\r\n{token}\r\n\r\n");
    let _detail = served.raw(no_host.as_bytes()).problem(403, "forbidden");
    for origin in ["Origin: http://evil.example", "Origin: null", "Origin: http://127.0.0.1:1"] {
        let answer = served.with_headers("POST", "/api/v1/runs", &[&host, &token, origin], "");
        let detail = answer.problem(403, "forbidden");
        assert!(detail.contains("may not ask this API"), "{detail}");
        no_cors(&answer);
    }
    let ours = format!("Origin: http://{}", served.address);
    assert_eq!(served.with_headers("GET", "/api/v1/runs", &[&host, &token, &ours], "").status, 200);
    let localhost = format!("Host: localhost:{port}");
    assert_eq!(served.with_headers("GET", "/api/v1/runs", &[&localhost, &token], "").status, 200);
}

#[test]
fn a_configured_name_is_taken() {
    let skein = Skein::new();
    write_private(&skein.dir().join("home/.config/skein/config.toml"), "[api]\nhosts = [\"skein.example\"]\n", 0o600);
    let served = Served::begin(skein, "127.0.0.1:0");
    let token = format!("Authorization: Bearer {}", served.token());
    for (host, status) in [("skein.example:99", 200), ("SKEIN.example", 200), ("other.example", 403)] {
        let answer = served.with_headers("GET", "/api/v1/runs", &[&format!("Host: {host}"), &token], "");
        assert_eq!(answer.status, status, "{host}: {}", answer.body);
    }
}

#[test]
fn a_body_that_is_no_json_or_too_large_is_refused_and_starts_nothing() {
    let served = Served::default();
    let (host, token) = (format!("Host: {}", served.address), format!("Authorization: Bearer {}", served.token()));
    let body = submission(simple());
    for content_type in [
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: multipart/form-data; boundary=x",
        "Accept: application/json",
    ] {
        let answer = served.with_headers("POST", "/api/v1/runs", &[&host, &token, content_type], &body);
        let detail = answer.problem(415, "unsupported-media-type");
        assert!(detail.contains("application/json"), "{detail}");
    }
    let large = format!("{{\"spec\": \"{}\"}}", "x".repeat(17 * 1024 * 1024));
    let _detail = served.ask("POST", "/runs", &large).problem(413, "too-large");
    let chunks: String = (0..17).map(|_| format!("100000\r\n{}\r\n", " ".repeat(1024 * 1024))).collect();
    let chunked = format!(
        "POST /api/v1/runs HTTP/1.1\r\n{host}\r\n{token}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    );
    let _detail = served.raw(chunked.as_bytes()).problem(413, "too-large");
    assert_eq!(served.ask("GET", "/runs", "").json(), json!([]), "nothing was started");
}

const READ: &str = "reader-reader-reader";
const RUN: &str = "runner-runner-runner";
const OLD: &str = "steerer-steerer-steerer";
const ADMIN: &str = "admin-admin-admin";
const COMMAND: &str = "commander-commander";

fn served_with_scopes() -> Served {
    let skein = Skein::new();
    let text = format!(
        "# of this test\n{READ}\n{RUN} read run\n{OLD} read steer\n{ADMIN} admin\n{COMMAND} command read run\n\
         alone-alone-alone command\n"
    );
    write_private(&skein.dir().join("home/.local/state/skein/node/api.token"), &text, 0o600);
    Served::begin(skein, "127.0.0.1:0")
}

#[test]
fn a_token_allows_what_its_line_names() {
    let served = served_with_scopes();
    let body = submission(simple());
    let started = served.with_token(RUN, "POST", "/runs", &body);
    assert_eq!(started.status, 201, "{}", started.body);
    let run = started.json()["run"].as_str().expect("an id").to_owned();
    assert_eq!(served.with_token(READ, "GET", &format!("/runs/{run}"), "").status, 200);
    for (method, path) in [
        ("POST", String::from("/runs")),
        ("POST", format!("/runs/{run}/stop")),
        ("POST", format!("/runs/{run}/agents/1/stop")),
    ] {
        for token in [READ, ADMIN] {
            let detail = served.with_token(token, method, &path, &body).problem(403, "forbidden");
            assert!(detail.contains("needs a token with the scope `run`"), "{detail}");
        }
    }
    // However the path is written.
    for path in ["/workers/w/drain", "/%77orkers/w/drain"] {
        for token in [READ, RUN, OLD, COMMAND] {
            let detail = served.with_token(token, "POST", path, "").problem(403, "forbidden");
            assert!(detail.contains("needs a token with the scope"), "{detail}");
        }
    }
    let _detail = served.with_token(ADMIN, "POST", "/workers/w/drain", "").problem(404, "not-found");
    assert_eq!(served.with_token(OLD, "POST", "/runs", &body).status, 201, "the word of earlier versions");
    let alone = "alone-alone-alone";
    let detail = served.with_token(alone, "GET", "/runs", "").problem(403, "forbidden");
    assert!(detail.contains("scope `read`"), "{detail}");
    let _detail = served.with_token(alone, "POST", "/runs", &body).problem(403, "forbidden");
    assert_eq!(served.with_token(READ, "GET", "/runs", "").json().as_array().expect("a list").len(), 2);
    ended_with(&served, READ, &run);
}

fn ended_with(served: &Served, token: &str, run: &str) {
    eventually("the run ends", || {
        let view = served.with_token(token, "GET", &format!("/runs/{run}"), "").json();
        (view["status"] == "completed").then_some(())
    });
}

#[test]
fn a_run_that_names_programs_or_files_there_needs_the_scope_command() {
    let served = served_with_scopes();
    let project = served.skein.project();
    served.skein.shell_agent("sh", "", "echo out");
    let definitions = skein_worker::definition::discover(&project, &project, None).definitions;
    assert_eq!(definitions.len(), 1);
    let cwd = [skein_common::agent::AgentDefinition {
        command: None,
        runner: None,
        cwd: Some("/".into()),
        ..definitions[0].clone()
    }];
    let named = |command: &str| Some(vec![command.to_owned()]);
    for (what, spec) in [
        ("a command", RunSpec { command: named("true"), ..simple() }),
        ("the runner command", RunSpec { runner: Some(RunnerKind::Command), ..simple() }),
        ("the runner cli", RunSpec { runner: Some(RunnerKind::Cli), ..simple() }),
        ("an agent type with a command", RunSpec { definitions, ..simple() }),
        ("an agent type with a folder", RunSpec { definitions: cwd.to_vec(), ..simple() }),
        ("folders to read scripts in", RunSpec { script_roots: vec![project.display().to_string()], ..simple() }),
    ] {
        let detail = served.with_token(RUN, "POST", "/runs", &submission(spec.clone())).problem(403, "forbidden");
        assert!(detail.contains("needs a token with the scope `command`"), "{what}: {detail}");
        let answer = served.with_token(COMMAND, "POST", "/runs", &submission(spec));
        assert_eq!(answer.status, 201, "{what}: {}", answer.body);
    }
}

#[test]
fn a_file_of_tokens_is_made_private_and_refused_when_others_can_read_it() {
    let served = Served::default();
    let mode = |path: &Path| std::fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&served.token_file()), 0o600);
    assert!(served.token().len() == 64 && served.skein.background_stderr().contains("api.token"));
    assert!(!served.skein.background_stderr().contains(&served.token()), "it is written nowhere else");
    std::fs::set_permissions(served.token_file(), std::fs::Permissions::from_mode(0o644)).expect("changes");
    let client = served.run(["runs"]);
    assert!(client.code == Some(2) && client.stderr.contains("chmod 600"), "{}", client.stderr);
    let other = Skein::new();
    for (text, mode, said) in [
        ("0123456789abcdef read\n", 0o640, "can be read by others"),
        ("0123456789abcdef root\n", 0o600, "scopes are read, run, command, approve, admin"),
        ("short\n", 0o600, "at least 16"),
        ("\n", 0o600, "has no token"),
    ] {
        write_private(&other.dir().join("home/.local/state/skein/node/api.token"), text, mode);
        let ended = other.run(["serve", "--listen", "127.0.0.1:0"]);
        assert!(ended.code == Some(2) && ended.stderr.contains(said), "{text}: {}", ended.stderr);
    }
}

#[test]
fn an_address_that_is_taken_is_named_and_nothing_is_left() {
    let skein = Skein::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = skein.run(["serve", "--listen", &address]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let said = format!("error: cannot listen on {address}: Address already in use");
    assert!(ended.stderr.contains(&said) && !ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(!skein.store().join("serve.sock").exists(), "the socket is gone, too");
}

#[test]
fn logs_come_in_order_with_what_to_ask_for_next() {
    let served = Served::default();
    let run = served.ask("POST", "/runs", &submission(simple())).json()["run"].as_str().expect("an id").to_owned();
    ended(&served, &run);
    let logs = |after: &str| served.ask("GET", &format!("/runs/{run}/logs{after}"), "");
    let all = logs("").json();
    let texts: Vec<&Value> = all["lines"].as_array().expect("lines").iter().map(|line| &line["text"]).collect();
    assert_eq!(texts, ["one 1", "two"]);
    assert_eq!((&all["ended"], &all["more"]), (&json!(true), &json!(false)));
    let first = all["lines"][0]["position"].as_u64().expect("a position");
    let rest = logs(&format!("?after={first}")).json();
    assert_eq!((rest["lines"].as_array().expect("lines").len(), &rest["lines"][0]["text"]), (1, &json!("two")));
    let end = logs(&format!("?after={}", all["position"])).json();
    assert_eq!((&end["lines"], &end["position"], &end["ended"]), (&json!([]), &all["position"], &json!(true)));
    assert_eq!(logs(&format!("?after={}", u64::MAX)).json()["lines"], json!([]));
    for bad in ["?after=-1", "?after=x", "?before=1"] {
        let _detail = logs(bad).problem(400, "bad-request");
    }
    let unknown = "/runs/wf_00000000000000000000000000";
    for path in ["/logs", "/logs?after=3", "/agents/1/record"] {
        let _detail = served.ask("GET", &format!("{unknown}{path}"), "").problem(404, "not-found");
    }
    let _detail = served.ask("GET", &format!("/runs/{run}/agents/9/record"), "").problem(404, "not-found");
    let record = served.ask("GET", &format!("/runs/{run}/agents/1/record"), "").json();
    assert_eq!((&record["prompt"], &record["agent"]["status"]), (&json!("a"), &json!("done")));
}

#[test]
fn a_log_of_many_lines_comes_in_pages() {
    let served = Served::default();
    let body =
        "for (let i = 0; i < 900; i++) log(i); await agent('a'); for (let i = 900; i < 1000; i++) log(i); return 1";
    let spec = skein_tests::system::spec(body);
    let run = served.ask("POST", "/runs", &submission(spec)).json()["run"].as_str().expect("an id").to_owned();
    ended(&served, &run);
    let (mut after, mut texts) = (json!(0), Vec::new());
    loop {
        let page = served.ask("GET", &format!("/runs/{run}/logs?after={after}"), "").json();
        texts.extend(page["lines"].as_array().expect("lines").iter().map(|line| line["text"].clone()));
        assert!(page["position"].as_u64() > after.as_u64(), "{page}");
        after = page["position"].clone();
        if page["more"] == false {
            break;
        }
    }
    let expected: Vec<Value> = (0..1000).map(|number: u32| json!(number.to_string())).collect();
    assert_eq!(texts, expected);
}

/// With the token in hand, from a program that is not ours.
#[test]
fn a05_an_agent_is_refused_on_tcp_whatever_token_it_found() {
    let served = Served::default();
    let address = &served.address;
    let (ip, port) = address.split_once(':').expect("a port");
    let request = format!(
        "exec 3<>/dev/tcp/{ip}/{port}; token=$(cut -d' ' -f1 {}); printf 'GET /api/v1/runs HTTP/1.1\\r\\nHost: {address}\\r\\n\
         Authorization: Bearer %s\\r\\nConnection: close\\r\\n\\r\\n' $token >&3; cat <&3",
        served.token_file().display()
    );
    served.skein.write("ask.sh", &request);
    let outside = std::process::Command::new("bash").arg(served.skein.project().join("ask.sh")).output().expect("asks");
    assert!(String::from_utf8_lossy(&outside.stdout).starts_with("HTTP/1.1 200"), "a person may");
    served.skein.shell_agent(
        "asks",
        "",
        "bash ask.sh; (setsid env -i bash ask.sh > daemon; mv daemon done) & \
        while [ ! -e done ]; do sleep 0.02; done; cat done",
    );
    let script = served.skein.workflow("w.js", "return await agent('ask', {agentType: 'asks'})");
    let ended = served.run(["run".as_ref(), script.as_os_str(), "--yes".as_ref(), "--json".as_ref()]);
    let said = ended.completed()["result"].as_str().expect("a text").to_owned();
    assert_eq!(said.matches("HTTP/1.1 403").count(), 2, "{said}");
    assert_eq!(said.matches("agents cannot start, steer or answer for runs").count(), 2, "{said}");
}
