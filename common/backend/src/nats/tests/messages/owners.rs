//! Shards and their results: what an owner gets that attaches one, and what one does that lost it.

use super::cluster::{again_after, info, numbered, patient, run_of, stream_holds};
use crate::conformance::{Checked, eventually, new_run, within_deadline};
use crate::nats::NatsBackend;
use crate::nats::consumers;
use crate::nats::server::Version;
use crate::nats::tests::world::{SHARDS, shared};
use async_nats::HeaderMap;
use bytes::Bytes;
use skein_common::ports::{Control as _, ControlError, ControlServer, Results as _, Shards as _};

const BOTH: [Version; 2] = [Version::New, Version::Old];

async fn answer_all(mut server: Box<dyn ControlServer>, answer: &'static str) {
    while let Some(asked) = server.next().await {
        asked.reply.send(Bytes::from_static(answer.as_bytes()));
    }
}

async fn results_left(process: &NatsBackend, count: u64) {
    stream_holds(process, &process.bus.names.results_stream(), count).await;
}

#[tokio::test]
async fn what_a_dead_owner_consumed_and_did_not_mark_done_comes_to_the_next_at_once() -> Checked {
    within_deadline(async {
        for version in BOTH {
            let cluster = patient(shared(version).await?);
            let (dead, next, run) = (cluster.owner().await?, cluster.backend().await?, run_of(1));
            for n in 0..20 {
                dead.messaging.results.queue(&run, numbered(n)).await?;
            }
            let mut consumed = Vec::new();
            while consumed.len() < 10 {
                consumed.extend(dead.messaging.results.consume(10 - consumed.len()).await?);
            }
            for delivery in &consumed[..5] {
                dead.messaging.results.done(delivery.delivery).await?;
            }
            results_left(&next, 15).await;
            drop(dead);
            next.messaging.shards.attach(1).await?;
            let mut seen = Vec::new();
            while seen.len() < 15 {
                for delivery in next.messaging.results.consume(7).await? {
                    next.messaging.results.done(delivery.delivery).await?;
                    seen.push(delivery.result);
                }
            }
            assert_eq!(seen, (5..20).map(numbered).collect::<Vec<_>>());
            results_left(&next, 0).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_owner_that_does_not_know_that_it_is_none_gets_no_more_results() -> Checked {
    within_deadline(async {
        for version in BOTH {
            let cluster = patient(shared(version).await?);
            let (deposed, owner, run) = (cluster.owner().await?, cluster.backend().await?, run_of(2));
            owner.messaging.shards.attach(2).await?;
            let results = deposed.messaging.results.clone();
            let consuming = tokio::spawn(async move { results.consume(10).await });
            for n in 0..50 {
                deposed.messaging.results.queue(&run, numbered(n)).await?;
            }
            let mut seen = 0;
            while seen < 50 {
                seen += owner.messaging.results.consume(50).await?.len();
            }
            assert!(!consuming.is_finished(), "all came to the owner");
            // The one that was deposed still asks for it, so it has it when the owner gives it back.
            owner.messaging.shards.detach(2).await;
            assert_eq!(consuming.await??[0].result, numbered(0));
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn questions_and_results_of_a_shard_come_to_the_process_that_attached_it_until_it_detaches() -> Checked {
    within_deadline(async {
        let cluster = patient(shared(Version::New).await?);
        let (one, two, worker) = (cluster.backend().await?, cluster.backend().await?, cluster.backend().await?);
        // Shards that are attached before and after somebody serves.
        one.messaging.shards.attach(0).await?;
        tokio::spawn(answer_all(one.messaging.control.serve().await?, "one"));
        tokio::spawn(answer_all(two.messaging.control.serve().await?, "two"));
        two.messaging.shards.attach(1).await?;
        for (shard, owner, name) in [(0, &one, "one"), (1, &two, "two")] {
            let run = run_of(shard);
            assert_eq!(worker.messaging.control.request(&run, Bytes::new()).await?, name);
            worker.messaging.results.queue(&run, numbered(shard.into())).await?;
            let came = owner.messaging.results.consume(10).await?;
            assert_eq!((came.len(), &came[0].run), (1, &run));
        }
        one.messaging.shards.detach(0).await;
        let answer = worker.messaging.control.request(&run_of(0), Bytes::new()).await;
        assert!(matches!(answer, Err(ControlError::NoAnswer)), "{answer:?}");
        assert!(two.messaging.shards.attach(SHARDS).await.is_err(), "there is no such shard");
        let names = consumers::names(&two.bus.connection, &two.bus.names.results_stream()).await?;
        assert_eq!(names.len(), 1, "what was detached left nothing behind: {names:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_shard_that_is_attached_again_delivers_again() -> Checked {
    within_deadline(async {
        let cluster = patient(shared(Version::New).await?);
        let (owner, run) = (cluster.owner().await?, run_of(3));
        owner.messaging.results.queue(&run, numbered(0)).await?;
        let first = owner.messaging.results.consume(1).await?.remove(0);
        owner.messaging.shards.attach(3).await?;
        let again = owner.messaging.results.consume(1).await?.remove(0);
        assert_eq!(first, again);
        owner.messaging.results.done(again.delivery).await?;
        results_left(&owner, 0).await;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_result_whose_mark_is_lost_comes_again_when_its_time_is_over() -> Checked {
    within_deadline(async {
        for version in BOTH {
            let cluster = again_after(shared(version).await?, 1_000);
            let (owner, run) = (cluster.owner().await?, new_run());
            owner.messaging.results.queue(&run, numbered(0)).await?;
            let first = owner.messaging.results.consume(1).await?.remove(0);
            let again = owner.messaging.results.consume(1).await?.remove(0);
            assert_eq!(first, again);
            owner.messaging.results.done(first.delivery).await?;
            results_left(&owner, 0).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_result_that_is_sent_again_is_stored_once() -> Checked {
    for version in BOTH {
        let cluster = patient(shared(version).await?);
        let (worker, runs) = (cluster.backend().await?, [new_run(), new_run()]);
        for run in &runs {
            for _ in 0..3 {
                worker.messaging.results.queue(run, numbered(0)).await?;
            }
        }
        results_left(&worker, 2).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_result_that_names_no_run_is_thrown_away() -> Checked {
    within_deadline(async {
        let cluster = patient(shared(Version::New).await?);
        let (owner, run) = (cluster.owner().await?, run_of(1));
        let junk = owner.bus.names.result_subject(1, &run).replace(run.as_str(), "junk");
        owner.bus.connection.store(&junk, HeaderMap::new(), Bytes::from_static(b"junk")).await?;
        owner.messaging.results.queue(&run, numbered(0)).await?;
        let came = owner.messaging.results.consume(10).await?;
        assert_eq!((came.len(), &came[0].run), (1, &run));
        results_left(&owner, 1).await;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn more_results_than_are_fetched_at_once_all_come() -> Checked {
    within_deadline(async {
        let cluster = patient(shared(Version::New).await?);
        let (owner, run) = (cluster.owner().await?, run_of(1));
        let publishing = (0..1_000).map(|n| {
            let results = owner.messaging.results.clone();
            let run = run.clone();
            async move { results.queue(&run, numbered(n)).await }
        });
        for published in futures::future::join_all(publishing).await {
            published?;
        }
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 1_000 {
            seen.extend(owner.messaging.results.consume(100).await?.into_iter().map(|delivery| delivery.result));
        }
        let stream = owner.bus.names.results_stream();
        let of_shard = consumers::names(&owner.bus.connection, &stream).await?;
        let of_shard = of_shard.iter().find(|name| name.starts_with("shard-1-")).expect("the shard has a consumer");
        let info = info(&owner, &format!("CONSUMER.INFO.{stream}.{of_shard}")).await?;
        assert_eq!(info["num_ack_pending"].as_u64(), Some(1_000), "none is done");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_consumer_of_a_shard_that_is_deleted_is_made_again() -> Checked {
    within_deadline(async {
        for version in BOTH {
            let cluster = patient(shared(version).await?);
            let (owner, run) = (cluster.owner().await?, new_run());
            let stream = owner.bus.names.results_stream();
            for name in consumers::names(&owner.bus.connection, &stream).await? {
                consumers::delete(&owner.bus.connection, &stream, &name).await?;
            }
            owner.messaging.results.queue(&run, numbered(0)).await?;
            assert_eq!(owner.messaging.results.consume(1).await?[0].result, numbered(0));
            eventually(async || {
                let names = consumers::names(&owner.bus.connection, &stream).await.ok()?;
                (names.len() == usize::from(SHARDS)).then_some(())
            })
            .await;
        }
        Ok(())
    })
    .await
}
