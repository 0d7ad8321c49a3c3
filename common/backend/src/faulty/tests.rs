//! The conformance suite on the embedded backend under faults, and the faults that a caller does notice.

use super::{Crash, Faults, Plan, faulty};
use crate::conformance::{Checked, World, new_run};
use crate::embedded::{Settings, Store};
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{BlobError, BoxError, ControlError, FeedItem, JournalError, Ports, Target};
use tempfile::TempDir;

/// The embedded backend that loses, repeats and delays within its contracts.
struct FaultyWorld {
    dir: TempDir,
    seed: u64,
}

impl FaultyWorld {
    async fn fresh() -> Result<FaultyWorld, BoxError> {
        let seed = std::process::id().into();
        eprintln!("seed {seed}");
        Ok(FaultyWorld { dir: tempfile::tempdir()?, seed })
    }

    fn plan(&self) -> Plan {
        Plan { seed: self.seed, faults: Faults::unnoticed(), crash: None }
    }
}

#[async_trait]
impl World for FaultyWorld {
    async fn process(&self) -> Result<Ports, BoxError> {
        Ok(faulty(Store::open(self.dir.path())?.ports(), self.plan()))
    }

    async fn cramped_process(&self) -> Result<Option<Ports>, BoxError> {
        let settings = Settings { pages_max: Some(200) };
        Ok(Some(faulty(Store::open_with(self.dir.path(), settings)?.ports(), self.plan())))
    }
}

crate::conformance_suite!(FaultyWorld::fresh);

/// The embedded backend with one fault that always happens.
fn always(faults: Faults) -> Result<(TempDir, Ports), BoxError> {
    let dir = tempfile::tempdir()?;
    let ports = faulty(Store::open(dir.path())?.ports(), Plan { seed: 1, faults, crash: None });
    Ok((dir, ports))
}

fn record() -> Vec<Bytes> {
    vec![Bytes::from_static(b"record")]
}

#[tokio::test]
async fn an_append_can_be_stored_lost_or_refused() -> Checked {
    for (faults, stored, unknown) in [
        (Faults { append_unknown_stored: 1000, ..Faults::default() }, 1, true),
        (Faults { append_unknown_lost: 1000, ..Faults::default() }, 0, true),
        (Faults { append_refused: 1000, ..Faults::default() }, 0, false),
    ] {
        let (_dir, ports) = always(faults)?;
        let run = new_run();
        match ports.journal.append(&run, 0, record()).await {
            Err(JournalError::Unknown { .. }) => assert!(unknown),
            Err(JournalError::Refused { .. }) => assert!(!unknown),
            other => unreachable!("{other:?}"),
        }
        assert_eq!(ports.journal.read(&run, 0).await?.len(), stored);
    }
    Ok(())
}

#[tokio::test]
async fn of_an_append_that_is_stored_partly_the_first_records_are_there() -> Checked {
    let (_dir, ports) = always(Faults { append_unknown_partly: 1000, ..Faults::default() })?;
    let records: Vec<Bytes> = (0..5_u8).map(|n| Bytes::from(vec![n])).collect();
    for _ in 0..20 {
        let run = new_run();
        let answer = ports.journal.append(&run, 0, records.clone()).await;
        assert!(matches!(answer, Err(JournalError::Unknown { .. })), "{answer:?}");
        let stored = ports.journal.read(&run, 0).await?;
        assert!(stored.len() < records.len() && records.starts_with(&stored), "{stored:?}");
    }
    Ok(())
}

#[tokio::test]
async fn requests_broadcasts_items_and_blobs_can_be_lost() -> Checked {
    let faults =
        Faults { no_answer: 1000, broadcast_lost: 1000, item_missed: 1000, unavailable: 1000, ..Faults::default() };
    let (_dir, ports) = always(faults)?;
    let _server = ports.control.serve().await?;
    let mut heard = ports.control.subscribe().await?;
    ports.control.broadcast(Bytes::from_static(b"lost")).await?;
    assert!(now(heard.next()).is_none(), "nothing was heard");
    let mut watcher = ports.feed.subscribe("run-1");
    ports.feed.publish("run-1", Bytes::from_static(b"lost"));
    assert_eq!(watcher.next().await, Some(FeedItem::Missed(1)));
    assert!(matches!(ports.blobs.put(&new_run(), Bytes::new()).await, Err(BlobError::Unavailable { .. })));
    assert!(ports.directory.list("runs").await.is_err());
    let run = new_run();
    let asking = ports.control.request(&run, Bytes::new());
    let answer = tokio::select! {
        biased;
        answer = asking => Some(answer),
        () = tokio::task::yield_now() => None, // The request is with the server, who keeps it.
    };
    assert!(matches!(answer, None | Some(Err(ControlError::NoAnswer))), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn what_may_come_twice_can_always_do_so() -> Checked {
    let (_dir, ports) = always(Faults::doubled())?;
    let (pool, run) = (Target::Pool(String::from("default")), new_run());
    ports.tasks.dispatch(&pool, Bytes::from_static(b"task")).await?;
    let tasks = ports.tasks.pull(&pool, 8).await?;
    assert_eq!((tasks.len(), &tasks[0]), (2, &tasks[1]));
    ports.results.publish(&run, Bytes::from_static(b"result")).await?;
    let (first, again) = (ports.results.consume(8).await?, ports.results.consume(8).await?);
    assert_eq!((first.len(), &first), (1, &again));
    ports.results.done(first[0].delivery).await?;
    let mut server = ports.control.serve().await?;
    let answering = tokio::spawn(async move {
        for answer in [&b"one"[..], b"two"] {
            let Some(asked) = server.next().await else { return };
            asked.reply.send(Bytes::from_static(answer));
        }
    });
    assert_eq!(ports.control.request(&run, Bytes::new()).await?, "two");
    answering.await?;
    Ok(())
}

#[tokio::test]
async fn at_a_crash_nothing_answers_any_more() -> Checked {
    for after in [false, true] {
        let dir = tempfile::tempdir()?;
        let crash = Crash::at(2, after);
        let plan = Plan { seed: 1, faults: Faults::default(), crash: Some(crash.clone()) };
        let (inner, run) = (Store::open(dir.path())?.ports(), new_run());
        let ports = faulty(inner.clone(), plan);
        ports.journal.append(&run, 0, record()).await?;
        tokio::select! {
            answer = ports.journal.append(&run, 1, record()) => unreachable!("{answer:?}"),
            () = crash.happens() => {}
        }
        assert_eq!(inner.journal.read(&run, 0).await?.len(), 1 + usize::from(after));
    }
    Ok(())
}

/// The answer if it is there at once.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(answer) => Some(answer),
        std::task::Poll::Pending => None,
    }
}
