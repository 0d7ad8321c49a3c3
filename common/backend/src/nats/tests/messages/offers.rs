//! Results on the short way: who gets them, and what becomes of those that nobody takes.

use super::cluster::{numbered, patient, run_of, stream_holds};
use crate::conformance::{Checked, eventually, within_deadline};
use crate::nats::NatsBackend;
use crate::nats::connection::RequestError;
use crate::nats::server::Version;
use crate::nats::tests::world::shared;
use async_nats::HeaderMap;
use bytes::Bytes;
use futures::FutureExt as _;
use skein_common::ports::{Results as _, Shards as _};

async fn in_queue(process: &NatsBackend, count: u64) {
    stream_holds(process, &process.bus.names.results_stream(), count).await;
}

#[tokio::test]
async fn an_owner_that_takes_results_gets_them_without_the_queue() -> Checked {
    within_deadline(async {
        let cluster = patient(shared(Version::New).await?);
        let (owner, worker, run) = (cluster.owner().await?, cluster.backend().await?, run_of(1));
        let mut publishing =
            Box::pin(futures::future::join_all((0..40).map(|n| worker.messaging.results.publish(&run, numbered(n)))));
        let mut came = Vec::new();
        while came.len() < 40 {
            let some = tokio::select! {
                published = &mut publishing => panic!("accepted before it was done: {published:?}"),
                some = owner.messaging.results.consume(40) => some?,
            };
            came.extend(some);
        }
        let mut seen: Vec<Bytes> = came.iter().map(|delivery| delivery.result.clone()).collect();
        seen.sort();
        let mut expected: Vec<Bytes> = (0..40).map(numbered).collect();
        expected.sort();
        assert_eq!(seen, expected);
        for delivery in came {
            owner.messaging.results.done(delivery.delivery).await?;
        }
        for published in publishing.await {
            published?;
        }
        in_queue(&owner, 0).await;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_nobody_answers_for_is_in_the_queue_and_comes_once() -> Checked {
    within_deadline(async {
        let cluster = patient(shared(Version::New).await?);
        let (owner, worker) = (cluster.owner().await?, cluster.backend().await?);
        let run = run_of(2);
        worker.messaging.results.publish(&run, numbered(0)).await?;
        in_queue(&owner, 1).await;
        let came = owner.messaging.results.consume(10).await?;
        assert_eq!((came.len(), &came[0].result), (1, &numbered(0)));
        assert!(owner.messaging.results.consume(10).now_or_never().is_none(), "the offer ended with its sender");
        owner.messaging.results.done(came[0].delivery).await?;
        in_queue(&owner, 0).await;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn where_nobody_owns_the_shard_the_queue_has_it_at_once() -> Checked {
    within_deadline(async {
        let cluster = patient(shared(Version::New).await?);
        let worker = cluster.backend().await?;
        worker.messaging.results.publish(&run_of(0), numbered(0)).await?;
        in_queue(&worker, 1).await;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_an_owner_had_that_died_is_in_the_queue_before_its_time_is_over() -> Checked {
    within_deadline(async {
        let cluster = patient(shared(Version::New).await?);
        let (owner, worker, run) = (cluster.owner().await?, cluster.backend().await?, run_of(1));
        let results = worker.messaging.results.clone();
        let direct = worker.bus.names.ends(1);
        let published = {
            let run = run.clone();
            tokio::spawn(async move { results.publish(&run, numbered(0)).await })
        };
        owner.messaging.results.consume(1).await?;
        // As a process that is killed: it says nothing, its connection ends.
        owner.bus.connection.client().drain().await?;
        let heard = eventually(async || {
            let asked = worker.bus.connection.request(&direct, HeaderMap::new(), Bytes::new()).await;
            matches!(asked, Err(RequestError::NoResponders { .. })).then_some(())
        });
        heard.await;
        published.await??;
        in_queue(&worker, 1).await;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_owner_that_gives_its_shard_back_sends_offers_to_the_queue() -> Checked {
    within_deadline(async {
        let cluster = patient(shared(Version::New).await?);
        let (owner, next, run) = (cluster.owner().await?, cluster.backend().await?, run_of(3));
        let worker = cluster.backend().await?;
        let results = worker.messaging.results.clone();
        let published = {
            let run = run.clone();
            tokio::spawn(async move { results.publish(&run, numbered(0)).await })
        };
        let first = owner.messaging.results.consume(1).await?.remove(0);
        owner.messaging.shards.detach(3).await;
        owner.messaging.results.done(first.delivery).await?;
        published.await??;
        next.messaging.shards.attach(3).await?;
        let again = next.messaging.results.consume(1).await?.remove(0);
        assert_eq!((again.run, again.result), (run, first.result));
        Ok(())
    })
    .await
}
