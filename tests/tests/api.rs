//! The HTTP API on its socket, spoken by a program that knows nothing of ours.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::{Skein, eventually, processes};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;

struct Served {
    skein: Skein,
    process: Child,
}

/// What came back: the status, the type and the body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// A problem of this type, which says so in all its places.
    fn problem(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let problem = self.json();
        assert_eq!((&problem["type"], &problem["status"]), (&json!(format!("urn:skein:error:{kind}")), &json!(status)));
        problem["detail"].as_str().expect("a text").to_owned()
    }
}

impl Served {
    fn begin() -> Served {
        let skein = Skein::new();
        let process = skein.spawn(["serve"]);
        let served = Served { skein, process };
        eventually("it serves", || UnixStream::connect(served.socket()).is_ok().then_some(()));
        served
    }

    fn socket(&self) -> PathBuf {
        self.skein.store().join("serve.sock")
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = UnixStream::connect(self.socket()).expect("connects");
        let length = body.len();
        let request = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: skein\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}"
        );
        // A server that refuses a large body may close before it has read all of it.
        let _refused_early = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _closed = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "")
    }

    /// What the command line would send for this script.
    fn submission(&self, body: &str, args: &Value) -> String {
        let args = Some(skein_common::Payload::json(args.to_string()));
        let spec = skein_common::run::RunSpec { args, ..skein_tests::system::spec(body) };
        json!({ "spec": spec }).to_string()
    }

    fn ended(&self, run: &str) -> Value {
        eventually("the run ends", || {
            let view = self.get(&format!("/runs/{run}")).json();
            ["completed", "failed", "stopped"].iter().any(|end| view["status"] == *end).then_some(view)
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        processes::signal(i32::try_from(self.process.id()).expect("a pid"), rustix::process::Signal::TERM);
        let _ended = self.process.wait();
    }
}

#[test]
fn r11_the_same_key_gives_the_same_run_and_another_body_is_a_conflict() {
    let served = Served::begin();
    let (one, other) = (served.submission("return 1", &json!(null)), served.submission("return 2", &json!(null)));
    let key = "Idempotency-Key: deploy-42\r\n";
    let first = served.ask("POST", "/runs", key, &one);
    assert_eq!(first.status, 201, "{}", first.body);
    let again = served.ask("POST", "/runs", key, &one);
    assert_eq!(first.json()["run"], again.json()["run"]);
    let detail = served.ask("POST", "/runs", key, &other).problem(409, "conflict");
    assert!(detail.contains("idempotency key was used for another request"), "{detail}");
    let new = served.ask("POST", "/runs", "Idempotency-Key: deploy-43\r\n", &other);
    assert_ne!(first.json()["run"], new.json()["run"]);
    served.ended(first.json()["run"].as_str().expect("an id"));
    assert_eq!(served.get("/runs").json().as_array().expect("a list").len(), 2);
}

#[test]
fn c37_args_over_the_api_are_the_value_given_verbatim() {
    let served = Served::begin();
    for args in [json!("{\"looks\": \"like JSON\"}"), json!({"n": [1, 2.5, null]}), json!([]), json!(0)] {
        let body = served.submission("return args", &args);
        let answer = served.ask("POST", "/runs", "", &body);
        assert_eq!(answer.status, 201, "{}", answer.body);
        let run = answer.json()["run"].as_str().expect("an id").to_owned();
        assert!(answer.head.contains(&format!("location: /api/v1/runs/{run}")), "{}", answer.head);
        assert_eq!(served.ended(&run)["result"], args);
        assert_eq!(served.get(&format!("/runs/{run}/result")).json(), args);
    }
}

#[test]
fn what_cannot_be_is_a_problem_and_never_a_crash() {
    let served = Served::begin();
    let unknown = "/runs/wf_00000000000000000000000000";
    served.get(unknown).problem(404, "not-found");
    served.ask("POST", &format!("{unknown}/pause"), "", "").problem(404, "not-here");
    served.get("/runs/../../etc/passwd").problem(404, "not-found");
    served.get("/runs/not-a-run").problem(400, "bad-request");
    served.get("/nothing").problem(404, "not-found");
    served.get("/runs?limit=many").problem(400, "bad-request");
    for body in ["", "{", "[]", "{\"spec\": 1}", "{\"spec\": {}, \"more\": 1}"] {
        served.ask("POST", "/runs", "", body).problem(400, "bad-request");
    }
    served
        .ask("POST", "/runs", "Idempotency-Key: \r\n", &served.submission("return 1", &json!(1)))
        .problem(400, "bad-request");
    let large = "x".repeat(17 * 1024 * 1024);
    served.ask("POST", "/runs", "", &large).problem(413, "too-large");
    let mut bad = serde_json::from_str::<Value>(&served.submission("return 1", &json!(1))).expect("JSON");
    bad["spec"]["limits"]["concurrency"] = json!(0);
    let detail = served.ask("POST", "/runs", "", &bad.to_string()).problem(400, "bad-request");
    assert!(detail.contains("concurrency must be 1 to 256"), "{detail}");
    let mut bad = serde_json::from_str::<Value>(&served.submission("return 1", &json!(1))).expect("JSON");
    let nowhere = skein_common::Payload::text("x".repeat(64 * 1024)).reference_if_large().expect("is large");
    bad["spec"]["script"] = serde_json::to_value(nowhere).expect("encodes");
    served.ask("POST", "/runs", "", &bad.to_string()).problem(400, "bad-request");
    let mut bad = serde_json::from_str::<Value>(&served.submission("return 1", &json!(1))).expect("JSON");
    bad["spec"]["args"] = serde_json::to_value(skein_common::Payload::json("{no JSON")).expect("encodes");
    served.ask("POST", "/runs", "", &bad.to_string()).problem(400, "bad-request");
    // Bytes that are no HTTP at all.
    let mut stream = UnixStream::connect(served.socket()).expect("connects");
    stream.write_all(b"\x00\xff\x13\x37 nonsense\r\n\r\n").expect("writes");
    drop(stream);
    assert_eq!(served.get("/runs").json(), json!([]), "nothing was started");
}

#[test]
fn r09_a_pause_holds_a_run_and_there_is_no_other_input_while_it_runs() {
    let served = Served::begin();
    // The timer is longer than any pause takes to arrive, and shorter than the patience of a test.
    let body = served.submission("await new Promise(done => setTimeout(done, 3000)); return 'over'", &json!(null));
    let run = served.ask("POST", "/runs", "", &body).json()["run"].as_str().expect("an id").to_owned();
    let control = |action: &str| served.ask("POST", &format!("/runs/{run}/{action}"), "", "");
    assert_eq!(control("pause").status, 200, "it can be controlled as soon as it has an id");
    for other in ["args", "script", "message", "input"] {
        control(other).problem(404, "not-found");
    }
    eventually("its timer has fired, behind the pause", || {
        (served.get(&format!("/runs/{run}")).json()["elapsed_ms"].as_u64() > Some(3100)).then_some(())
    });
    assert_eq!(served.get(&format!("/runs/{run}")).json()["status"], "paused");
    assert_eq!(control("resume").status, 200);
    assert_eq!(served.ended(&run)["result"], "over");
}
