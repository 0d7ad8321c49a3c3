//! The example `redis-bigkey` on real Redis servers, and what it says when there is nothing to read.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::redis::Redis;
use skein_tests::{Ended, Skein, project_dir};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

/// One string, one sorted set, one set and one list; seed 1 is a hash.
const SEEDS: [u32; 4] = [2, 3, 4, 6];

fn example() -> PathBuf {
    project_dir().join("examples/redis-bigkey/redis-bigkey.js")
}

/// What the question of the incident took for granted.
fn question() -> Value {
    json!({ "source": "aof", "reads_per_second": 200, "read_ms": 180, "qps": 100_000 })
}

fn find(skein: &Skein, nodes: &[String]) -> Value {
    let args = json!({ "nodes": nodes, "question": question() }).to_string();
    skein.run_json(&example(), &["--args", &args]).completed()["result"].clone()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

/// Key, command, place and client are the planted ones; nothing harmless is blamed.
fn assert_found(found: &Value, redis: &Redis, what: &str) {
    let planted = &redis.answers;
    assert_eq!(found["kind"], "big_key", "{what}: {found:#}");
    for key in ["key", "type", "command"] {
        assert_eq!(found[key], planted[key], "{what}: {key}");
    }
    assert_eq!(found["elements"], planted["elements"], "{what}");
    assert_eq!(found["node"], format!("127.0.0.1:{}", planted["port"]), "{what}");
    assert!(texts(&found["clients"]).contains(&planted["client"].as_str().expect("a client")), "{what}: {found:#}");
    let (bytes, exact) = (found["bytes"].as_f64().expect("bytes"), planted["memory_bytes"].as_f64().expect("bytes"));
    assert!((bytes / exact - 1.0).abs() < 0.2, "{what}: sampled {bytes}, exact {exact}");
    let harmless = planted["innocent"].as_object().expect("keys");
    for innocent in found["innocent"].as_array().expect("a list") {
        let key = innocent["key"].as_str().expect("a key");
        assert!(harmless.contains_key(key), "{what}: {key}");
    }
}

/// The question is held against what was measured.
fn assert_corrected(found: &Value, what: &str) {
    let corrections = texts(&found["corrections"]);
    for part in ["holds writes only", "at 180 ms at most 5.6 can be; measured:", "100000 commands a second"] {
        assert!(corrections.iter().any(|line| line.contains(part)), "{what}: {part}: {corrections:?}");
    }
}

fn assert_complete(found: &Value, what: &str) {
    assert_eq!(found["confidence"], "high", "{what}: {found:#}");
    assert_eq!(found["coverage"], json!({ "targeted": 6, "read": 6, "unread": [], "partly": [] }), "{what}");
    let checks = &found["checks"][0]["checks"];
    for check in ["memory", "slowlog", "clients"] {
        assert_eq!(checks[check]["verdict"], "for", "{what}: {check}");
    }
    let plan = texts(&found["plan"]);
    assert!(plan.iter().any(|step| step.contains("UNLINK")) && plan.len() >= 4, "{what}: {plan:?}");
}

#[test]
fn the_big_key_of_a_cluster_is_found_and_the_question_is_corrected() {
    let skein = Skein::new();
    let mut redis = Redis::start(1, "cluster");
    redis.let_clients_read();
    let found = find(&skein, &redis.nodes());
    assert_found(&found, &redis, "seed 1");
    assert_complete(&found, "seed 1");
    assert_corrected(&found, "seed 1");
    let suspects = found["checks"].as_array().expect("checks");
    assert!(suspects.iter().all(|suspect| suspect["key"] != "item:1*"), "a pattern is no key");
    let masters = [0, 2, 4].map(|offset| format!("127.0.0.1:{}", redis.first_port + offset));
    let of_masters = |suspect: &Value| masters.iter().any(|master| suspect["node"] == *master);
    assert!(suspects.iter().all(of_masters), "replicas hold the same keys: {suspects:?}");
}

#[test]
fn other_keys_types_and_clients_are_found_as_well() {
    for seed in SEEDS {
        let skein = Skein::new();
        let mut redis = Redis::start(seed, "standalone");
        redis.let_clients_read();
        let found = find(&skein, &redis.nodes());
        let what = format!("seed {seed} ({})", redis.answers["type"]);
        assert_found(&found, &redis, &what);
        assert_complete(&found, &what);
        assert_corrected(&found, &what);
    }
}

#[test]
fn without_slow_reads_nobody_is_blamed_and_a_node_that_is_down_or_locked_is_named() {
    let skein = Skein::new();
    let redis = Redis::start(1, "standalone");
    let quiet = find(&skein, &redis.nodes());
    assert_eq!((&quiet["kind"], &quiet["key"]), (&json!("no_fault"), &Value::Null), "{quiet:#}");
    let innocent = quiet["innocent"].as_array().expect("a list");
    assert!(innocent.iter().any(|it| it["key"] == redis.answers["key"]), "large, but nobody reads it: {innocent:?}");

    let [second, third] = [redis.first_port + 1, redis.first_port + 2];
    redis.end(second);
    redis.ask(third, &["CONFIG", "SET", "requirepass", "secret"]);
    let found = find(&skein, &redis.nodes());
    let unread = json!([
        { "node": format!("127.0.0.1:{second}"), "outcome": "connect_refused" },
        { "node": format!("127.0.0.1:{third}"), "outcome": "auth" },
    ]);
    assert_eq!(found["coverage"]["unread"], unread);
    assert_eq!(found["kind"], "unknown", "what was not read may be the one: {found:#}");

    let args = json!({ "nodes": [format!("127.0.0.1:{third}")] }).to_string();
    let script = example();
    let line = ["run", script.to_str().expect("a path"), "--yes", "--json", "--args", &args];
    for (password, unread) in [("wrong", json!(["auth"])), ("secret", json!([]))] {
        let output = skein.command(line).env("REDISCLI_AUTH", password).output().expect("runs");
        let view = Ended::from(output).completed();
        let outcomes: Vec<&Value> =
            view["result"]["coverage"]["unread"].as_array().expect("a list").iter().map(|it| &it["outcome"]).collect();
        assert_eq!(json!(outcomes), unread, "{password}");
        assert!(!view.to_string().contains(password) || password == "wrong", "no password in the record");
    }
}

#[test]
fn a_port_where_no_redis_answers_is_named_for_what_it_is() {
    let skein = Skein::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answering = std::thread::spawn(move || {
        // The scan asks once; it is answered in another tongue.
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().expect("a client");
        let _asked = stream.read(&mut [0; 512]);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("answers");
    });
    let found = find(&skein, &[format!("127.0.0.1:{port}"), String::from("nowhere.invalid:6379")]);
    answering.join().expect("ends");
    let outcomes: Vec<&Value> =
        found["coverage"]["unread"].as_array().expect("a list").iter().map(|it| &it["outcome"]).collect();
    assert_eq!(outcomes, ["not_redis", "no_such_host"]);
    assert_eq!((&found["kind"], &found["confidence"]), (&json!("unknown"), &json!("low")));
    assert!(texts(&found["plan"])[0].contains("make the nodes readable"));
}

#[test]
fn what_is_no_list_of_nodes_is_refused_before_any_agent() {
    let skein = Skein::new();
    for args in ["{}", r#"{"nodes":[]}"#, r#"{"nodes":["10.0.0.1"]}"#, r#"{"nodes":["a:1; rm -rf /:1"]}"#] {
        let (view, error) = skein.run_json(&example(), &["--args", args]).failed();
        assert!(error["message"].as_str().expect("text").contains("args.nodes must list the nodes"), "{args}: {error}");
        assert_eq!(view["agents"]["started"], 0, "{args}");
    }
}
