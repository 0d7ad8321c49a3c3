//! Scripts that try to harm: each ends for itself, and a healthy host beside it does not notice (C10).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::json;
use skein_common::script::ScriptErrorKind::{
    self as Kind, Engine, Limit, Memory, Serialization, Stack, Stuck, Syntax, Thrown, Time,
};
use skein_script::HostLimits;
use support::*;
use tokio::task::JoinSet;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/scripts/hostile");
const AT_ONCE: usize = 4;

/// Small enough that a debug build ends a loop within a second or two.
fn limits() -> HostLimits {
    HostLimits { turn_ms: 2_000, instructions: 20_000_000, ..HostLimits::default() }
}

fn case(name: &str) -> String {
    let source = fs::read_to_string(Path::new(CASES).join(format!("{name}.js"))).unwrap();
    let (_, body) = source.split_once('\n').unwrap();
    with_meta(body)
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = entries.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// How a case may end besides by its clock and by a counted cap, which depend on the machine's speed.
fn expected(name: &str) -> &'static [Kind] {
    match name {
        "array_parse" | "block_parse" | "fn_parse" | "paren_parse" | "plus_parse" | "tmpl_parse" | "unary_parse"
        | "deep_array_json" | "deep_array_tostr" | "deep_proxy_chain" => &[Stack],
        "deadlock" => &[Stuck],
        "err_stack" | "err_stack2" | "deep_json_parse" | "bigint_shift" | "buf" | "regex_big" => &[Thrown],
        "err_syntax" | "err_syntax2" | "evalx" => &[Syntax],
        "deep_array_ret" | "ret_bigint" | "ret_cyc" | "ret_proxy_inf" | "ret_tojson" => &[Serialization],
        "async_rec" => &[Memory, Stack, Engine],
        _ => &[Memory],
    }
}

/// Those that do no harm within their caps.
const HARMLESS: [&str; 13] = [
    "deep_array_flat",
    "deep_proxy_chain",
    "deep_proto",
    "plus_parse", // An optimised parser gets through it; others end by their stack.
    "pollute",
    "pollute2",
    "pollute3",
    "regex_parse",
    "ret_misc",
    "sort_cmp",
    "spread_big",
    "toString_rec",
    "unhandled",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c10_all_hostile_scripts_end_for_themselves() {
    let pool = pool().await;
    let names = names();
    assert_eq!(names.len(), 80);
    for group in names.chunks(AT_ONCE) {
        let mut running = JoinSet::new();
        for name in group {
            let (pool, name) = (pool.clone(), name.clone());
            running.spawn(async move {
                let run = run_with(&pool, &case(&name), first_turn(), &limits(), echo).await;
                (name, run.end)
            });
        }
        let body = "return (await parallel([1, 2].map((n) => () => agent('p' + n)))).length";
        let healthy = run_with(&pool, &with_meta(body), first_turn(), &HostLimits::default(), echo).await;
        assert_eq!(healthy.value(), &json!(2));
        while let Some(ended) = running.join_next().await {
            let (name, end) = ended.unwrap();
            match end {
                Ok(value) => assert!(HARMLESS.contains(&name.as_str()), "{name}: {value}"),
                Err(error) => {
                    let kinds = expected(&name);
                    let by_a_cap = matches!(error.kind, Time | Limit);
                    assert!(by_a_cap || kinds.contains(&error.kind), "{name}: {error:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn c10_each_cap_is_named() {
    let pool = pool().await;
    for (name, kinds, cap) in [
        ("while_true", &[Limit][..], "`instructions`"),
        ("deep_rec", &[Limit], "`recursion`"),
        ("repeat30", &[Memory], "`memory_bytes`"),
        ("str_double", &[Memory], "`memory_bytes`"),
        ("paren_parse", &[Limit], "nested deeper than the cap"),
        ("regex_cat", &[Time], "`turn_ms`"),
        ("arraylike", &[Time], "`turn_ms`"),
    ] {
        // A busy machine must not let the clock ring before the cap that is meant.
        let turn_ms = if kinds.contains(&Time) { limits().turn_ms } else { 120_000 };
        let limits = HostLimits { turn_ms, ..limits() };
        let run = run_with(&pool, &case(name), first_turn(), &limits, echo).await;
        let error = run.error();
        assert!(kinds.contains(&error.kind) && error.message.contains(cap), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn c10_a_jobs_flood_ends_by_its_cap() {
    let pool = pool().await;
    let limits = HostLimits { jobs: 10_000, ..HostLimits::default() };
    for name in ["microtask_flood", "then_chain", "then_flood"] {
        let run = run_with(&pool, &case(name), first_turn(), &limits, echo).await;
        assert!(
            run.error().kind == Limit && run.error().message.contains("`jobs` of 10000"),
            "{name}: {:?}",
            run.error()
        );
    }
}
