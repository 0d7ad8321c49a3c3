//! Three servers that replicate: what a single one never says, and the loss of one of them.

use super::world::{NatsWorld, new_cluster};
use crate::conformance::{Checked, World, new_run};
use crate::nats::api::code;
use crate::nats::server::TestCluster;
use crate::nats::{NatsBackend, NatsConfig, marks};
use bytes::Bytes;
use skein_common::config::NatsSettings;
use skein_common::ports::{BoxError, JournalError};
use std::time::Duration;

const TRY_EVERY: Duration = Duration::from_millis(50);
/// Three servers that elect, on a machine that has much else to do.
const DEADLINE: Duration = Duration::from_secs(240);

async fn within_deadline(check: impl Future<Output = Checked>) -> Checked {
    tokio::time::timeout(DEADLINE, check).await.map_err(|_| "no end in time")?
}

/// A cluster of ours on new servers, as soon as they have a leader.
pub async fn replicated(servers: &TestCluster) -> Result<NatsWorld, BoxError> {
    // What was delivered when a server died comes again after this time.
    let settings = NatsSettings { replicas: 3, lease_ms: 4_000, ack_wait_ms: 2_000, ..new_cluster(servers.url()) };
    loop {
        match NatsBackend::connect(NatsConfig::new(settings.clone())).await {
            Ok(_) => return Ok(NatsWorld::with(settings)),
            Err(error) if error.may_pass() => tokio::time::sleep(TRY_EVERY).await,
            Err(error) => return Err(error.into()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_keep_one_order_of_each_run() -> Checked {
    within_deadline(async {
        let servers = TestCluster::start().await?;
        let world = replicated(&servers).await?;
        what_two_writers_at_once_are_told(&world).await?;
        two_writers_cannot_both_extend_a_run(&world).await?;
        leases_end(&world).await
    })
    .await
}

/// A replicated stream refuses by another number while it still stores the message before (10164).
async fn what_two_writers_at_once_are_told(world: &NatsWorld) -> Checked {
    let connection = world.connection().await?;
    let mut numbers = std::collections::BTreeSet::new();
    while !numbers.contains(&code::PENDING_LAST_SEQUENCE) {
        let subject = world.names()?.journal_subject(0, &new_run());
        let storing = (0..20).map(|_| {
            let headers = marks::conditional(0, &marks::new_id());
            connection.store(&subject, headers, Bytes::from_static(b"x"))
        });
        let answers = futures::future::join_all(storing).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        numbers.extend(answers.into_iter().filter_map(|answer| answer.err()?.number()));
    }
    let known = [code::PENDING_LAST_SEQUENCE, code::WRONG_LAST_SEQUENCE];
    assert!(numbers.iter().all(|number| known.contains(number)), "{numbers:?}");
    Ok(())
}

async fn two_writers_cannot_both_extend_a_run(world: &NatsWorld) -> Checked {
    let journals = [world.process().await?.journal, world.process().await?.journal, world.process().await?.journal];
    let run = new_run();
    for expected in 0..50 {
        let appending = journals.iter().zip(["one", "two", "three"]).map(|(journal, text)| {
            let record = Bytes::from(format!("{text} {expected}"));
            journal.append(&run, expected, vec![record])
        });
        let answers = futures::future::join_all(appending).await;
        let stored = answers.iter().filter(|answer| answer.is_ok()).count();
        let refused = answers.iter().filter(|answer| matches!(answer, Err(JournalError::Conflict { .. }))).count();
        assert_eq!((stored, refused), (1, 2), "{answers:?}");
    }
    let read = journals[0].read(&run, 0).await?;
    assert_eq!(read.len(), 50);
    for journal in &journals[1..] {
        assert_eq!(journal.read(&run, 0).await?, read);
    }
    Ok(())
}

async fn leases_end(world: &NatsWorld) -> Checked {
    let leases = world.process().await?.leases;
    for owner in ["alice", "bob"] {
        let lease = leases.acquire("shard-1", owner).await?;
        leases.renew(&lease).await?;
        assert!(world.let_expire(&lease).await?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r04_appends_go_on_though_each_of_three_servers_is_killed_in_turn() -> Checked {
    within_deadline(async {
        let mut servers = TestCluster::start().await?;
        let world = replicated(&servers).await?;
        let (process, run) = (world.process().await?, new_run());
        let text = |n: u64| Bytes::from(format!("record {n}"));
        let mut written = 0..60_u64;
        for killed in 0..3 {
            servers.servers[killed].kill();
            for n in written.by_ref().take(20) {
                process.journal.append(&run, n, vec![text(n)]).await?;
            }
            servers.servers[killed].restart().await?;
        }
        assert_eq!(process.journal.read(&run, 0).await?, (0..60).map(text).collect::<Vec<_>>());
        Ok(())
    })
    .await
}
