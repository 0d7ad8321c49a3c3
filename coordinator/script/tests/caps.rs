//! What a script may use up, and what may leave it (C10-C12), in real hosts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use skein_common::script::{Op, ScriptErrorKind as Kind};
use skein_script::HostLimits;
use support::*;

#[tokio::test]
async fn c10_counted_caps_end_the_run_and_name_themselves() {
    let base = HostLimits { instructions: 1_000_000, ..HostLimits::default() };
    for body in [
        "while (true) {}",
        "const f = () => {}; for (;;) { f() }",
        "try { for (;;); } catch { return 1 } finally { log('x') }",
    ] {
        let run = run_limited(body, base.clone()).await;
        let message = "the script ran more instructions than its cap `instructions` of 1000000";
        run.assert_failed(Kind::Limit, message);
        assert_eq!(run.logs().len(), 0, "{body}");
    }
    let jobs = HostLimits { jobs: 1000, ..HostLimits::default() };
    for body in ["for (;;) { await null }", "const f = () => Promise.resolve().then(f); await f()"] {
        run_limited(body, jobs.clone())
            .await
            .assert_failed(Kind::Limit, "the script ran more promise jobs than its cap `jobs` of 1000");
    }
    for body in [
        "const f = () => f() + 1; f()",
        "async function f() { await f() } await f()",
        "const f = () => [1].map(f); f()",
    ] {
        let run = run(body).await;
        run.assert_failed(Kind::Limit, "calls are nested deeper than the cap `recursion` of 400");
    }
}

#[tokio::test]
async fn c10_a_cap_that_is_passed_after_an_await_is_named_too() {
    let limits = HostLimits { instructions: 1_000_000, ..HostLimits::default() };
    let run = run_limited("await agent('a'); for (;;);", limits).await;
    run.assert_failed(Kind::Limit, "the script ran more instructions than its cap `instructions` of 1000000");
    for body in [
        "await agent('a'); const f = () => f() + 1; f()",
        "await parallel([async () => { await null; const f = () => [1].map(f); f() }])",
    ] {
        let run = support::run(body).await;
        assert!(matches!(run.error().kind, Kind::Memory | Kind::Stack), "{body}: {:?}", run.error());
    }
    let body = "const f = () => f() + 1; await agent('a').then(f)";
    support::run(body).await.assert_failed(Kind::Limit, "calls are nested deeper than the cap `recursion` of 400");
}

#[tokio::test]
async fn c10_instructions_are_counted_over_all_turns() {
    let limits = HostLimits { instructions: 200_000, ..HostLimits::default() };
    let body = "for (let i = 0; i < 100; i++) { await agent('a' + i); for (let j = 0; j < 1000; j++); }";
    let (one, two) = (run_limited(body, limits.clone()).await, run_limited(body, limits).await);
    assert_eq!(one.error().kind, Kind::Limit);
    assert!(one.calls().len() > 1 && one.calls().len() < 100);
    assert_eq!(one.calls().len(), two.calls().len());
}

#[tokio::test]
async fn c10_sizes_are_capped() {
    let pool = pool().await;
    let limits = HostLimits { source_bytes: 100, ..HostLimits::default() };
    let long = run_with(&pool, &with_meta(&"/".repeat(100)), first_turn(), &limits, echo).await;
    assert!(long.error().kind == Kind::Limit && long.error().message.contains("`source_bytes` of 100"));

    let limits = HostLimits { prompt_bytes: 10, options_bytes: 20, result_bytes: 10, ..HostLimits::default() };
    let body = "const why = []
        for (const call of [() => agent('x'.repeat(11)), () => agent(['xxxxxxxxx']), () => agent('a', { b: 'c'.repeat(20) })]) {
          await call().catch((e) => why.push(e.name + ' ' + e.message))
        }
        log(why.join('|')); return why";
    let run = run_limited(body, limits).await;
    run.assert_failed(Kind::Limit, "the result is larger than the cap `result_bytes` of 10 bytes");
    assert_eq!(
        run.logs(),
        ["RangeError agent() prompt is larger than the cap `prompt_bytes` of 10|\
          RangeError agent() prompt is larger than the cap `prompt_bytes` of 10|\
          RangeError agent() options is larger than the cap `options_bytes` of 20 bytes"]
    );
}

