//! The conformance suite on this backend, and what only this backend has: its files and their damage.

use super::store::{Settings, Store};
use crate::conformance::World;
use async_trait::async_trait;
use skein_common::ports::{BoxError, Ports};
use tempfile::TempDir;

/// A directory; each process is a store of its own on it.
struct EmbeddedWorld {
    dir: TempDir,
}

impl EmbeddedWorld {
    async fn fresh() -> Result<EmbeddedWorld, BoxError> {
        Ok(EmbeddedWorld { dir: tempfile::tempdir()? })
    }
}

#[async_trait]
impl World for EmbeddedWorld {
    async fn process(&self) -> Result<Ports, BoxError> {
        Ok(Store::open(self.dir.path())?.ports())
    }

    async fn cramped_process(&self) -> Result<Option<Ports>, BoxError> {
        let settings = Settings { pages_max: Some(200) };
        Ok(Some(Store::open_with(self.dir.path(), settings)?.ports()))
    }
}

crate::conformance_suite!(EmbeddedWorld::fresh);

mod alone {
    use super::*;
    use crate::conformance::new_run;
    use bytes::Bytes;
    use skein_common::ports::JournalError;

    #[tokio::test]
    async fn of_appends_that_share_a_commit_only_the_one_that_does_not_fit_is_refused() -> Result<(), BoxError> {
        let world = EmbeddedWorld::fresh().await?;
        let journal = world.cramped_process().await?.expect("a cramped process").journal;
        let mut appending = tokio::task::JoinSet::new();
        for n in 0..40_u32 {
            let journal = journal.clone();
            let record = if n == 20 { noise(1 << 20) } else { Bytes::from_static(b"small") };
            appending.spawn(async move { (n, journal.append(&new_run(), 0, vec![record]).await) });
        }
        for (n, answer) in appending.join_all().await {
            match answer {
                Err(JournalError::Refused { reason }) if n == 20 => assert_eq!(reason, "disk full"),
                answer => assert!(answer.is_ok() && n != 20, "{n}: {answer:?}"),
            }
        }
        assert_eq!(journal.list().await?.len(), 39);
        Ok(())
    }

    #[tokio::test]
    async fn the_log_is_moved_into_the_database_while_the_store_is_open() -> Result<(), BoxError> {
        let world = EmbeddedWorld::fresh().await?;
        let journal = world.process().await?.journal;
        let run = new_run();
        for expected in 0..60 {
            journal.append(&run, expected, vec![noise(200_000)]).await?;
        }
        let log = std::fs::metadata(world.dir.path().join("skein.db-wal"))?.len();
        assert!(log < 60 * 200_000 / 2, "the log has {log} bytes");
        assert_eq!(world.process().await?.journal.read(&run, 0).await?, vec![noise(200_000); 60]);
        Ok(())
    }

    #[tokio::test]
    async fn a_lease_whose_file_was_removed_is_lost_and_its_successor_keeps_it() -> Result<(), BoxError> {
        let world = EmbeddedWorld::fresh().await?;
        let (process, other) = (world.process().await?, world.process().await?);
        let lease = process.leases.acquire("run-1", "alice").await?;
        std::fs::remove_file(world.dir.path().join("runs/run-1.lock"))?;
        let newer = other.leases.acquire("run-1", "bob").await?;
        assert!(process.leases.renew(&lease).await.is_err());
        process.leases.release(&lease).await?;
        other.leases.renew(&newer).await?;
        assert!(other.leases.holder("run-1").await?.is_some_and(|holder| holder.contains("bob")));
        Ok(())
    }

    #[tokio::test]
    async fn a_name_that_leads_out_of_the_directory_is_no_lease() -> Result<(), BoxError> {
        let leases = EmbeddedWorld::fresh().await?.process().await?.leases;
        for name in ["", ".", "..", "../run-1", "a/b", "a\0b", ".hidden", &"x".repeat(201)] {
            assert!(leases.acquire(name, "alice").await.is_err(), "{name}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn the_queue_of_a_pool_is_forgotten_when_nobody_uses_it() -> Result<(), BoxError> {
        use super::super::tasks::LocalTasks;
        use skein_common::ports::{Target, Tasks as _};
        let tasks = LocalTasks::default();
        for n in 0..100 {
            let target = Target::Pool(format!("pool {n}"));
            tasks.dispatch(&target, Bytes::new()).await?;
            tasks.pull(&target, 1).await?;
        }
        assert_eq!(tasks.queue_count(), 0);
        Ok(())
    }

    fn noise(length: usize) -> Bytes {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        words.flatten().take(length).collect()
    }
}
