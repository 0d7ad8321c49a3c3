//! The language and the globals of C4-C12, in real hosts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use skein_common::script::{CallKind, Op, ScriptErrorKind as Kind, Start};
use skein_script::HostLimits;
use support::*;

#[tokio::test]
async fn c04_the_returned_value_is_the_result_and_no_return_is_null() {
    assert_eq!(
        run("const x = await agent('one'); return { x, n: 1 }").await.value(),
        &json!({"x": "done: one", "n": 1})
    );
    assert_eq!(run("await null").await.value(), &json!(null));
    assert_eq!(run("return").await.value(), &json!(null));
}

#[tokio::test]
async fn c04_the_body_is_strict() {
    let run = run("try { undeclared = 1 } catch (e) { return [e.name, this === globalThis, typeof arguments] }").await;
    assert_eq!(run.value(), &json!(["ReferenceError", true, "undefined"]));
}

#[tokio::test]
async fn c05_require_is_an_undeclared_name() {
    assert_eq!(run("try { require('x') } catch (e) { return e.name }").await.value(), &json!("ReferenceError"));
}

#[tokio::test]
async fn c06_an_uncaught_error_has_message_place_stack_and_line() {
    let run = run("function boom(x) {\n  throw new TypeError('bad ' + x)\n}\nawait agent('a')\nboom(1)").await;
    let error = run.error();
    assert_eq!((error.kind, error.message.as_str(), error.line), (Kind::Thrown, "TypeError: bad 1", Some(3)));
    assert_eq!(error.source_line.as_deref(), Some("  throw new TypeError('bad ' + x)"));
    let stack = error.stack.as_deref().unwrap();
    assert!(stack.starts_with("at boom (workflow.js:3:") && stack.contains("workflow.js:6:"), "{stack}");
}

#[tokio::test]
async fn c06_errors_of_the_engine_and_of_our_globals_have_a_place_too() {
    for (body, name) in [
        ("const x = 1\nnull.foo", "TypeError"),
        ("const x = 1\nnope()", "ReferenceError"),
        ("const x = 1\nx.nope()", "TypeError"),
        ("const x = 1\nawait parallel(5)", "TypeError"),
        ("const x = 1\nawait agent('')", "TypeError"),
        ("const x = 1\nsetTimeout(5)", "TypeError"),
        ("const x = 1\nDate.now()", "Error"),
        ("const x = 1\nlog(nope)", "ReferenceError"),
        ("const x = { nope: 1 }.nope\nconst y = [x, { nope }]", "ReferenceError"),
        ("await agent('a')\nnope = 1", "ReferenceError"),
        ("const f = () =>\n  nope\nawait agent('a')\nf()", "ReferenceError"),
    ] {
        let run = run(body).await;
        let error = run.error();
        assert!(error.message.starts_with(&format!("{name}: ")), "{body}: {error:?}");
        assert_eq!(error.line, Some(3), "{body}: {error:?}");
        assert!(!error.stack.as_deref().unwrap().contains("prelude"), "{error:?}");
    }
}

#[tokio::test]
async fn c06_every_line_end_counts() {
    let pool = pool().await;
    for end in ["\n", "\r\n", "\r", "\u{2028}"] {
        let source = format!("{META}{end}const x = 1{end}throw new Error('no')");
        let run = run_with(&pool, &source, first_turn(), &HostLimits::default(), echo).await;
        assert_eq!((run.error().line, run.error().source_line.as_deref()), (Some(3), Some("throw new Error('no')")));
    }
}

#[tokio::test]
async fn c06_anything_can_be_thrown() {
    for (thrown, message) in [
        ("'plain'", "Error: plain"),
        ("null", "Error: null"),
        ("undefined", "Error: undefined"),
        ("5", "Error: 5"),
        ("{ code: 5 }", "Error: {\"code\":5}"),
        ("Object.assign(new Error('m'), { name: 'Custom' })", "Custom: m"),
        ("new (class Mine extends RangeError {})('m')", "RangeError: m"),
        ("new Error('')", "Error"),
        ("{ get message() { throw 1 } }", "Error: [object]"),
    ] {
        run(&format!("throw {thrown}")).await.assert_failed(Kind::Thrown, message);
    }
}

#[tokio::test]
async fn c07_what_a_script_must_not_see_is_undefined() {
    let names = "process require Buffer Deno Bun window self setInterval setImmediate queueMicrotask crypto fetch \
                 WebAssembly Atomics SharedArrayBuffer WeakRef FinalizationRegistry Temporal Intl module exports \
                 global performance navigator meta arguments";
    let body = format!("return '{names}'.split(/ +/).filter((n) => typeof globalThis[n] !== 'undefined')");
    assert_eq!(run(&body).await.value(), &json!([]));
    let direct: Vec<_> = names.split_whitespace().map(|name| format!("typeof {name}")).collect();
    let run = run(&format!("return [...new Set([{}])]", direct.join(","))).await;
    assert_eq!(run.value(), &json!(["undefined"]));
}

