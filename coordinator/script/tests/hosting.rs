//! Loading, checking, and the parent's half of the protocol.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use skein_common::script::{PhaseDeclaration, ScriptErrorKind as Kind, TurnEnd};
use skein_script::{HostError, HostLimits, HostPool, LoadError};
use support::*;

#[tokio::test]
async fn r02_check_says_what_load_says() {
    let pool = pool().await;
    let source = "export const meta = { name: 'n', description: 'd', whenToUse: 5, phases: [{ title: 'One' }] }\nreturn Date.now()";
    let loaded = pool.check(source, &HostLimits::default()).await.unwrap();
    assert_eq!(loaded.meta.phases, [PhaseDeclaration { title: "One".to_owned(), ..PhaseDeclaration::default() }]);
    assert_eq!((loaded.warnings.len(), loaded.findings[0].line, loaded.findings[0].column), (1, 2, 8));
    let (_, again) = pool.load(source, &HostLimits::default()).await.unwrap();
    assert_eq!(loaded, again);

    for (source, kind, line) in [("return 1", Kind::Meta, 1), ("\n\nlet = 5", Kind::Meta, 3)] {
        let Err(LoadError::Script(error)) = pool.check(source, &HostLimits::default()).await else { panic!() };
        assert_eq!((error.kind, error.line), (kind, Some(line)));
    }
    let Err(LoadError::Script(error)) = pool.check(&with_meta("const = 1"), &HostLimits::default()).await else {
        panic!()
    };
    assert_eq!((error.kind, error.line, error.source_line.as_deref()), (Kind::Syntax, Some(2), Some("const = 1")));
}

#[tokio::test]
async fn both_ways_to_a_host_give_the_same_run() {
    let body = "log(1); try { null.x } catch (e) { log(e.stack) }; return [await agent('a'), random(), now()]";
    let mut seen = Vec::new();
    for pool in [pool().await, HostPool::with_exec(executable())] {
        for limits in [HostLimits::default(), HostLimits { instructions: 1_000_000, ..HostLimits::default() }] {
            let run = run_with(&pool, &with_meta(body), first_turn(), &limits, echo).await;
            seen.push(format!("{run:?}"));
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

#[tokio::test]
async fn a_turn_may_be_polled_under_a_timeout_and_then_on() {
    let pool = pool().await;
    let body = "const end = await agent('a'); let n = 0; for (let i = 0; i < 300000; i++) n += i; return n";
    let (mut host, _) = load(&pool, body).await;
    host.start(first_turn()).await;
    let mut turn = Box::pin(host.settle(vec![settlement(1, text("t"))]));
    let mut polled = 0;
    let end = loop {
        match tokio::time::timeout(Duration::from_millis(5), &mut turn).await {
            Ok(end) => break end,
            Err(_) => polled += 1,
        }
    };
    assert!(matches!(end, TurnEnd::Done { result, .. } if result == "44999850000"), "after {polled} polls");
}

#[tokio::test(start_paused = true)]
async fn a_paused_runtime_clock_does_not_end_a_script() {
    let limits = HostLimits { turn_ms: 60_000, ..HostLimits::default() };
    let body = "let n = 0; for (let i = 0; i < 300000; i++) n += i; return n";
    assert_eq!(run_limited(body, limits).await.value(), &json!(44_999_850_000_u64));
}

#[tokio::test]
async fn c10_the_clock_is_per_settlement_and_can_be_changed() {
    let pool = pool().await;
    let (mut host, _) = load(&pool, "await agent('a'); await agent('b'); for (;;);").await;
    host.set_turn_ms(200);
    host.start(first_turn()).await;
    let end = host.settle(vec![settlement(1, text("A")), settlement(2, text("B"))]).await;
    let TurnEnd::Failed { ops, error } = end else { panic!("{end:?}") };
    assert_eq!(error.kind, Kind::Time);
    assert!(error.message.contains("`turn_ms` of 200 ms"));
    assert_eq!(ops.len(), 1, "what the first settlement set off is kept");
}

#[tokio::test]
async fn a_settlement_that_nobody_waits_for_is_ignored() {
    let pool = pool().await;
    let (mut host, _) = load(&pool, "return await agent('a')").await;
    host.start(first_turn()).await;
    let end = host.settle(vec![settlement(9, text("x"))]).await;
    assert!(matches!(end, TurnEnd::Waiting { open: 1, .. }));
    assert!(matches!(host.settle(vec![]).await, TurnEnd::Waiting { open: 1, .. }));
    assert!(matches!(host.settle(vec![settlement(1, text("x"))]).await, TurnEnd::Done { .. }));
    let end = host.settle(vec![settlement(1, text("x"))]).await;
    assert!(matches!(end, TurnEnd::Failed { error, .. } if error.message == "the script host has ended"));
}

#[tokio::test]
async fn a_long_result_takes_several_frames() {
    let limits = HostLimits { result_bytes: 64 << 20, ..HostLimits::default() };
    let run = run_limited("const s = await agent('x'); return [s, s]", limits.clone());
    assert_eq!(run.await.value(), &json!(["done: x", "done: x"]));
    let pool = pool().await;
    let source = with_meta("return (await agent('x')).length");
    let long = run_with(&pool, &source, first_turn(), &limits, |_| text("y".repeat(20 << 20)));
    assert_eq!(long.await.value(), &json!(20 << 20));
}

#[tokio::test]
async fn an_executable_that_is_no_host_is_an_error_of_the_infrastructure() {
    for path in ["/nonexistent/skein", "/bin/true"] {
        let error = HostPool::start(PathBuf::from(path)).await.unwrap_err();
        assert!(matches!(error, HostError::Spawn { .. }), "{error:?}");
        let loaded = HostPool::with_exec(PathBuf::from(path)).load(META, &HostLimits::default()).await;
        assert!(matches!(loaded, Err(LoadError::Host(HostError::Spawn { .. }))), "{loaded:?}");
    }
}

#[tokio::test]
async fn hosts_run_side_by_side() {
    let pool = pool().await;
    let mut running = tokio::task::JoinSet::new();
    for n in 0..20 {
        let pool = pool.clone();
        running.spawn(async move {
            let source = with_meta(&format!("return [await agent('a{n}'), random()]"));
            run_with(&pool, &source, first_turn(), &HostLimits::default(), echo).await.end.unwrap()
        });
    }
    let mut results: Vec<_> =
        running.join_all().await.iter().map(|value| value[0].as_str().unwrap().to_owned()).collect();
    results.sort();
    results.dedup();
    assert_eq!(results.len(), 20);
}
