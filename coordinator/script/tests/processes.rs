//! Host processes come and go with their handles. One test: it counts the children of its own process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use skein_common::script::{ScriptErrorKind, TurnEnd};
use skein_script::{HostLimits, HostPool};
use support::*;

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
}

fn descendants() -> Vec<u32> {
    let mut all = children(std::process::id());
    let mut next = 0;
    while next < all.len() {
        let more = children(all[next]);
        all.extend(more);
        next += 1;
    }
    all
}

/// Its new parent may not have reaped it yet.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}; {:?}", descendants());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn hosts_end_with_their_handles_and_leave_no_zombie() {
    for pool in [pool().await, HostPool::with_exec(executable())] {
        let before = descendants().len();
        let (mut waiting, _) = load(&pool, "await agent('a')").await;
        waiting.start(first_turn()).await;
        let (loaded, _) = load(&pool, "return 1").await;
        let (mut spinning, _) = load(&pool, "for (;;);").await;
        let mut turn = Box::pin(spinning.start(first_turn()));
        // Polled under a timeout, and then on.
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut turn).await.is_err());
        assert_eq!(descendants().len().saturating_sub(before).min(3), 3);
        // Dropped midway: the process goes, and the handle knows.
        drop(turn);
        let end = spinning.start(first_turn()).await;
        assert!(matches!(end, TurnEnd::Failed { error, .. } if error.kind == ScriptErrorKind::Engine));
        drop((waiting, loaded));
        eventually("only the zygote is left", || descendants().len() == before).await;

        // A script that ended has ended its process, handle or not.
        let (mut done, _) = load(&pool, "return 1").await;
        assert!(matches!(done.start(first_turn()).await, TurnEnd::Done { .. }));
        eventually("the finished host is gone", || descendants().len() == before).await;
        drop(pool);
        eventually("the zygote went with its pool", || descendants().is_empty()).await;
        drop(done);
    }

    // A zygote that was killed is replaced, and its hosts die with it.
    let pool = pool().await;
    let (mut orphan, _) = load(&pool, "await agent('a'); return 1").await;
    orphan.start(first_turn()).await;
    let zygote = children(std::process::id())[0];
    let host = children(zygote)[0];
    assert!(std::process::Command::new("kill").args(["-9", &zygote.to_string()]).status().unwrap().success());
    eventually("the host died with its zygote", || !is_alive(host)).await;
    let end = orphan.settle(vec![settlement(1, text("t"))]).await;
    assert!(matches!(end, TurnEnd::Failed { error, .. } if error.kind == ScriptErrorKind::Engine));
    let run = run_with(&pool, &with_meta("return 5"), first_turn(), &HostLimits::default(), echo).await;
    assert_eq!(run.value(), &serde_json::json!(5));
}
