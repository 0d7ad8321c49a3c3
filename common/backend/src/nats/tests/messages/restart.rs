//! A server that is killed and comes back while everything waits for it.

use super::cluster::{again_after, numbered, stream_holds};
use crate::conformance::{Checked, eventually, new_run, within_deadline};
use crate::nats::NatsBackend;
use crate::nats::server::{TestCluster, TestServer, Version};
use crate::nats::tests::replicated::replicated;
use crate::nats::tests::world::{NatsWorld, new_cluster};
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{Control as _, ControlServer, Results as _, ResultsError, Target, Tasks as _, TasksError};
use std::collections::BTreeSet;

fn pool() -> Target {
    Target::Pool(String::from("default"))
}

fn all(count: u32) -> BTreeSet<Bytes> {
    (0..count).map(numbered).collect()
}

async fn pull_all(process: NatsBackend, count: usize) -> Result<BTreeSet<Bytes>, TasksError> {
    let mut pulled = BTreeSet::new();
    while pulled.len() < count {
        for delivery in process.messaging.tasks.pull(&pool(), 16).await? {
            process.messaging.tasks.done(delivery.delivery).await?;
            pulled.insert(delivery.task);
        }
    }
    Ok(pulled)
}

async fn consume_all(process: NatsBackend, count: usize) -> Result<BTreeSet<Bytes>, ResultsError> {
    let mut consumed = BTreeSet::new();
    while consumed.len() < count {
        for delivery in process.messaging.results.consume(16).await? {
            process.messaging.results.done(delivery.delivery).await?;
            consumed.insert(delivery.result);
        }
    }
    Ok(consumed)
}

/// Numbers from .. to, to both queues at the same time.
async fn send(process: &NatsBackend, run: &RunId, numbers: std::ops::Range<u32>) -> Checked {
    for n in numbers {
        let target = pool();
        let (dispatched, published) = tokio::join!(
            process.messaging.tasks.dispatch(&target, numbered(n)),
            process.messaging.results.publish(run, numbered(n)),
        );
        dispatched?;
        published?;
    }
    Ok(())
}

/// The same as callers do it: what a server without a leader did not take for long is sent again.
async fn send_until_taken(process: &NatsBackend, run: &RunId, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let target = pool();
        let (tasks, results) = (&process.messaging.tasks, &process.messaging.results);
        tokio::join!(
            eventually(async || tasks.dispatch(&target, numbered(n)).await.ok()),
            eventually(async || results.publish(run, numbered(n)).await.ok()),
        );
    }
}

async fn answer_all(mut server: Box<dyn ControlServer>) {
    while let Some(asked) = server.next().await {
        asked.reply.send(Bytes::from_static(b"answer"));
    }
}

#[tokio::test]
async fn r04_tasks_and_results_of_before_and_after_a_kill_of_the_server_arrive() -> Checked {
    within_deadline(async {
        for version in [Version::New, Version::Old] {
            let mut server = TestServer::start_with(version, "").await?;
            // What was delivered and died on the way comes again after this time.
            let cluster = again_after(server.url(), 2_000);
            let (owner, worker, run) = (cluster.owner().await?, cluster.backend().await?, new_run());
            tokio::spawn(answer_all(owner.messaging.control.serve().await?));
            let pulling = tokio::spawn(pull_all(worker.clone(), 120));
            let consuming = tokio::spawn(consume_all(owner.clone(), 120));
            send(&worker, &run, 0..40).await?;
            server.kill();
            let sending = send(&worker, &run, 40..80);
            let (sent, restarted) = tokio::join!(sending, server.restart());
            restarted?;
            sent?;
            // As owners do it: the server that was killed may not have had all of them on its disk.
            worker.messaging.tasks.died().await;
            for n in 0..80 {
                worker.messaging.tasks.dispatch(&pool(), numbered(n)).await?;
            }
            send(&worker, &run, 80..120).await?;
            assert_eq!(pulling.await??, all(120));
            assert_eq!(consuming.await??, all(120));
            let answer = eventually(async || worker.messaging.control.request(&run, Bytes::new()).await.ok()).await;
            assert_eq!(answer, "answer");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn r04_idle_pulls_stand_again_when_the_server_is_back() -> Checked {
    within_deadline(async {
        for version in [Version::New, Version::Old] {
            let mut server = TestServer::start_with(version, "").await?;
            let cluster = NatsWorld::with(new_cluster(server.url()));
            let (owner, worker, run) = (cluster.owner().await?, cluster.backend().await?, new_run());
            let pulling = tokio::spawn(pull_all(worker.clone(), 2));
            let consuming = tokio::spawn(consume_all(owner.clone(), 2));
            send(&worker, &run, 0..1).await?;
            for _ in 0..3 {
                server.kill();
                server.restart().await?;
            }
            // As owners do it: the task may have died with the server.
            worker.messaging.tasks.died().await;
            worker.messaging.tasks.dispatch(&pool(), numbered(0)).await?;
            send(&worker, &run, 1..2).await?;
            assert_eq!((pulling.await??, consuming.await??), (all(2), all(2)));
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r04_tasks_and_results_arrive_though_each_of_three_servers_is_killed_in_turn() -> Checked {
    within_deadline(async {
        let mut servers = TestCluster::start().await?;
        let cluster = replicated(&servers).await?;
        let (owner, worker, run) = (cluster.owner().await?, cluster.backend().await?, new_run());
        let pulling = tokio::spawn(pull_all(worker.clone(), 60));
        let consuming = tokio::spawn(consume_all(owner.clone(), 60));
        for killed in 0..3 {
            servers.servers[killed].kill();
            let first = u32::try_from(killed)? * 20;
            send_until_taken(&worker, &run, first..first + 20).await;
            servers.servers[killed].restart().await?;
        }
        assert_eq!((pulling.await??, consuming.await??), (all(60), all(60)));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_sent_while_there_is_no_server_is_stored_once() -> Checked {
    within_deadline(async {
        let mut server = TestServer::start().await?;
        let (process, run) = (NatsWorld::with(new_cluster(server.url())).backend().await?, new_run());
        server.kill();
        eventually(async || (!process.is_connected()).then_some(())).await;
        let (sent, restarted) = tokio::join!(send(&process, &run, 0..3), server.restart());
        restarted?;
        sent?;
        stream_holds(&process, &process.bus.names.tasks_stream(), 3).await;
        stream_holds(&process, &process.bus.names.results_stream(), 3).await;
        Ok(())
    })
    .await
}
