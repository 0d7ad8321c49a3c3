//! `workflow()` (C40): another script inside this one, in a realm of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use skein_common::script::{Call, CallKind, Op, Outcome, ScriptErrorKind as Kind, Start};
use skein_common::workflow::WorkflowRef;
use skein_script::HostLimits;
use support::*;

/// Runs a script whose `workflow('child')` and `workflow({scriptPath: 'child.js'})` are settled with this text.
async fn run_child(body: &str, child: &str) -> Run {
    run_child_with(body, child, first_turn(), HostLimits::default()).await
}

async fn run_child_with(body: &str, child: &str, start: Start, limits: HostLimits) -> Run {
    let answer = |call: &Call| match &call.kind {
        CallKind::Workflow { target: WorkflowRef::Name { name }, .. } if name == "child" => text(child),
        CallKind::Workflow { target: WorkflowRef::Path { path }, .. } if path == "child.js" => text(child),
        _ => echo(call),
    };
    run_with(&pool().await, &with_meta(body), start, &limits, answer).await
}

fn child(body: &str) -> String {
    format!("export const meta = {{ name: 'inner', description: 'a child' }}\n{body}")
}

fn owners(run: &Run) -> Vec<Option<u32>> {
    let owner = |call: &&Call| match &call.kind {
        CallKind::Agent { workflow, .. } => Some(*workflow),
        CallKind::Timer { .. } | CallKind::Workflow { .. } => None,
    };
    run.calls().iter().filter_map(owner).collect()
}

fn failures(run: &Run) -> Vec<(&str, &str, bool)> {
    let failure = |op: &'_ Op| matches!(op, Op::SlotFailed { .. });
    let failed = run.ops.iter().filter(|op| failure(op));
    failed
        .map(|op| match op {
            Op::SlotFailed { place, message, script_error, .. } => (place.as_str(), message.as_str(), *script_error),
            _ => panic!("another operation"),
        })
        .collect()
}

#[tokio::test]
async fn c40_a_child_runs_inline_and_gives_its_result() {
    let body = "const before = await agent('before'); const got = await workflow('child', { n: 2 })
        return [before, got, await agent('after')]";
    let run = run_child(body, &child("const a = await agent('one ' + args.n); return { a, n }")).await;
    assert_eq!(run.value(), &json!(["done: before", { "a": "done: one 2", "n": 2 }, "done: after"]));
    assert_eq!(run.prompts(), ["before", "one 2", "after"]);
    assert_eq!(owners(&run), [None, Some(2), None], "numbering runs on, and the child's agents are known as its own");
    assert_eq!(run.logs(), ["▸ child started", "▸ child done"]);
    let started: Vec<&Op> = run.ops.iter().filter(|op| matches!(op, Op::WorkflowStarted { .. })).collect();
    assert_eq!(started, [&Op::WorkflowStarted { call: 2, name: "child".to_owned() }]);
}

#[tokio::test]
async fn c40_args_are_the_childs_own_and_none_differs_from_null() {
    for (given, expected) in [
        ("'child'", json!([true, null])),
        ("'child', undefined", json!([true, null])),
        ("'child', null", json!([false, null])),
        ("'child', 0", json!([false, 0])),
        ("'child', { a: [new Date(0)] }", json!([false, { "a": ["1970-01-01T00:00:00.000Z"] }])),
        ("{ scriptPath: 'child.js' }, 'text'", json!([false, "text"])),
    ] {
        let body = format!("const got = await workflow({given}); return [got, typeof args, typeof a]");
        let run = run_child(&body, &child("return [args === undefined, args === undefined ? null : args]")).await;
        assert_eq!(run.value(), &json!([expected, "undefined", "undefined"]), "{given}");
    }
}

