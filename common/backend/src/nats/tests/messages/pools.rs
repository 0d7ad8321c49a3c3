//! Tasks in work queues: their consumers, what a dropped pull or a dead worker had, and what is not marked done.

use super::cluster::{again_after, consumer_has, info, numbered, patient, stream_holds};
use crate::conformance::{Checked, eventually, within_deadline};
use crate::nats::NatsBackend;
use crate::nats::consumers::{self, Made};
use crate::nats::server::Version;
use crate::nats::tasks::pool_consumer;
use crate::nats::tests::world::{NatsWorld, new_cluster, shared};
use bytes::Bytes;
use skein_common::ports::{Target, TaskDelivery, Tasks, TasksError};
use std::collections::BTreeSet;
use std::sync::Arc;

const BOTH: [Version; 2] = [Version::New, Version::Old];

fn pool() -> Target {
    Target::Pool(String::from("default"))
}

fn host() -> Target {
    Target::Host(String::from("nginx-01"))
}

/// A pull of another worker, as far as the server knows of it.
async fn standing_pull(
    process: &NatsBackend,
    max: usize,
) -> tokio::task::JoinHandle<Result<Vec<TaskDelivery>, TasksError>> {
    let tasks = process.messaging.tasks.clone();
    let pulling = tokio::spawn(async move { tasks.pull(&pool(), max).await });
    waiting_pulls(process, |count| count > 0).await;
    pulling
}

async fn waiting_pulls(process: &NatsBackend, wanted: impl Fn(u64) -> bool) {
    let consumer = pool_consumer(&process.bus, "default");
    consumer_has(process, &consumer.stream, &consumer.name, "num_waiting", wanted).await;
}

#[tokio::test]
async fn workers_that_make_a_consumer_at_once_share_it_and_an_overlapping_one_is_refused() -> Checked {
    for version in BOTH {
        let cluster = NatsWorld::with(new_cluster(shared(version).await?));
        let workers = [cluster.backend().await?, cluster.backend().await?];
        let consumer = pool_consumer(&workers[0].bus, "default");
        let making = (0..16).map(|n| consumer.make(&workers[n % 2].bus.connection));
        for made in futures::future::join_all(making).await {
            assert_eq!(made?, Made::Ready);
        }
        let connection = &workers[0].bus.connection;
        for filter in [consumer.filter.clone(), workers[0].bus.names.tasks_subjects()] {
            let other = consumers::Consumer { name: String::from("other"), filter, ..consumer.clone() };
            assert_eq!(other.make(connection).await?, Made::Taken);
        }
        assert_eq!(consumers::names(connection, &consumer.stream).await?, [consumer.name.as_str()]);
        // One of another program's making: it is left alone, and nobody is told that it is ours.
        // (A server of 2.9 does not know the strict way to make one, and changes what is there.)
        let strange = consumers::Consumer { filter: workers[0].bus.names.tasks_subject("else"), ..consumer };
        assert!(version == Version::Old || strange.make(connection).await.is_err());
    }
    Ok(())
}

#[tokio::test]
async fn a_worker_with_another_time_of_redelivery_uses_the_consumer_that_is_there() -> Checked {
    for version in BOTH {
        let cluster = NatsWorld::with(new_cluster(shared(version).await?));
        let worker = cluster.backend().await?;
        let consumer = pool_consumer(&worker.bus, "default");
        assert_eq!(consumer.make(&worker.bus.connection).await?, Made::Ready);
        let other = consumers::Consumer { ack_wait: consumer.ack_wait * 2, ..consumer.clone() };
        assert_eq!(other.make(&worker.bus.connection).await?, Made::Ready);
    }
    Ok(())
}

