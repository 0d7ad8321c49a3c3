//! What is read over the API in parts or again: pages of runs, scripts that are known already, a look at a script.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::eventually;
use skein_tests::served::{Answer, Served};
use skein_tests::system::spec;

/// A run that has ended as its script says.
fn run(served: &Served, body: &str) -> String {
    let answer = served.ask("POST", "/runs", &json!({ "spec": spec(body) }).to_string());
    let run = answer.json()["run"].as_str().expect("an id").to_owned();
    eventually("the run ends", || {
        let view = served.ask("GET", &format!("/runs/{run}"), "").json();
        ["completed", "failed"].iter().any(|end| view["status"] == *end).then_some(())
    });
    run
}

fn ids(answer: &Answer) -> Vec<String> {
    let runs = answer.json();
    let id = |view: &Value| view["run"].as_str().expect("an id").to_owned();
    runs.as_array().expect("a list").iter().map(id).collect()
}

/// Where the answer says that the next page is.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.head.lines().find_map(|line| line.strip_prefix("link: "))?;
    let path = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
    Some(format!("/runs{}", path.expect("a link to the next page")))
}

#[test]
fn runs_come_in_pages_that_new_runs_do_not_move() {
    let served = Served::default();
    let mut all: Vec<String> = (0..5).map(|number| run(&served, &format!("return {number}"))).collect();
    all.reverse();
    let first = served.ask("GET", "/runs?limit=2", "");
    assert_eq!(ids(&first), all[..2]);
    run(&served, "return 'new'");
    let second = served.ask("GET", &next(&first).expect("there are more"), "");
    assert_eq!(ids(&second), all[2..4]);
    let third = served.ask("GET", &next(&second).expect("there are more"), "");
    assert_eq!((ids(&third), next(&third)), (all[4..].to_vec(), None), "the last page");
    assert_eq!(next(&served.ask("GET", "/runs?limit=6", "")), None, "all of them fit");
    for bad in ["cursor=x", "cursor=", "state=done", "limit=-1", "limit=x", "page=2"] {
        let _detail = served.ask("GET", &format!("/runs?{bad}"), "").problem(400, "bad-request");
    }
}

#[test]
fn runs_are_chosen_by_how_they_stand() {
    let served = Served::default();
    let good: Vec<String> = (0..3).map(|_| run(&served, "return 1")).collect();
    let bad = run(&served, "throw new Error('x')");
    let newest = run(&served, "return 1");
    assert_eq!(ids(&served.ask("GET", "/runs?state=failed", "")), [bad]);
    let page = served.ask("GET", "/runs?state=completed&limit=2", "");
    assert_eq!(ids(&page), [&newest, &good[2]].map(Clone::clone));
    let page = served.ask("GET", &next(&page).expect("there are more"), "");
    assert_eq!((ids(&page), next(&page)), (vec![good[1].clone(), good[0].clone()], None));
    assert_eq!(ids(&served.ask("GET", "/runs?state=completed,failed", "")).len(), 5);
    assert_eq!(ids(&served.ask("GET", "/runs?state=running,paused", "")), Vec::<String>::new());
}

#[test]
fn a_script_that_is_known_is_not_sent_again() {
    let served = Served::default();
    let (one, other) = (run(&served, "return 1"), run(&served, "return 2"));
    let script = |run: &str, known: &str| {
        let (host, token) = (format!("Host: {}", served.address), format!("Authorization: Bearer {}", served.token()));
        let known = format!("If-None-Match: {known}");
        served.with_headers("GET", &format!("/api/v1/runs/{run}/script"), &[&host, &token, &known], "")
    };
    let answer = script(&one, "\"x\"");
    assert!(answer.status == 200 && answer.body.ends_with("return 1"), "{}", answer.body);
    let tag = answer.head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag").to_owned();
    for known in [tag.as_str(), "*", &format!("\"x\", W/{tag}")] {
        let answer = script(&one, known);
        assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{known}");
    }
    for known in ["no tag", "\"x\""] {
        assert_eq!(script(&one, known).status, 200, "{known}");
    }
    assert_eq!(script(&other, &tag).status, 200, "another text");
}

#[test]
fn c08_a_look_at_a_script_finds_what_check_finds_and_runs_nothing() {
    let served = Served::default();
    let meta = "export const meta = { name: 'test', description: 'a test' }\n";
    let look = |script: &str| served.ask("POST", "/check", &json!({ "script": script }).to_string());
    for body in ["return 1", "const t = Date.now()", "return 1 +", "while (true) {}"] {
        let script = format!("{meta}{body}");
        let there = look(&script).json();
        served.skein.write("w.js", &script);
        let here = served.skein.run(["check", "w.js", "--json"]).json();
        for field in ["ok", "meta", "error", "findings"] {
            assert_eq!(there[field], here[field], "{field} of {body}");
        }
    }
    assert_eq!(look(meta).json()["ok"], true);
    let _detail = served.ask("POST", "/check", "{\"script\": \"\", \"args\": 1}").problem(400, "bad-request");
    let _detail = served.ask("POST", "/check", "{}").problem(400, "bad-request");
    let _detail = look(&"x".repeat(17 * 1024 * 1024)).problem(413, "too-large");
    assert_eq!(served.ask("GET", "/runs", "").json(), json!([]), "nothing was started");
}
