//! What `deploy/nats/users.conf` lets a worker do, and what not.

use crate::conformance::{Checked, new_run};
use crate::nats::server::{TestServer, Version};
use crate::nats::{NatsBackend, NatsConfig};
use async_nats::HeaderMap;
use bytes::Bytes;
use skein_common::config::NatsSettings;
use skein_common::ports::{BoxError, Ports};
use std::time::Duration;

const USERS: &str = include_str!("../../../../../deploy/nats/users.conf");
/// The server does not answer what is forbidden, so there is nothing else to wait for.
const FORBIDDEN_WITHIN: Duration = Duration::from_millis(300);

async fn join(server: &TestServer, user: &str, bootstrap: bool) -> Result<NatsBackend, BoxError> {
    let password_file = server.dir().join(format!("{user}.password"));
    std::fs::write(&password_file, format!("{user}-secret\n"))?;
    let settings = NatsSettings {
        url: server.url(),
        user: Some(user.to_owned()),
        password_file: Some(password_file),
        ..NatsSettings::default()
    };
    Ok(NatsBackend::connect(NatsConfig { settings, node: None, bootstrap, role: Some(user.to_owned()) }).await?)
}

fn users() -> String {
    let with_one = USERS.replace("$NATS_COORDINATOR_PASSWORD", "\"coordinator-secret\"");
    with_one.replace("$NATS_WORKER_PASSWORD", "\"worker-secret\"")
}

/// As the file says how to do it.
#[tokio::test]
async fn a_worker_with_a_user_of_its_own_writes_no_entry_but_its_own() -> Checked {
    let lines = users().replace("workers.*", "workers.node-1");
    let server = TestServer::start_with(Version::New, &lines).await?;
    let _made = join(&server, "coordinator", true).await?;
    let worker = join(&server, "worker", false).await?;
    worker.ports().directory.put("workers", "node-1", Bytes::from_static(b"here")).await?;
    let (headers, body) = (HeaderMap::new(), Bytes::from_static(b"of another"));
    let subject = worker.bus.names.directory_subject("workers", "node-2");
    let answer = worker.bus.connection.request_within(&subject, headers, body, FORBIDDEN_WITHIN).await;
    assert!(answer.is_err(), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_worker_may_store_texts_and_keep_its_entry_and_touch_neither_journal_nor_lease() -> Checked {
    let server = TestServer::start_with(Version::New, &users()).await?;
    let coordinator = join(&server, "coordinator", true).await?.ports();
    let worker = join(&server, "worker", false).await?;
    what_it_may(&worker.ports(), &coordinator).await?;
    what_it_may_not(&worker).await
}

async fn what_it_may(worker: &Ports, coordinator: &Ports) -> Checked {
    let run = new_run();
    for text in [Bytes::from_static(b"small"), Bytes::from(vec![7; 2_000_000])] {
        let digest = worker.blobs.put(&run, text.clone()).await?;
        assert!(coordinator.blobs.get(&run, &digest).await? == text);
        assert!(worker.blobs.get(&run, &digest).await? == text);
    }
    worker.directory.put("workers", "node-1", Bytes::from_static(b"here")).await?;
    assert_eq!(coordinator.directory.list("workers").await?.len(), 1);
    worker.directory.remove("workers", "node-1").await?;
    assert_eq!(coordinator.directory.list("workers").await?, []);
    assert_eq!(coordinator.directory.insert("workers", "node-1", Bytes::new()).await?, None);
    Ok(())
}

async fn what_it_may_not(worker: &NatsBackend) -> Checked {
    let (names, run) = (&worker.bus.names, new_run());
    for subject in [
        names.journal_subject(0, &run),
        names.lease_subject("shard-0"),
        names.directory_subject("runs", run.as_str()),
        names.tasks_subject("default"),
        names.steering(0),
        format!("$JS.API.STREAM.PURGE.{}", names.blobs_stream()),
        format!("$JS.API.STREAM.PURGE.{}", names.journal_stream()),
        format!("$JS.API.STREAM.DELETE.{}", names.journal_stream()),
        format!("$JS.API.STREAM.MSG.GET.{}", names.journal_stream()),
    ] {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        let answer = worker.bus.connection.request_within(&subject, headers, body, FORBIDDEN_WITHIN).await;
        assert!(answer.is_err(), "{subject}: {answer:?}");
    }
    Ok(())
}