#[tokio::test]
async fn what_was_on_its_way_to_a_dropped_pull_comes_to_the_next() -> Checked {
    within_deadline(async {
        for version in BOTH {
            let cluster = patient(shared(version).await?);
            let worker = cluster.backend().await?;
            let pulling = standing_pull(&worker, 5).await;
            pulling.abort();
            assert!(pulling.await.is_err(), "nothing was there to be pulled");
            let tasks = worker.messaging.tasks.clone();
            for n in 0..5 {
                tasks.dispatch(&pool(), numbered(n)).await?;
            }
            assert_eq!(pull_all(&*tasks, 5).await?, (0..5).map(numbered).collect::<BTreeSet<_>>());
            stream_holds(&worker, &worker.bus.names.tasks_stream(), 0).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_worker_had_and_did_not_take_goes_to_another_when_it_ends() -> Checked {
    within_deadline(async {
        for version in BOTH {
            let cluster = patient(shared(version).await?);
            let (ending, other) = (cluster.backend().await?, cluster.backend().await?);
            standing_pull(&ending, 5).await.abort();
            for n in 0..5 {
                other.messaging.tasks.dispatch(&pool(), numbered(n)).await?;
            }
            eventually(async || (ending.messaging.tasks.waiting("default") == 5).then_some(())).await;
            drop(ending);
            let pulled = pull_all(&*other.messaging.tasks, 5).await?;
            assert_eq!(pulled, (0..5).map(numbered).collect::<BTreeSet<_>>());
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_busy_worker_has_too_much_goes_to_another() -> Checked {
    within_deadline(async {
        let cluster = patient(shared(Version::New).await?);
        let (busy, other) = (cluster.backend().await?, cluster.backend().await?);
        standing_pull(&busy, 3).await.abort();
        for n in 0..3 {
            other.messaging.tasks.dispatch(&pool(), numbered(n)).await?;
        }
        let pulled = pull_all(&*other.messaging.tasks, 3).await?;
        assert_eq!(pulled, (0..3).map(numbered).collect::<BTreeSet<_>>());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_consumer_that_is_deleted_under_the_puller_is_made_again() -> Checked {
    within_deadline(async {
        for version in BOTH {
            let cluster = NatsWorld::with(new_cluster(shared(version).await?));
            let worker = cluster.backend().await?;
            let pulling = standing_pull(&worker, 5).await;
            pool_consumer(&worker.bus, "default").delete(&worker.bus.connection).await?;
            worker.messaging.tasks.dispatch(&pool(), numbered(0)).await?;
            assert_eq!(pulling.await??[0].task, numbered(0));
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_task_whose_mark_is_lost_comes_again_when_its_time_is_over() -> Checked {
    within_deadline(async {
        for version in BOTH {
            let cluster = again_after(shared(version).await?, 1_000);
            let worker = cluster.backend().await?;
            let tasks = worker.messaging.tasks.clone();
            tasks.dispatch(&pool(), numbered(0)).await?;
            let first = tasks.pull(&pool(), 1).await?.remove(0);
            let again = tasks.pull(&pool(), 1).await?.remove(0);
            assert_eq!(first, again, "the same task under the same number");
            tasks.done(first.delivery).await?;
            stream_holds(&worker, &worker.bus.names.tasks_stream(), 0).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_same_task_can_be_dispatched_again() -> Checked {
    let cluster = NatsWorld::with(new_cluster(shared(Version::New).await?));
    let worker = cluster.backend().await?;
    for _ in 0..2 {
        worker.messaging.tasks.dispatch(&pool(), numbered(0)).await?;
    }
    stream_holds(&worker, &worker.bus.names.tasks_stream(), 2).await;
    Ok(())
}

#[tokio::test]
async fn an_idle_pull_costs_one_request_and_a_pool_has_one_consumer() -> Checked {
    let cluster = NatsWorld::with(new_cluster(shared(Version::New).await?));
    let worker = cluster.backend().await?;
    let consumer = pool_consumer(&worker.bus, "default");
    let pulls: Vec<_> = (0..8)
        .map(|_| {
            let tasks = worker.messaging.tasks.clone();
            tokio::spawn(async move { tasks.pull(&pool(), 4).await })
        })
        .collect();
    waiting_pulls(&worker, |count| (1..=8).contains(&count)).await;
    for n in 0..32 {
        worker.messaging.tasks.dispatch(&pool(), numbered(n)).await?;
    }
    let mut pulled = 0;
    for pull in pulls {
        pulled += pull.await??.len();
    }
    assert!(pulled >= 8, "each had at least one");
    assert_eq!(consumers::names(&worker.bus.connection, &consumer.stream).await?, [consumer.name.as_str()]);
    let config = &info(&worker, &format!("CONSUMER.INFO.{}.{}", consumer.stream, consumer.name)).await?["config"];
    assert_eq!(config["max_waiting"].as_u64(), Some(16_384), "{config}");
    assert_eq!(config["max_ack_pending"].as_u64(), Some(20_000), "{config}");
    Ok(())
}

#[tokio::test]
async fn a_host_is_served_until_its_worker_ends_and_takes_so_many_tasks() -> Checked {
    within_deadline(async {
        for version in BOTH {
            let cluster = NatsWorld::with(new_cluster(shared(version).await?));
            let (owner, worker) = (cluster.backend().await?, cluster.backend().await?);
            let dispatcher = owner.messaging.tasks.clone();
            let serving = worker.messaging.tasks.clone();
            let pulling = tokio::spawn(async move { serving.pull(&host(), 1).await });
            eventually(async || dispatcher.dispatch(&host(), numbered(0)).await.ok()).await;
            assert_eq!(pulling.await??[0].task, numbered(0));
            let bound = fill(&dispatcher).await?;
            let pulled = worker.messaging.tasks.pull(&host(), bound + 1).await?;
            assert_eq!(pulled.len(), bound, "what was refused is not there");
            drop(worker);
            eventually(async || {
                let answer = dispatcher.dispatch(&host(), Bytes::new()).await;
                matches!(answer, Err(TasksError::NobodyServes { .. })).then_some(())
            })
            .await;
        }
        Ok(())
    })
    .await
}

/// Dispatches until the host is full; gives its bound, which is what it took.
async fn fill(tasks: &Arc<impl Tasks>) -> Result<usize, TasksError> {
    let mut taken = 0;
    loop {
        match tasks.dispatch(&host(), numbered(1)).await {
            Ok(()) => taken += 1,
            Err(TasksError::Full { bound }) => {
                assert_eq!(taken, bound);
                return Ok(bound);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Pulls until so many different tasks have come, and marks them done.
async fn pull_all(tasks: &impl Tasks, count: usize) -> Result<BTreeSet<Bytes>, TasksError> {
    let mut pulled = BTreeSet::new();
    while pulled.len() < count {
        for delivery in tasks.pull(&pool(), count).await? {
            tasks.done(delivery.delivery).await?;
            pulled.insert(delivery.task);
        }
    }
    Ok(pulled)
}
