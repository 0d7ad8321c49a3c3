//! `agent`, `parallel`, `pipeline`, `phase`, `args`, `budget` (C20-C38), in real hosts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use skein_common::script::{Call, CallKind, Op, Outcome, ScriptErrorKind as Kind, Settlement, Start, TurnEnd};
use skein_script::HostLimits;
use support::*;

fn options_of(call: &Call) -> (Option<&str>, bool) {
    match &call.kind {
        CallKind::Agent { options, options_not_object, .. } => (options.as_deref(), *options_not_object),
        CallKind::Timer { .. } | CallKind::Workflow { .. } => panic!("no agent"),
    }
}

fn lost(place: &str, message: &str, script_error: bool, refused: bool) -> Op {
    Op::SlotFailed { place: place.to_owned(), message: message.to_owned(), script_error, refused }
}

fn cap_error() -> Outcome {
    Outcome::Error {
        name: "WorkflowAgentCapError".to_owned(),
        message: "Workflow agent() call cap reached (1000).".to_owned(),
    }
}

async fn run_answered(body: &str, answer: impl Fn(&Call) -> Outcome) -> Run {
    run_with(&pool().await, &with_meta(body), first_turn(), &HostLimits::default(), answer).await
}

#[tokio::test]
async fn c20_results_are_text_or_values_with_their_keys_in_order() {
    let answer = |call: &Call| match prompt_of(call) {
        "json" => Outcome::Json { json: r#"{"b":1,"a":[{"__proto__":2}],"1":0.1,"n":null,"t":"é"}"#.to_owned() },
        "null" => Outcome::Null,
        other => text(other),
    };
    let body = "const j = await agent('json')
        return [Object.keys(j), Object.keys(j.a[0]), Object.getPrototypeOf(j.a[0]) === Object.prototype, j['1'],
                await agent('null'), await agent('text'), agent('x') instanceof Promise]";
    let run = run_answered(body, answer).await;
    assert_eq!(run.value(), &json!([["1", "b", "a", "n", "t"], ["__proto__"], true, 0.1, null, "text", true]));
}

#[tokio::test]
async fn c22_rejections_are_real_errors_of_the_realm() {
    let answer = |call: &Call| match prompt_of(call) {
        "cap" => cap_error(),
        name => Outcome::Error { name: name.to_owned(), message: "m".to_owned() },
    };
    let body = "const out = []
        for (const p of ['TypeError', 'Error', 'cap', 'Custom']) {
          await agent(p).catch((e) => out.push([e instanceof Error, e instanceof TypeError, e.name, e.message, Object.keys(e)]))
        }
        return out";
    let run = run_answered(body, answer).await;
    let expected = json!([
        [true, true, "TypeError", "m", []],
        [true, false, "Error", "m", []],
        [true, false, "WorkflowAgentCapError", "Workflow agent() call cap reached (1000).", []],
        [true, false, "Custom", "m", []]
    ]);
    assert_eq!(run.value(), &expected);
}

#[tokio::test]
async fn c22_an_uncaught_refusal_fails_the_run_under_its_name() {
    let run = run_answered("const x = 1\nawait agent('a')", |_| cap_error()).await;
    run.assert_failed(Kind::Thrown, "WorkflowAgentCapError: Workflow agent() call cap reached (1000).");
    assert_eq!((run.error().line, run.error().source_line.as_deref()), (Some(3), Some("await agent('a')")));
}

#[tokio::test]
async fn c23_prompts_become_strings() {
    let body = "agent({ a: [1, { b: 'c' }] }); agent([1]); agent(42); agent(null); agent(true); agent(' ')
        agent(new Date(0)); agent(10n); agent({ toJSON: () => 'j' })";
    let expected =
        ["{\"a\":[1,{\"b\":\"c\"}]}", "[1]", "42", "null", "true", " ", "\"1970-01-01T00:00:00.000Z\"", "10", "\"j\""];
    assert_eq!(run(body).await.prompts(), expected);
}

#[tokio::test]
async fn c23_no_prompt_is_a_rejected_type_error_and_no_call() {
    let body = "const out = []
        for (const args of [[], [undefined], [''], [Symbol('x')], [{ a: 1n }], [(() => { const o = {}; o.o = o; return o })()]]) {
          const p = agent(...args)
          await p.catch((e) => out.push(e instanceof TypeError && p instanceof Promise))
        }
        return out";
    let run = run(body).await;
    assert_eq!(run.value(), &json!([true, true, true, true, true, true]));
    assert_eq!(run.calls().len(), 0);
}

#[tokio::test]
async fn c23_options_are_data_with_finite_numbers() {
    let body = "agent('1'); agent('2', undefined); agent('3', {}); agent('4', 'x'); agent('5', null); agent('6', [1])
        agent('7', () => 1); agent('8', { b: 1, a: { f() {}, u: undefined, s: Symbol('x'), l: [undefined] }, label: 'x' })
        const out = []
        for (const bad of [{ retries: NaN }, { schema: { minimum: Infinity } }, { a: 1n }, { get a() { throw new RangeError('got') } }]) {
          await agent('bad', bad).catch((e) => out.push(e.name + ': ' + e.message))
        }
        return out";
    let run = run(body).await;
    let options: Vec<_> = run.calls().into_iter().map(options_of).collect();
    let expected = [
        (None, false),
        (None, false),
        (Some("{}"), false),
        (None, true),
        (None, true),
        (None, true),
        (None, true),
        (Some("{\"b\":1,\"a\":{\"l\":[null]},\"label\":\"x\"}"), false),
    ];
    assert_eq!(options, expected);
    let errors = json!([
        "TypeError: agent() options: `retries` must be a finite number",
        "TypeError: agent() options: `schema.minimum` must be a finite number",
        "TypeError: agent() options cannot be JSON: `a` is a BigInt, make it a string",
        "RangeError: got"
    ]);
    assert_eq!(run.value(), &errors);
}

#[tokio::test]
async fn c25_the_current_phase_travels_with_the_call() {
    let body = "agent('a'); phase('X'); agent('b', { phase: 'Y' }); agent('c'); phase(5); phase(); agent('d')";
    let run = run(body).await;
    let phases: Vec<_> = run
        .calls()
        .iter()
        .map(|call| match &call.kind {
            CallKind::Agent { phase, .. } => phase.clone(),
            CallKind::Timer { .. } | CallKind::Workflow { .. } => None,
        })
        .collect();
    assert_eq!(phases, [None, Some("X".to_owned()), Some("X".to_owned()), Some("undefined".to_owned())]);
    let titles: Vec<_> = run
        .ops
        .iter()
        .filter_map(|op| if let Op::Phase { title } = op { Some(title.as_str()) } else { None })
        .collect();
    assert_eq!(titles, ["X", "5", "undefined"]);
}

#[tokio::test]
async fn c30_parallel_calls_everything_at_once_and_keeps_the_order() {
    let pool = pool().await;
    let (mut host, _) = load(&pool, "return await parallel([1, 2, 3, 4].map((n) => () => agent('p' + n)))").await;
    let first = host.start(first_turn()).await;
    assert_eq!(open_calls(&first).len(), 4);
    for call in [3, 1, 4] {
        assert!(matches!(host.settle(vec![settlement(call, text(format!("r{call}")))]).await, TurnEnd::Waiting { .. }));
    }
    let TurnEnd::Done { result, .. } = host.settle(vec![settlement(2, text("r2"))]).await else { panic!() };
    assert_eq!(result, r#"["r1","r2","r3","r4"]"#);
}

#[tokio::test]
async fn c30_a_slot_that_throws_is_null_with_one_record() {
    let body = "return await parallel([() => agent('a'), () => agent('fail'), () => { throw new Error('sync') },
        async () => { throw 'text' }, () => 5, () => undefined, () => nope.x, () => null.x, () => agent('')])";
    let run = run(body).await;
    assert_eq!(run.value(), &json!(["done: a", null, null, null, 5, null, null, null, null]));
    let failed: Vec<_> = run.ops.iter().filter(|op| matches!(op, Op::SlotFailed { .. })).collect();
    assert_eq!(failed.len(), 6, "{failed:?}");
    assert!(failed.contains(&&lost("parallel[1]", "agent failed", false, false)));
    assert!(failed.contains(&&lost("parallel[2]", "sync", false, false)));
    assert!(failed.contains(&&lost("parallel[3]", "text", false, false)));
    assert!(failed.contains(&&lost("parallel[6]", "ReferenceError: nope is not defined", true, false)));
    let script_errors = failed.iter().filter(|op| matches!(op, Op::SlotFailed { script_error: true, .. })).count();
    assert_eq!(script_errors, 3);
}