#[tokio::test]
async fn c07_what_a_script_sees_is_there() {
    let names = "agent parallel pipeline phase log args budget console setTimeout clearTimeout now random URL \
                 TextEncoder TextDecoder structuredClone Map Promise Proxy Reflect Symbol WeakMap BigInt";
    let body = format!("return '{names}'.split(/ +/).filter((n) => !(n in globalThis))");
    assert_eq!(run(&body).await.value(), &json!([]));
    let body = "const u = new URL('/a?b=1', 'https://x.test:8080'); \
                return [u.href, u.port, new TextDecoder().decode(new TextEncoder().encode('é')), \
                        structuredClone({ a: [1, { b: 2 }] })]";
    let expected = json!(["https://x.test:8080/a?b=1", "8080", "é", {"a": [1, {"b": 2}]}]);
    assert_eq!(run(body).await.value(), &expected);
}

#[tokio::test]
async fn c07_code_from_strings_is_refused_through_any_chain() {
    let body = "const seen = new Set()
        const attempt = (f) => { try { seen.add('ran ' + f()) } catch (e) { seen.add(e.name + ': ' + e.message) } }
        const p = agent('a'), r = await p, args2 = (await pipeline([1], (x) => x))
        attempt(() => eval('1')); attempt(() => (0, eval)('1')); attempt(() => Function('return 1')())
        attempt(() => new Function('return 1')())
        for (const f of [async () => 1, function* () {}, async function* () {}, agent, parallel, log, budget.spent,
                         console.log, setTimeout, p.then, r.constructor, args2.constructor, URL, structuredClone,
                         new Error('x').constructor, Date]) {
          attempt(() => f.constructor('return 1')()); attempt(() => f.constructor.constructor('return 1')())
        }
        return [...seen]";
    let expected = json!(["EvalError: Code generation from strings disallowed for this context"]);
    assert_eq!(run(body).await.value(), &expected);
}

#[tokio::test]
async fn c07_console_goes_to_the_log() {
    let body = "console.log('a', { b: [1, undefined] }); console.info(1); console.debug(null, undefined)
        console.warn('w'); console.error(new TypeError('t')); console.log()
        const o = {}; o.o = o; log(o, 10n, Symbol('s'), () => 1, NaN, [1n], { get x() { throw 1 } })";
    assert_eq!(
        run(body).await.logs(),
        [
            "a {\"b\":[1,null]}",
            "1",
            "null undefined",
            "[warn] w",
            "[error] TypeError: t",
            "",
            "{\"o\":\"[circular]\"} 10n Symbol(s) [function] NaN [\"1n\"] [object]",
        ]
    );
}

#[tokio::test]
async fn c07_timers_are_calls_in_order() {
    let body = "const got = []
        const t = setTimeout((...a) => got.push(a), 50, 'x', 1); setTimeout(() => got.push('never'), 10.9)
        clearTimeout(t + 1); clearTimeout(t + 1); clearTimeout(999); clearTimeout(undefined); clearTimeout('x')
        await new Promise((resolve) => setTimeout(resolve, -5)); setTimeout(() => {}, NaN)
        return got";
    let run = run(body).await;
    assert_eq!(run.value(), &json!([["x", 1]]));
    let delays: Vec<_> = run.calls().iter().map(|call| call.kind.clone()).collect();
    let timer = |delay_ms| CallKind::Timer { delay_ms };
    assert_eq!(delays, [timer(50), timer(10), timer(0), timer(0)]);
    assert_eq!(run.ops.iter().filter(|op| matches!(op, Op::ClearTimer { call: 2 })).count(), 1);
}

#[tokio::test]
async fn c07_a_timer_lasts_at_most_a_day_and_its_callbacks_throw_fails_the_run() {
    let body = "setTimeout(() => {}, 86400000); setTimeout(() => {}, 86400001)";
    run(body).await.assert_failed(Kind::Thrown, "RangeError: setTimeout() takes at most 24 hours");
    let body = "setTimeout(() => { throw new Error('late') }, 1); await new Promise(() => {})";
    run(body).await.assert_failed(Kind::Thrown, "Error: late");
}

#[tokio::test]
async fn c08_clocks_and_randomness_throw_through_every_alias() {
    let body = "const seen = new Set(), D = Date, { now: dateNow } = Date, M = Math
        const attempt = (f) => { try { seen.add('ran ' + f()) } catch (e) { seen.add(e.message) } }
        attempt(() => Date.now()); attempt(() => new Date()); attempt(() => Date()); attempt(() => Date(5))
        attempt(() => dateNow()); attempt(() => new D()); attempt(() => D['now']()); attempt(() => new (class extends Date {})())
        attempt(() => new (new Date(0)).constructor()); attempt(() => Reflect.construct(Date, []))
        attempt(() => Object.getOwnPropertyDescriptor(Date, 'now').value())
        attempt(() => Object.getOwnPropertyDescriptor(globalThis, 'Date').value())
        attempt(() => new (structuredClone(new Date(0)).constructor)())
        const dates = [...seen]; seen.clear()
        attempt(() => Math.random()); attempt(() => M['random']())
        attempt(() => Object.getOwnPropertyDescriptor(Math, 'random').value())
        return [dates, [...seen]]";
    let expected = json!([
        [
            "Date.now() / new Date() are unavailable in workflow scripts (breaks resume). Pass the value in `args`, or use now()."
        ],
        [
            "Math.random() is unavailable in workflow scripts (breaks resume). Pass the value in `args`, or use random()."
        ]
    ]);
    assert_eq!(run(body).await.value(), &expected);
}