#[tokio::test]
async fn c40_the_realm_phase_and_meta_are_its_own() {
    let body = "phase('Ours'); globalThis.leak = 1; Array.prototype.push = () => 'ours'
        const got = await workflow({ scriptPath: 'child.js' })
        await agent('after')
        return [got, typeof childLeak, Object.prototype.polluted, got instanceof Array]";
    let inner = "phase('Theirs'); globalThis.childLeak = 1; Object.prototype.polluted = true
        const list = []; list.push(3); log('said', 1); console.warn('w'); await agent('in it')
        return [typeof leak, list]";
    let run = run_child(body, &child(inner)).await;
    assert_eq!(run.value(), &json!([["undefined", [3]], "undefined", null, true]));
    let phases: Vec<&Op> = run.ops.iter().filter(|op| matches!(op, Op::Phase { .. })).collect();
    assert_eq!(phases, [&Op::Phase { title: "Ours".to_owned() }], "the phases of a child are no groups of the run");
    let phase_of = |call: &&Call| match &call.kind {
        CallKind::Agent { phase, .. } => phase.clone(),
        CallKind::Timer { .. } | CallKind::Workflow { .. } => None,
    };
    let phases: Vec<Option<String>> = run.calls().iter().map(phase_of).collect();
    assert_eq!(phases, [None, Some("Theirs".to_owned()), Some("Ours".to_owned())]);
    assert_eq!(run.logs(), ["▸ inner started", "[inner] said 1", "[inner] [warn] w", "▸ inner done"]);
}

#[tokio::test]
async fn c40_one_level_only() {
    let inner = "try { await workflow('child') } catch (e) { return [e instanceof Error, e.message] }";
    let run = run_child("return workflow('child')", &child(inner)).await;
    let expected = json!([true, "workflow() cannot be called from within a child workflow"]);
    assert_eq!(run.value(), &expected);
    assert_eq!(run.calls().len(), 1);
}

#[tokio::test]
async fn c40_an_error_of_the_child_is_a_real_error_of_the_caller() {
    let body = "try { await workflow('child') } catch (e) {
        return [e instanceof RangeError, e instanceof Error, e.name, e.message, e.constructor === RangeError] }";
    let run =
        run_child(body, &child("const f = () => {\n  throw new RangeError('boom') }\nawait agent('x'); f()")).await;
    assert_eq!(run.value(), &json!([true, true, "RangeError", "boom", true]));
    assert_eq!(failures(&run), [("▸ child", "RangeError: boom at 3:9", true)]);
    let run = run_child(
        "await 0\nawait workflow('child')",
        &child("class Mine extends Error { name = 'Mine' }\nthrow new Mine('m')"),
    )
    .await;
    run.assert_failed(Kind::Thrown, "Mine: m");
    assert_eq!(run.error().line, Some(3), "placed where the caller called");
    let run = run_child("return workflow('child').catch(e => [e.name, e.message])", &child("throw 'text'")).await;
    assert_eq!(run.value(), &json!(["Error", "text"]));
}

#[tokio::test]
async fn c40_a_child_that_does_not_parse_is_a_syntax_error_that_can_be_caught() {
    let body = "const out = []
        for (const ref of ['child', { scriptPath: 'child.js' }]) {
          try { await workflow(ref) } catch (e) { out.push([e instanceof SyntaxError, e.message]) }
        }
        return out";
    let run = run_child(body, &child("const x = ;")).await;
    let Value::Array(errors) = run.value() else { panic!("{:?}", run.value()) };
    for (error, who) in errors.iter().zip(["workflow('child'): ", "workflow({scriptPath: 'child.js'}): "]) {
        assert_eq!(error[0], true);
        let message = error[1].as_str().unwrap();
        assert!(message.starts_with(who) && message.ends_with(" at 2:11"), "{message}");
    }
    for source in ["return 1", "export const meta = { name: f(), description: 'd' }", &child("import x from 'y'")] {
        let run = run_child("return workflow('child').catch(e => e instanceof SyntaxError)", source).await;
        assert_eq!(run.value(), &json!(true), "{source}");
    }
}

