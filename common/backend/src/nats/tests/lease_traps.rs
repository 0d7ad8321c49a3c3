//! Leases end by the server's clock, each time, and an epoch never comes twice.

use super::world::{NatsWorld, new_cluster, shared};
use crate::conformance::{Checked, World};
use crate::nats::server::{TestServer, Version};
use crate::nats::{NatsBackend, NatsConfig};
use skein_common::config::NatsSettings;
use skein_common::ports::{BoxError, LeaseError, Leases};
use std::sync::Arc;

async fn leases_of(settings: &NatsSettings, node: Option<&str>) -> Result<Arc<dyn Leases>, BoxError> {
    let node = node.map(str::to_owned);
    let backend = NatsBackend::connect(NatsConfig { node, ..NatsConfig::new(settings.clone()) }).await?;
    Ok(backend.storage.leases)
}

/// The client's own way makes the second holder's key without a time: its lease would never end.
#[tokio::test]
async fn a_lease_that_was_taken_over_ends_as_the_first_one_did() -> Checked {
    let mut settings = new_cluster(shared(Version::New).await?);
    settings.lease_ms = 1_000;
    let world = NatsWorld::with(settings);
    let leases = world.process().await?.leases;
    let mut newest = 0;
    for owner in ["first", "second", "third"] {
        let lease = leases.acquire("shard-1", owner).await?;
        assert!(lease.epoch > newest);
        newest = lease.epoch;
        assert!(world.let_expire(&lease).await?);
        assert!(matches!(leases.renew(&lease).await, Err(LeaseError::Lost { .. })));
    }
    let given_back = leases.acquire("shard-1", "fourth").await?;
    leases.release(&given_back).await?;
    let after_release = leases.acquire("shard-1", "fifth").await?;
    assert!(world.let_expire(&after_release).await?);
    Ok(())
}

#[tokio::test]
async fn a_lease_that_is_renewed_outlives_its_time() -> Checked {
    for version in [Version::New, Version::Old] {
        let mut settings = new_cluster(shared(version).await?);
        settings.lease_ms = 4_000;
        let (holder, other) = (leases_of(&settings, None).await?, leases_of(&settings, None).await?);
        let (kept, left) = (holder.acquire("kept", "alice").await?, holder.acquire("left", "alice").await?);
        while other.holder(&left.name).await?.is_some() {
            holder.renew(&kept).await?;
        }
        assert!(matches!(other.acquire(&kept.name, "bob").await, Err(LeaseError::Held { .. })));
        holder.renew(&kept).await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_holds_the_node_takes_the_leases_of_its_dead_process_at_once() -> Checked {
    for version in [Version::New, Version::Old] {
        let settings = NatsSettings { lease_ms: 600_000, ..new_cluster(shared(version).await?) };
        let dead = leases_of(&settings, Some("node-a")).await?;
        let old = dead.acquire("shard-1", "alice").await?;
        drop(dead);
        for stranger in [Some("node-b"), None] {
            let answer = leases_of(&settings, stranger).await?.acquire("shard-1", "bob").await;
            assert!(matches!(answer, Err(LeaseError::Held { .. })), "{answer:?}");
        }
        let next = leases_of(&settings, Some("node-a")).await?;
        let new = next.acquire("shard-1", "alice again").await?;
        assert!(new.epoch > old.epoch);
        let again = next.acquire("shard-1", "alice once more").await;
        assert!(matches!(again, Err(LeaseError::Held { .. })), "its own it keeps: {again:?}");
        next.renew(&new).await?;
    }
    Ok(())
}

#[tokio::test]
async fn epochs_grow_though_the_server_was_killed_and_no_lease_was_left() -> Checked {
    for version in [Version::New, Version::Old] {
        let mut server = TestServer::start_with(version, "").await?;
        let settings = new_cluster(server.url());
        let leases = leases_of(&settings, None).await?;
        let before = leases.acquire("shard-1", "alice").await?;
        leases.release(&before).await?;
        server.kill();
        server.restart().await?;
        let after = leases_of(&settings, None).await?.acquire("shard-1", "bob").await?;
        assert!(after.epoch > before.epoch, "{} after {}", after.epoch, before.epoch);
    }
    Ok(())
}

#[tokio::test]
async fn a_lease_is_held_through_a_kill_of_the_server() -> Checked {
    let mut server = TestServer::start().await?;
    let settings = NatsSettings { lease_ms: 60_000, ..new_cluster(server.url()) };
    let (holder, other) = (leases_of(&settings, None).await?, leases_of(&settings, None).await?);
    let lease = holder.acquire("shard-1", "alice").await?;
    server.kill();
    let (renewed, restarted) = tokio::join!(holder.renew(&lease), server.restart());
    restarted?;
    renewed?;
    assert!(matches!(other.acquire("shard-1", "bob").await, Err(LeaseError::Held { .. })));
    holder.release(&lease).await?;
    other.acquire("shard-1", "bob").await?;
    Ok(())
}