#[tokio::test]
async fn c08_given_times_work_and_the_zone_is_utc() {
    let body = "class E extends Date { get y() { return this.getFullYear() } }
        const d = new Date(0)
        return [d.toISOString(), Date.UTC(2026, 0, 31), Date.parse('2026-11-22'), d.getTimezoneOffset(), d.toString(),
                new E(0).y, new E(0) instanceof Date, d instanceof Date, new Date('2026-01-01T00:00').getTime(),
                Date.name, Date.length, new Date(d).getTime()]";
    let expected = json!([
        "1970-01-01T00:00:00.000Z",
        1769817600000_i64,
        1795305600000_i64,
        0,
        "Thu Jan 01 1970 00:00:00 GMT+0000",
        1970,
        true,
        true,
        1767225600000_i64,
        "Date",
        7,
        0
    ]);
    assert_eq!(run(body).await.value(), &expected);
}

#[tokio::test]
async fn c08_now_is_the_time_of_the_event_and_random_follows_the_seed() {
    let pool = pool().await;
    let source = with_meta("const a = [now()]; await agent('x'); a.push(now(), now()); return [a, random(), random()]");
    let with_seed = async |seed| {
        let start = Start { seed, ..first_turn() };
        let (mut host, _) = pool.load(&source, &HostLimits::default()).await.unwrap();
        host.start(start).await;
        let later = skein_common::script::Settlement { now_ms: NOW_MS + 5, ..settlement(1, text("t")) };
        format!("{:?}", host.settle(vec![later]).await)
    };
    let (one, again, other) = (with_seed(1).await, with_seed(1).await, with_seed(2).await);
    assert!(one.contains("[1700000000000,1700000000005,1700000000005]"), "{one}");
    assert_eq!(one, again);
    assert_ne!(one, other);
}

#[tokio::test]
async fn c09_globals_may_be_replaced_and_the_host_keeps_the_originals() {
    let body = "globalThis.agent = () => 'mine'; delete globalThis.log; budget = 5; parallel.x = 1
        const pipeline = 3; Promise.all = null; Array.prototype.push = null; WeakSet.prototype.has = () => true
        Promise.prototype.then = () => { throw 1 }; Array.isArray = () => false; Object.keys = null; Reflect.apply = null
        return [agent(), typeof log, budget, pipeline, await parallel([() => 1, () => { throw new Error('x') }])]";
    let run = run(body).await;
    assert_eq!(run.value(), &json!(["mine", "undefined", 5, 3, [1, null]]));
    assert!(run.ops.contains(&Op::SlotFailed {
        place: "parallel[1]".to_owned(),
        message: "x".to_owned(),
        script_error: false,
        refused: false
    }));
}

#[tokio::test]
async fn c09_pollution_does_not_reach_what_the_host_reads() {
    let body =
        "Object.prototype.model = 'evil'; Object.prototype.toJSON = () => 'evil'; Array.prototype.toJSON = () => 'evil'
        Object.defineProperty(Object.prototype, 'schema', { get() { throw 1 }, configurable: true })
        const r = await agent('a', { label: 'x', tools: ['y'] })
        delete Object.prototype.schema
        return { r, list: [1] }";
    let run = run(body).await;
    let CallKind::Agent { options, .. } = &run.calls()[0].kind else { panic!() };
    assert_eq!(options.as_deref(), Some("{\"label\":\"x\",\"tools\":[\"y\"]}"));
    assert_eq!(run.value(), &json!({"r": "done: a", "list": [1]}));
}

#[tokio::test]
async fn c06_a_place_that_the_engine_does_not_know_is_left_out() {
    let run = run("const x = 1\nx = 2").await;
    assert!(run.error().line.is_none_or(|line| line == 3), "{:?}", run.error());
}

#[tokio::test]
async fn c28_only_rejections_never_handled_are_warned_of() {
    let body = "const late = Promise.reject(new Error('handled later')); Promise.reject(new TypeError('lost'))
        agent('fail: not awaited'); await agent('x'); await late.catch(() => 0); return 1";
    let run = run(body).await;
    assert_eq!(run.warnings, ["unhandled rejection: TypeError: lost", "unhandled rejection: Error: agent failed"]);
}

#[tokio::test]
async fn c28_an_agent_that_was_never_awaited_does_not_hold_the_script() {
    let run = run("agent('a'); setTimeout(() => log('never'), 5); return 1").await;
    assert_eq!((run.value(), run.calls().len(), run.logs().len()), (&json!(1), 2, 0));
}