#[tokio::test]
async fn c40_a_refusal_is_an_error_of_the_caller_and_wrong_arguments_are_no_call() {
    let run = run_child("return workflow('nope').catch(e => [e instanceof Error, e.message])", "").await;
    assert_eq!(run.value(), &json!([true, "workflow('nope'): there is none"]));
    let body = "const out = []
        for (const ref of [undefined, null, '', 7, {}, { scriptPath: 1 }, () => 1, 'x'.repeat(5000)]) {
          await workflow(ref).catch(e => out.push(e instanceof TypeError))
        }
        await workflow('child', 1n).catch(e => out.push(e.message))
        return out";
    let run = run_child(body, "").await;
    let mut expected = vec![json!(true); 8];
    expected.push(json!("workflow() args cannot be JSON: the value is a BigInt, make it a string"));
    assert_eq!(run.value(), &Value::Array(expected));
    assert_eq!(run.calls().len(), 0);
}

#[tokio::test]
async fn c11_the_result_of_a_child_follows_the_rules_of_json() {
    for (given, expected) in [
        ("return new Date(0)", json!("1970-01-01T00:00:00.000Z")),
        ("", json!(null)),
        ("return [undefined, NaN, { toJSON: () => 'j' }]", json!([null, null, "j"])),
        ("return () => 1", json!("TypeError: workflow result cannot be a function")),
        ("return 1n", json!("TypeError: the result cannot be JSON: the value is a BigInt, make it a string")),
        ("return { get x() { throw new RangeError('g') } }", json!("RangeError: g")),
    ] {
        let run = run_child("return workflow('child').catch(String)", &child(given)).await;
        assert_eq!(run.value(), &expected, "{given}");
    }
}

#[tokio::test]
async fn c40_children_run_at_the_same_time_and_beside_the_caller() {
    let body =
        "return await parallel([() => workflow('child', 'a'), () => agent('beside'), () => workflow('child', 'b')])";
    let run = run_child(body, &child("const x = await agent('1' + args); return [x, await agent('2' + args)]")).await;
    assert_eq!(run.value(), &json!([["done: 1a", "done: 2a"], "done: beside", ["done: 1b", "done: 2b"]]));
    assert_eq!(run.prompts(), ["beside", "1a", "1b", "2a", "2b"]);
    assert_eq!(owners(&run), [None, Some(1), Some(3), Some(1), Some(3)]);
}

#[tokio::test]
async fn c07_a_child_sees_what_a_script_sees_and_makes_no_code_from_strings() {
    let inner = "const caught = []
        for (const f of [() => eval('1'), () => new Function('1'), () => agent.constructor('1'),
                         () => (async () => {}).constructor('1')]) { try { f() } catch (e) { caught.push(e.name) } }
        try { Date.now() } catch (e) { caught.push(e.message.includes('args')) }
        try { Math.random() } catch (e) { caught.push(e.message.includes('args')) }
        return [caught, typeof require, typeof WeakRef, typeof Atomics, typeof process, new URL('http://a/b').pathname,
                new TextEncoder().encode('é').length, structuredClone([1]), (1234.5).toLocaleString(), budget.total,
                typeof now(), await parallel([async () => 1]), await pipeline([1], x => x + 1)]";
    let start = Start { budget_total: Some(9), ..first_turn() };
    let run = run_child_with("return workflow('child')", &child(inner), start, HostLimits::default()).await;
    let evals = "EvalError";
    let expected = json!([
        [evals, evals, evals, evals, true, true],
        "undefined",
        "undefined",
        "undefined",
        "undefined",
        "/b",
        2,
        [1],
        "1,234.5",
        9,
        "number",
        [1],
        [2]
    ]);
    assert_eq!(run.value(), &expected);
}

#[tokio::test]
async fn c08_chance_goes_on_through_parent_and_child() {
    let in_child = run_child("return [random(), await workflow('child'), random()]", &child("return random()")).await;
    let alone = run("return [random(), random(), random()]").await;
    assert_eq!(in_child.value(), alone.value());
}

