//! What is stored is stored once, whatever is lost on the way, and goes when it is removed.

use super::lossy::LossyWay;
use super::world::{NatsWorld, new_cluster, shared};
use crate::conformance::{Checked, World, new_run};
use crate::nats::server::{TestServer, Version};
use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};
use skein_common::ports::{BlobError, BoxError, JournalError, Ports};

async fn messages_in(world: &NatsWorld, stream: &str) -> Result<u64, BoxError> {
    let info: Value = world.connection().await?.ask(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
    Ok(info["state"]["messages"].as_u64().ok_or("no count")?)
}

fn record(text: &str) -> Vec<Bytes> {
    vec![Bytes::from(text.to_owned())]
}

/// One process through a lossy way, and the way.
async fn behind_a_lossy_way(version: Version) -> Result<(NatsWorld, Ports, LossyWay), BoxError> {
    let url = shared(version).await?;
    let way = LossyWay::to(&url).await?;
    let world = NatsWorld::with(new_cluster(url));
    let mut settings = world.settings.clone();
    settings.url = way.url();
    let process = NatsWorld::with(settings).process().await?;
    Ok((world, process, way))
}

#[tokio::test]
async fn r03_an_append_whose_acknowledgement_is_lost_is_stored_once_and_succeeds() -> Checked {
    for version in [Version::New, Version::Old] {
        let (world, process, way) = behind_a_lossy_way(version).await?;
        let run = new_run();
        assert_eq!(process.journal.append(&run, 0, record("first")).await?, 1);
        way.lose_next_answer();
        assert_eq!(process.journal.append(&run, 1, record("second")).await?, 2);
        assert!(way.has_lost());
        assert_eq!(process.journal.append(&run, 2, record("third")).await?, 3);
        assert_eq!(messages_in(&world, &world.names()?.journal_stream()).await?, 3);
    }
    Ok(())
}

#[tokio::test]
async fn what_lost_its_acknowledgement_elsewhere_is_stored_once_and_succeeds() -> Checked {
    let (_world, process, way) = behind_a_lossy_way(Version::New).await?;
    way.lose_next_answer();
    assert_eq!(process.directory.insert("keys", "a", Bytes::from_static(b"ours")).await?, None);
    assert!(way.has_lost());
    let there = process.directory.insert("keys", "a", Bytes::from_static(b"ours")).await?;
    assert_eq!(there, Some(Bytes::from_static(b"ours")), "the second is another insert");
    let lease = process.leases.acquire("shard-1", "alice").await?;
    way.lose_next_answer();
    process.leases.renew(&lease).await?;
    assert!(way.has_lost());
    process.leases.renew(&lease).await?;
    way.lose_next_answer();
    process.leases.release(&lease).await?;
    assert!(way.has_lost());
    assert_eq!(process.leases.holder("shard-1").await?, None);
    Ok(())
}

#[tokio::test]
async fn r03_of_a_writer_that_was_overtaken_nothing_is_stored() -> Checked {
    let world = NatsWorld::fresh().await?;
    let (deposed, successor) = (world.process().await?.journal, world.process().await?.journal);
    let run = new_run();
    deposed.append(&run, 0, record("of the first owner")).await?;
    assert_eq!(successor.read(&run, 0).await?.len(), 1);
    successor.append(&run, 1, record("of the second")).await?;
    for _ in 0..3 {
        let answer = deposed.append(&run, 1, record("late")).await;
        assert!(matches!(answer, Err(JournalError::Conflict { expected: 1, actual: 2 })), "{answer:?}");
    }
    assert_eq!(successor.read(&run, 1).await?, record("of the second"));
    Ok(())
}

#[tokio::test]
async fn r04_appends_go_on_through_kills_of_the_server_and_each_is_stored_once() -> Checked {
    for version in [Version::New, Version::Old] {
        let mut server = TestServer::start_with(version, "").await?;
        let world = NatsWorld::with(new_cluster(server.url()));
        let (journal, run) = (world.process().await?.journal, new_run());
        let (written, mut counted) = tokio::sync::watch::channel(0_u64);
        let (writer, writers_run) = (journal.clone(), run.clone());
        let writing = tokio::spawn(async move {
            for n in 0..600 {
                let records = vec![Bytes::from(format!("record {n}"))];
                writer.append(&writers_run, n, records).await?;
                written.send_replace(n + 1);
            }
            Ok::<_, JournalError>(())
        });
        for kill_at in [150, 300, 450] {
            counted.wait_for(|count| *count >= kill_at).await?;
            server.kill();
            server.restart().await?;
        }
        writing.await??;
        let expected: Vec<Bytes> = (0..600).map(|n| Bytes::from(format!("record {n}"))).collect();
        assert!(journal.read(&run, 0).await? == expected);
        assert_eq!(messages_in(&world, &world.names()?.journal_stream()).await?, 600);
    }
    Ok(())
}

#[tokio::test]
async fn a_process_that_saw_a_run_removed_and_made_again_goes_on() -> Checked {
    let world = NatsWorld::fresh().await?;
    let (one, other) = (world.process().await?.journal, world.process().await?.journal);
    let run = new_run();
    one.append(&run, 0, record("old")).await?;
    other.remove(&run).await?;
    let answer = one.append(&run, 1, record("late")).await;
    assert!(matches!(answer, Err(JournalError::Conflict { expected: 1, actual: 0 })), "{answer:?}");
    other.append(&run, 0, record("new")).await?;
    assert_eq!(one.append(&run, 1, record("goes on")).await?, 2);
    Ok(())
}

#[tokio::test]
async fn r12_of_a_run_that_is_removed_nothing_is_left() -> Checked {
    let world = NatsWorld::fresh().await?;
    let (process, run) = (world.process().await?, new_run());
    let large: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    for _ in 0..2 {
        process.blobs.put(&run, Bytes::from(large.clone())).await?;
    }
    process.blobs.put(&run, Bytes::from_static(b"small")).await?;
    process.journal.append(&run, 0, record("only")).await?;
    let (blobs, journal) = (world.names()?.blobs_stream(), world.names()?.journal_stream());
    assert_eq!(messages_in(&world, &blobs).await?, 6, "four parts, what counts them, and the small one");
    process.blobs.remove_run(&run).await?;
    process.journal.remove(&run).await?;
    assert_eq!((messages_in(&world, &blobs).await?, messages_in(&world, &journal).await?), (0, 0));
    Ok(())
}

#[tokio::test]
async fn an_append_of_several_messages_is_read_back_in_order() -> Checked {
    let world = NatsWorld::fresh().await?;
    let (journal, run) = (world.process().await?.journal, new_run());
    let many: Vec<Bytes> = (0..40_u8).map(|n| Bytes::from(vec![n; 100_000])).collect();
    assert_eq!(journal.append(&run, 0, many.clone()).await?, 40);
    assert!(messages_in(&world, &world.names()?.journal_stream()).await? > 1);
    for from in [0, 1, 13, 39] {
        let read = journal.read(&run, from as u64).await?;
        assert!(read == many[from..], "from {from}");
    }
    Ok(())
}

#[tokio::test]
async fn a_record_that_no_message_holds_is_refused() -> Checked {
    let world = NatsWorld::fresh().await?;
    let (journal, run) = (world.process().await?.journal, new_run());
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    });
    let huge: Vec<u8> = noise.take(3_000_000).collect();
    let answer = journal.append(&run, 0, vec![Bytes::from(huge)]).await;
    assert!(matches!(answer, Err(JournalError::Refused { .. })), "{answer:?}");
    assert_eq!(journal.append(&run, 0, record("small")).await?, 1);
    Ok(())
}