#[tokio::test]
async fn c10_lines_and_phases_end_with_one_marker() {
    let limits = HostLimits { logs_max: 3, phases_max: 2, ..HostLimits::default() };
    let run = run_limited("for (let i = 0; i < 9; i++) { log(i); phase(i) }", limits).await;
    let expected = [
        "0",
        "1",
        "2",
        "phase limit `phases_max` of 2 reached: no more are kept",
        "log limit `logs_max` of 3 lines reached: no more are kept",
    ];
    assert_eq!(run.logs(), expected);
    assert_eq!(run.ops.iter().filter(|op| matches!(op, Op::Phase { .. })).count(), 2);
}

#[tokio::test]
async fn c11_the_result_follows_the_rules_of_json() {
    let body = "const big = new Map(); class P { toJSON(key) { return 'as ' + key } }
        return { d: new Date(0), u: undefined, n: NaN, i: -Infinity, f() {}, s: Symbol('x'), p: new P(), list: [undefined, () => 1, , new P()],
          r: /x/, e: new Error('x'), neg: -0, num: new Number(3), str: new String('q'), bool: new Boolean(false), int: 1e21,
          big: 9007199254740993, x: 0.1, 2: 'two', 1: 'one', ['__proto__']: 5, sur: 'a\\ud800', typed: new Uint8Array([1, 2]),
          proxied: new Proxy([1, 2], {}), trapped: new Proxy({ a: 1 }, { ownKeys: () => ['a'] }), get got() { return 7 } }";
    let expected = json!({
        "1": "one", "2": "two", "d": "1970-01-01T00:00:00.000Z", "n": null, "i": null, "p": "as p",
        "list": [null, null, null, "as 3"], "r": {}, "e": {}, "neg": 0, "num": 3, "str": "q", "bool": false,
        "int": 1e21, "big": 9007199254740992_u64, "x": 0.1, "__proto__": 5, "sur": "a\u{fffd}",
        "typed": {"0": 1, "1": 2}, "proxied": [1, 2], "trapped": {"a": 1}, "got": 7
    });
    let run = run(body).await;
    assert_eq!(run.value(), &expected);
    assert_eq!(run.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn c11_collections_become_empty_with_a_warning() {
    let run = run("return { a: [new Map([[1, 2]])], s: new Set([1]) }").await;
    assert_eq!(run.value(), &json!({"a": [{}], "s": {}}));
    let warned = [
        "`a[0]` is a Map, which is {} in JSON: convert it first",
        "`s` is a Set, which is {} in JSON: convert it first",
    ];
    assert_eq!(run.warnings, warned);
}

#[tokio::test]
async fn c11_what_cannot_be_json_fails_the_run() {
    run("return () => 1").await.assert_failed(Kind::Serialization, "workflow result cannot be a function");
    run("return { a: [1n] }")
        .await
        .assert_failed(Kind::Serialization, "the result cannot be JSON: `a[0]` is a BigInt, make it a string");
    run("const o = { a: {} }; o.a.b = o; return o")
        .await
        .assert_failed(Kind::Serialization, "the result cannot be JSON: `a.b` is a cycle");
    run("return { get a() { throw new Error('got') } }").await.assert_failed(Kind::Thrown, "Error: got");
    assert_eq!(run("return Symbol('x')").await.value(), &json!(null));
}

#[tokio::test]
async fn c11_a_hundred_levels_cross_the_boundary_and_no_more() {
    let nest = |depth: usize| format!("let a = 1; for (let i = 0; i < {depth}; i++) a = [a]; ");
    assert!(run(&format!("{} return a", nest(100))).await.end.is_ok());
    run(&format!("{} return a", nest(101)))
        .await
        .assert_failed(Kind::Serialization, "the result is nested deeper than 100 levels");
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let depth = "let n = 0; for (let a = args; Array.isArray(a); a = a[0]) n++; return n";
    assert_eq!(run_args(depth, &deep).await.value(), &json!(100));
}

#[tokio::test]
async fn c12_a_script_that_nothing_can_settle_fails_at_once() {
    run("await new Promise(() => {})").await.assert_failed(Kind::Stuck, "nothing left to wait for");
    run("await agent('a'); await new Promise(() => {})").await.assert_failed(Kind::Stuck, "nothing left to wait for");
}