#[tokio::test]
async fn c07_timers_of_a_child_are_its_own() {
    let body = "let fired = 0; const t = setTimeout(() => fired++, 5); const got = await workflow('child', t)
        await new Promise(done => setTimeout(done, 9)); return [got, fired]";
    let inner = "clearTimeout(args); return new Promise(done => setTimeout(() => done(now() > 0), 1, 2))";
    assert_eq!(run_child(body, &child(inner)).await.value(), &json!([true, 1]));
}

#[tokio::test]
async fn c10_the_caps_are_shared_by_parent_and_child() {
    let loops = child("for (;;) {}");
    let limits = HostLimits { instructions: 3_000_000, ..HostLimits::default() };
    let run = run_child_with("return workflow('child').catch(() => 1)", &loops, first_turn(), limits).await;
    assert_eq!(run.error().kind, Kind::Limit, "{:?}", run.error());
    let limits = HostLimits { logs_max: 3, ..HostLimits::default() };
    let run =
        run_child_with("log('a'); await workflow('child'); log('z')", &child("log('b')"), first_turn(), limits).await;
    let marker = "log limit `logs_max` of 3 lines reached: no more are kept";
    assert_eq!(run.logs(), ["a", "▸ child started", "[child] b", marker]);
    let limits = HostLimits { source_bytes: 200, ..HostLimits::default() };
    let long = child(&"//".repeat(100));
    let run = run_child_with("return workflow('child').catch(e => e.message)", &long, first_turn(), limits).await;
    assert!(run.value().as_str().unwrap().contains("`source_bytes`"), "{:?}", run.value());
}

#[tokio::test]
async fn c12_a_child_that_nothing_can_wake_fails_the_run() {
    let run = run_child("return workflow('child')", &child("await new Promise(() => {})")).await;
    run.assert_failed(Kind::Stuck, "nothing left to wait for");
}

#[tokio::test]
async fn c28_a_rejection_of_the_child_that_the_caller_handles_is_not_reported() {
    let run = run_child("await workflow('child').catch(() => 0)", &child("throw new Error('x')")).await;
    assert_eq!(run.warnings, Vec::<String>::new());
    let run = run_child("workflow('child'); await agent('x')", &child("throw new Error('x')")).await;
    assert_eq!(run.warnings, ["unhandled rejection: Error: x"]);
}

#[tokio::test]
async fn c33_refusals_and_stops_pass_through_a_child() {
    let refused = |message: &'static str| {
        move |call: &Call| match &call.kind {
            CallKind::Workflow { .. } => text(child("return await agent('x')")),
            _ => Outcome::Error { name: "Error".to_owned(), message: message.to_owned() },
        }
    };
    let body = "return await parallel([() => workflow('child')])";
    let limits = HostLimits::default();
    let run = run_with(&pool().await, &with_meta(body), first_turn(), &limits, refused("run stopped")).await;
    run.assert_failed(Kind::Thrown, "Error: run stopped");
    assert_eq!(failures(&run), []);
    let spent = "budget exhausted: 2 of 1 tokens";
    let run = run_with(&pool().await, &with_meta(body), first_turn(), &limits, refused(spent)).await;
    assert_eq!(run.value(), &json!([null]));
    assert!(
        run.ops.iter().any(|op| matches!(op, Op::SlotFailed { place, refused: true, .. } if place == "parallel[0]"))
    );
}

#[tokio::test]
async fn c10_five_hundred_children_fit_into_the_memory_of_one_run_and_the_next_is_refused() {
    let body = "let sum = 0; for (let i = 0; i < 500; i++) sum += await workflow('child', i)
        return [sum, await workflow('child').catch(e => e.message)]";
    let run = run_child(body, &child("const big = new Array(1000).fill(args); return big[7]")).await;
    assert_eq!(run.value(), &json!([124_750, "workflow() call cap `workflows_max` of 500 reached"]));
}