/// A message that only says that something was removed goes by itself.
#[tokio::test]
async fn a_key_that_is_removed_may_be_used_again() -> Checked {
    for version in [Version::New, Version::Old] {
        let world = NatsWorld::with(new_cluster(shared(version).await?));
        let (one, other) = (world.process().await?.directory, world.process().await?.directory);
        for round in 0..3_u8 {
            let value = Bytes::from(vec![round]);
            assert_eq!(one.insert("keys", "a", value.clone()).await?, None);
            assert_eq!(other.insert("keys", "a", Bytes::new()).await?, Some(value));
            other.remove("keys", "a").await?;
            assert_eq!((one.get("keys", "a").await?, one.list("keys").await?), (None, Vec::new()));
        }
        one.put("keys", "a", Bytes::from_static(b"put")).await?;
        assert_eq!(other.get("keys", "a").await?, Some(Bytes::from_static(b"put")));
    }
    Ok(())
}

/// Whoever may write to the stream may write anything.
#[tokio::test]
async fn bytes_of_another_digest_are_damaged_and_no_answer() -> Checked {
    let world = NatsWorld::fresh().await?;
    let (process, run) = (world.process().await?, new_run());
    let digest = process.blobs.put(&run, Bytes::from_static(b"text")).await?;
    let subject = world.names()?.blob_subject(&run, &digest);
    world.connection().await?.store(&subject, HeaderMap::new(), Bytes::from_static(b"other")).await?;
    let told = process.blobs.get(&run, &digest).await;
    assert!(matches!(&told, Err(BlobError::Damaged { digest: of, .. }) if *of == digest), "{told:?}");
    Ok(())
}
