//! What a process finds out when it joins: old servers, changed streams, another number of shards, other clusters.

use super::world::{NatsWorld, change_stream, new_cluster, shared};
use crate::conformance::{Checked, World, new_run};
use crate::nats::connection::Connection;
use crate::nats::layout::{Level, streams};
use crate::nats::names::Names;
use crate::nats::server::{TestServer, Version};
use crate::nats::{NatsBackend, NatsConfig, NatsError, bootstrap};
use bytes::Bytes;
use serde_json::{Value, json};
use skein_common::config::NatsSettings;
use skein_common::ports::BoxError;

async fn refusal(config: NatsConfig) -> Result<NatsError, BoxError> {
    match NatsBackend::connect(config).await {
        Ok(_) => Err("the process joined".into()),
        Err(error) => Ok(error),
    }
}

/// The server says yes to options that it does not know, so only reading them back tells.
#[tokio::test]
async fn options_that_an_old_server_ignores_without_a_word_are_noticed() -> Checked {
    let settings = new_cluster(shared(Version::Old).await?);
    let connection = Connection::open(&settings).await?;
    let wanted = streams(&Names::new(&settings.prefix)?, &settings, Level::Production);
    let refusal = bootstrap::ensure(&connection, &wanted, true).await.expect_err("2.9 knows no times of messages");
    let named = matches!(&refusal, NatsError::Differs { name, field, .. }
        if name.contains("KV_") && field == "allow_msg_ttl");
    assert!(named && refusal.to_string().contains("2.12"), "{refusal}");
    Ok(())
}

#[tokio::test]
async fn an_old_server_is_for_development_and_says_what_it_lacks() -> Checked {
    let old = new_cluster(shared(Version::Old).await?);
    let notes = NatsBackend::connect(NatsConfig::new(old.clone())).await?.notes().join("\n");
    for told in ["2.9", "2.12", "clocks", "replicated"] {
        assert!(notes.contains(told), "{notes}");
    }
    let replicated = NatsSettings { replicas: 3, ..old };
    let refusal = refusal(NatsConfig::new(replicated)).await?;
    assert!(matches!(refusal, NatsError::TooOld { needed: "2.12", .. }), "{refusal}");
    let new = NatsBackend::connect(NatsConfig::new(new_cluster(shared(Version::New).await?))).await?;
    assert_eq!(new.notes(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn who_may_not_make_streams_is_told_that_they_are_missing() -> Checked {
    let settings = new_cluster(shared(Version::New).await?);
    let verifying = NatsConfig { bootstrap: false, ..NatsConfig::new(settings.clone()) };
    let missing = refusal(verifying.clone()).await?;
    assert!(matches!(missing, NatsError::Missing { .. }), "{missing}");
    assert!(missing.to_string().contains("skein nats init"), "{missing}");
    NatsBackend::connect(NatsConfig::new(settings)).await?;
    NatsBackend::connect(verifying).await?;
    Ok(())
}

#[tokio::test]
async fn a_stream_that_somebody_changed_is_named_with_both_values() -> Checked {
    let world = NatsWorld::fresh().await?;
    world.backend().await?;
    let (connection, stream) = (world.connection().await?, world.names()?.journal_stream());
    change_stream(&connection, &stream, "max_bytes", json!(1_000_000_000)).await?;
    world.backend().await?; // How large it may become is the operator's business.
    change_stream(&connection, &stream, "max_age", json!(3_600_000_000_000_u64)).await?;
    let refusal = refusal(NatsConfig::new(world.settings.clone())).await?.to_string();
    for told in [stream.as_str(), "max_age", "3600000000000", "needs 0"] {
        assert!(refusal.contains(told), "{refusal}");
    }
    Ok(())
}

#[tokio::test]
async fn the_number_of_shards_never_changes() -> Checked {
    let world = NatsWorld::fresh().await?;
    world.backend().await?;
    let other = NatsSettings { shards: 5, ..world.settings.clone() };
    let refusal = refusal(NatsConfig::new(other)).await?;
    assert!(matches!(refusal, NatsError::OtherShards { stored: 4, wanted: 5 }), "{refusal}");
    world.backend().await?;
    Ok(())
}

#[tokio::test]
async fn many_processes_may_make_a_cluster_at_once() -> Checked {
    let world = NatsWorld::fresh().await?;
    let joining: Vec<_> = (0..6).map(|_| world.backend()).collect();
    for joined in futures::future::join_all(joining).await {
        joined?;
    }
    Ok(())
}

#[tokio::test]
async fn clusters_with_different_prefixes_share_a_server_and_do_not_see_each_other() -> Checked {
    let (one, other) = (NatsWorld::fresh().await?, NatsWorld::fresh().await?);
    let (one, other) = (one.process().await?, other.process().await?);
    let run = new_run();
    one.journal.append(&run, 0, vec![Bytes::from_static(b"record")]).await?;
    let digest = one.blobs.put(&run, Bytes::from_static(b"text")).await?;
    one.directory.put("runs", "a", Bytes::from_static(b"value")).await?;
    one.leases.acquire("shard-1", "alice").await?;
    assert_eq!(other.journal.read(&run, 0).await?, Vec::<Bytes>::new());
    assert_eq!(other.journal.list().await?, []);
    assert!(other.blobs.get(&run, &digest).await.is_err());
    assert_eq!(other.directory.list("runs").await?, []);
    assert_eq!(other.leases.holders("").await?, []);
    other.leases.acquire("shard-1", "bob").await?;
    other.journal.remove(&run).await?;
    other.blobs.remove_run(&run).await?;
    assert_eq!(one.journal.read(&run, 0).await?.len(), 1);
    assert_eq!(one.blobs.get(&run, &digest).await?, "text");
    Ok(())
}

#[tokio::test]
async fn a_server_without_a_store_is_named() -> Checked {
    let server = TestServer::start_with(Version::New, "jetstream: disabled").await?;
    let refusal = refusal(NatsConfig::new(new_cluster(server.url()))).await?;
    assert!(matches!(refusal, NatsError::NoJetStream { .. }), "{refusal}");
    Ok(())
}

/// Servers since 2.15 refuse the 1001st consumer of a stream that does not say how many it may have.
#[tokio::test]
async fn streams_have_room_for_more_than_a_thousand_consumers() -> Checked {
    let world = NatsWorld::fresh().await?;
    world.backend().await?;
    let connection = world.connection().await?;
    for stream in [world.names()?.journal_stream(), world.names()?.tasks_stream(), world.names()?.results_stream()] {
        let info: Value = connection.ask(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
        assert_eq!(info["config"]["max_consumers"], 100_000, "{stream}");
    }
    let stream = world.names()?.journal_stream();
    let create = format!("CONSUMER.CREATE.{stream}");
    let config = json!({ "ack_policy": "none", "mem_storage": true, "inactive_threshold": 60_000_000_000_u64 });
    let body = json!({ "stream_name": stream, "config": config });
    let making: Vec<_> = (0..1_001).map(|_| connection.ask::<Value>(&create, &body)).collect();
    for made in futures::future::join_all(making).await {
        made?;
    }
    Ok(())
}