#[tokio::test]
async fn c31_items_walk_their_stages_alone() {
    let pool = pool().await;
    let body = "return await pipeline(['a', 'b'], (x) => agent('one ' + x), (previous, item, index) => agent(`two ${previous} ${item} ${index}`))";
    let (mut host, _) = load(&pool, body).await;
    assert_eq!(open_calls(&host.start(first_turn()).await).len(), 2);
    let end = host.settle(vec![settlement(2, text("B"))]).await;
    assert_eq!(open_calls(&end).iter().map(|call| prompt_of(call)).collect::<Vec<_>>(), ["two B b 1"]);
    let end = host.settle(vec![settlement(3, text("BB")), settlement(1, text("A")), settlement(4, text("AA"))]).await;
    assert!(matches!(end, TurnEnd::Done { result, .. } if result == r#"["AA","BB"]"#));
}

#[tokio::test]
async fn c31_null_ends_an_item_and_other_empty_values_do_not() {
    let body = "const seen = []
        const out = await pipeline([null, undefined, 0, false, '', 'null', 'throw'],
          (x) => { seen.push(x); if (x === 'throw') throw new Error('stage'); return x === 'null' ? null : x },
          (x) => { seen.push('second'); return [x] })
        return [out, seen.length, await pipeline([1, 2]), await pipeline([])]";
    let run = run(body).await;
    let expected = json!([[null, [null], [0], [false], [""], null, null], 10, [1, 2], []]);
    assert_eq!(run.value(), &expected);
    assert!(run.ops.contains(&lost("pipeline[6]", "stage", false, false)));
}

#[tokio::test]
async fn c32_wrong_arguments_have_exact_words_and_start_nothing() {
    let body = "const out = []
        const why = async (f) => { try { await f(); out.push('ran') } catch (e) { out.push(e.name + ': ' + e.message) } }
        await why(() => parallel()); await why(() => parallel({})); await why(() => parallel([() => agent('no'), agent]))
        await why(() => parallel([() => agent('no'), Promise.resolve()])); await why(() => parallel([, () => 1]))
        await why(() => pipeline()); await why(() => pipeline('ab', (x) => x)); await why(() => pipeline([1], (x) => agent('no'), 5))
        await why(() => parallel(Array.from({ length: 4097 }, () => () => agent('no'))))
        await why(() => pipeline(new Array(4097), () => agent('no')))
        out.push(await parallel([]), (await parallel(Array.from({ length: 4096 }, (_, i) => () => i))).length)
        return out";
    let run = run(body).await;
    let expected = json!([
        "TypeError: parallel() expects an array of functions",
        "TypeError: parallel() expects an array of functions",
        "ran",
        "TypeError: parallel() expects an array of functions, not promises. Wrap each call: () => agent(...)",
        "TypeError: parallel() expects an array of functions, not promises. Wrap each call: () => agent(...)",
        "TypeError: pipeline() expects an array as the first argument",
        "TypeError: pipeline() expects an array as the first argument",
        "TypeError: pipeline() stages must be functions",
        "RangeError: parallel() takes at most 4096 items, not 4097",
        "RangeError: pipeline() takes at most 4096 items, not 4097",
        [],
        4096
    ]);
    assert_eq!(run.value(), &expected);
    assert_eq!(run.prompts(), ["no"]);
}

#[tokio::test]
async fn c33_a_refusal_inside_a_slot_is_null_and_later_calls_throw() {
    let pool = pool().await;
    let body = "const first = await parallel([() => agent('a'), () => agent('b')])
        const out = [first, await parallel([]), await pipeline([])]
        for (const f of [() => parallel([() => 1]), () => pipeline([1], (x) => x)]) {
          try { await f() } catch (e) { out.push(e.name + ': ' + e.message) }
        }
        return out";
    let (mut host, _) = load(&pool, body).await;
    host.start(first_turn()).await;
    let reached = |call, outcome| Settlement { cap_reached: true, ..settlement(call, outcome) };
    let end = host.settle(vec![reached(1, text("A")), reached(2, cap_error())]).await;
    let TurnEnd::Done { result, ops, .. } = end else { panic!("{end:?}") };
    let cap = "WorkflowAgentCapError: Workflow agent() call cap reached (1000).";
    assert_eq!(result, json!([["A", null], [], [], cap, cap]).to_string());
    assert_eq!(ops, [lost("parallel[1]", "Workflow agent() call cap reached (1000).", false, true)]);
}

#[tokio::test]
async fn c33_a_budget_refusal_in_a_slot_counts_as_refused() {
    let run = run_answered("return parallel([() => agent('a')])", |_| error("budget exhausted: 30 of 25 tokens")).await;
    assert_eq!(run.value(), &json!([null]));
    assert_eq!(run.ops[1], lost("parallel[0]", "budget exhausted: 30 of 25 tokens", false, true));
}

#[tokio::test]
async fn c33_a_stop_passes_through_parallel_and_pipeline() {
    for call in ["parallel([() => agent('a'), () => agent('b')])", "pipeline([1, 2], (x) => agent('p' + x))"] {
        let run = run_answered(&format!("await {call}"), |_| error("run stopped")).await;
        run.assert_failed(Kind::Thrown, "Error: run stopped");
        assert!(!run.ops.iter().any(|op| matches!(op, Op::SlotFailed { .. })));
    }
    let run = run("return parallel([() => { throw new Error('run stopped') }])").await;
    assert_eq!(run.value(), &json!([null]));
}

#[tokio::test]
async fn c34_stages_may_use_parallel() {
    let body = "return await pipeline([1, 2], (x) => parallel([() => agent(x + 'a'), () => agent(x + 'b')]), (list) => list.length)";
    assert_eq!(run(body).await.value(), &json!([2, 2]));
}

#[tokio::test]
async fn c36_log_prints_strings_as_they_are_and_the_rest_as_json() {
    let run = run("log('found', 3, { files: 2 }); log(); log('a\\nb')").await;
    assert_eq!(run.logs(), ["found 3 {\"files\":2}", "", "a\nb"]);
}

#[tokio::test]
async fn c37_args_are_a_value_and_their_keys_are_variables() {
    let body = "const own = 2; return [args.host, host, own, typeof agent, typeof toString, typeof self, args.list, a.b, typeof globalThis['a-b'], _x]";
    let args = r#"{"host":"nginx","own":1,"agent":5,"toString":6,"self":null,"list":[1],"a":{"b":2},"a-b":3,"class":4,"_x":null}"#;
    let expected = json!(["nginx", "nginx", 2, "function", "function", "object", [1], 2, "undefined", null]);
    assert_eq!(run_args(body, args).await.value(), &expected);
    assert_eq!(run("return [typeof args, 'args' in globalThis]").await.value(), &json!(["undefined", true]));
    assert_eq!(run_args("return args", "\"{\\\"a\\\":1}\"").await.value(), &json!("{\"a\":1}"));
    assert_eq!(run_args("args = 5; return [args, typeof length]", "[1]").await.value(), &json!([5, "undefined"]));
    for shadow in
        ["const args = 1", "let args = 1", "var args = 1", "function args() {}", "const host = 1", "var agent = 3"]
    {
        assert!(run_args(&format!("{shadow}; return typeof args"), r#"{"host":1}"#).await.end.is_ok(), "{shadow}");
    }
}

#[tokio::test]
async fn c38_budget_is_frozen_and_follows_the_settlements() {
    let pool = pool().await;
    let body = "const out = [budget.total, budget.spent(), budget.remaining(), Object.isFrozen(budget), Object.getPrototypeOf(budget)]
        try { budget.total = 1 } catch (e) { out.push(e.name) }
        await agent('a'); out.push(budget.spent(), budget.remaining()); await agent('b'); out.push(budget.spent(), budget.remaining())
        return out";
    let (mut host, _) = load(&pool, body).await;
    host.start(Start { budget_total: Some(25), ..first_turn() }).await;
    let spent = |call, spent| Settlement { spent, ..settlement(call, text("t")) };
    host.settle(vec![spent(1, 10)]).await;
    let TurnEnd::Done { result, .. } = host.settle(vec![spent(2, 30)]).await else { panic!() };
    assert_eq!(result, r#"[25,0,25,true,null,"TypeError",10,15,30,0]"#);
    let run = run("return [budget.total, budget.remaining() === Infinity, Object.keys(budget)]").await;
    assert_eq!(run.value(), &json!([null, true, ["total", "spent", "remaining"]]));
}

#[tokio::test]
async fn the_next_calls_depend_on_the_order_of_results_and_never_on_batching() {
    let pool = pool().await;
    let body =
        "return await parallel([1, 2, 3].map((n) => async () => (await agent('x' + n)) + (await agent('y' + n))))";
    let order = [2, 3, 1];
    let mut seen = Vec::new();
    for batched in [false, true] {
        let (mut host, _) = load(&pool, body).await;
        host.start(first_turn()).await;
        let items: Vec<_> = order.iter().map(|call| settlement(*call, text("r"))).collect();
        let mut ops = Vec::new();
        for batch in if batched { vec![items] } else { items.into_iter().map(|item| vec![item]).collect() } {
            let TurnEnd::Waiting { ops: new, .. } = host.settle(batch).await else { panic!() };
            ops.extend(new);
        }
        seen.push(ops);
    }
    assert_eq!(seen[0], seen[1]);
    let prompts: Vec<_> = seen[0].iter().map(|op| if let Op::Call(call) = op { prompt_of(call) } else { "" }).collect();
    assert_eq!(prompts, ["y2", "y3", "y1"]);
}
