//! What the files of an embedded store do when they are new, strange, damaged or shared.

use bytes::Bytes;
use skein_backend::conformance::new_run;
use skein_backend::embedded::{OpenError, Store};
use skein_common::RunId;
use skein_common::ports::{BoxError, JournalError};
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;

type Tested = Result<(), BoxError>;

const PAGE_BYTES: u64 = 1024;

#[test]
fn a_new_store_is_private_to_its_user() -> Tested {
    let parent = tempfile::tempdir()?;
    let dir = parent.path().join("state/skein");
    let store = Store::open(&dir)?;
    let mode = |path: &Path| fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777);
    assert_eq!(mode(&dir)?, 0o700);
    assert_eq!(mode(&store.runs_dir())?, 0o700);
    for file in ["skein.db", "skein.db-wal", "skein.db-shm"] {
        assert_eq!(mode(&dir.join(file))?, 0o600, "{file}");
    }
    Ok(())
}

#[test]
fn a_reader_finds_no_store_and_creates_none() -> Tested {
    let parent = tempfile::tempdir()?;
    let dir = parent.path().join("skein");
    let refusal = Store::open_existing(&dir).expect_err("there is none");
    assert!(matches!(refusal, OpenError::NotFound { .. }), "{refusal}");
    assert!(!dir.exists());
    Ok(())
}

#[tokio::test]
async fn a_reader_sees_what_a_writer_acknowledged_while_it_writes() -> Tested {
    let dir = tempfile::tempdir()?;
    let (writer, reader) = (Store::open(dir.path())?.ports(), Store::open_existing(dir.path())?.ports());
    let run = new_run();
    for expected in 0..20 {
        writer.journal.append(&run, expected, vec![record(expected)]).await?;
        assert_eq!(reader.journal.read(&run, expected).await?, [record(expected)]);
    }
    Ok(())
}

#[test]
fn a_store_of_a_newer_version_is_refused() -> Tested {
    let dir = tempfile::tempdir()?;
    drop(Store::open(dir.path())?);
    sqlite(dir.path())?.pragma_update(None, "user_version", 99)?;
    for refusal in [Store::open(dir.path()), Store::open_existing(dir.path())] {
        let refusal = refusal.expect_err("newer").to_string();
        assert!(refusal.contains("store of a newer version (99"), "{refusal}");
    }
    Ok(())
}

#[test]
fn the_database_of_another_program_is_refused_and_left_alone() -> Tested {
    let dir = tempfile::tempdir()?;
    sqlite(dir.path())?.execute_batch("CREATE TABLE theirs(x)")?;
    let before = fs::read(dir.path().join("skein.db"))?;
    let refusal = Store::open(dir.path()).expect_err("foreign");
    assert!(matches!(refusal, OpenError::Foreign { .. }), "{refusal}");
    assert_eq!(fs::read(dir.path().join("skein.db"))?, before);
    Ok(())
}

#[test]
fn a_file_that_is_no_database_is_damaged() -> Tested {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("skein.db"), "no database at all ".repeat(1000))?;
    for refusal in [Store::open(dir.path()), Store::open_existing(dir.path())] {
        let refusal = refusal.expect_err("damaged");
        assert!(matches!(refusal, OpenError::Damaged { .. }), "{refusal}");
    }
    Ok(())
}

#[tokio::test]
async fn a_damaged_page_makes_its_run_unreadable_and_no_other() -> Tested {
    let dir = tempfile::tempdir()?;
    let runs = store_three_runs(dir.path()).await?;
    overwrite_page_of(&runs[1], dir.path(), |file, page| file.write_all_at(&[0xAA; PAGE_BYTES as usize], page))?;
    assert_only_second_is_unreadable(dir.path(), &runs).await
}

#[tokio::test]
async fn a_flipped_byte_that_sqlite_does_not_see_makes_its_run_unreadable_and_no_other() -> Tested {
    let dir = tempfile::tempdir()?;
    let runs = store_three_runs(dir.path()).await?;
    overwrite_page_of(&runs[1], dir.path(), |file, page| {
        let (mut byte, middle) = ([0], page + PAGE_BYTES / 2);
        file.read_exact_at(&mut byte, middle)?;
        file.write_all_at(&[!byte[0]], middle)
    })?;
    assert_only_second_is_unreadable(dir.path(), &runs).await
}

#[tokio::test]
async fn a_torn_end_of_the_log_costs_only_what_was_torn() -> Tested {
    let (dir, torn) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let store = Store::open(dir.path())?;
    let run = new_run();
    for expected in 0..10 {
        store.ports().journal.append(&run, expected, vec![record(expected)]).await?;
    }
    for file in ["skein.db", "skein.db-wal"] {
        fs::copy(dir.path().join(file), torn.path().join(file))?;
    }
    let log = fs::OpenOptions::new().write(true).open(torn.path().join("skein.db-wal"))?;
    log.set_len(log.metadata()?.len() - 100)?;
    let journal = Store::open(torn.path())?.ports().journal;
    assert_eq!(journal.read(&run, 0).await?, (0..9).map(record).collect::<Vec<_>>());
    assert_eq!(journal.append(&run, 9, vec![record(9)]).await?, 10);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_directory_append_to_different_runs_at_once() -> Tested {
    let dir = tempfile::tempdir()?;
    let mut appending = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let store = Store::open(dir.path())?;
        for _ in 0..4 {
            let (journal, run) = (store.ports().journal, new_run());
            appending.spawn(async move {
                for expected in 0..25 {
                    journal.append(&run, expected, vec![record(expected)]).await?;
                }
                Ok::<_, JournalError>(run)
            });
        }
    }
    let journal = Store::open_existing(dir.path())?.ports().journal;
    for run in appending.join_all().await {
        assert_eq!(journal.read(&run?, 0).await?, (0..25).map(record).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn many_that_open_a_new_store_at_once_all_get_it() -> Tested {
    let parent = tempfile::tempdir()?;
    let dir = parent.path().join("skein");
    let opened: Vec<_> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..8).map(|_| scope.spawn(|| Store::open(&dir))).collect();
        opening.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for store in opened {
        store?;
    }
    Ok(())
}

/// Three runs of large records, all of them in the database file and none in the log.
async fn store_three_runs(dir: &Path) -> Result<[RunId; 3], BoxError> {
    let runs = [new_run(), new_run(), new_run()];
    let journal = Store::open(dir)?.ports().journal;
    for run in &runs {
        journal.append(run, 0, vec![marked(run)]).await?;
    }
    drop(journal);
    sqlite(dir)?.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(runs)
}

/// Damages one page in the middle of the records of `run`.
fn overwrite_page_of(
    run: &RunId,
    dir: &Path,
    damage: impl FnOnce(&fs::File, u64) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let path = dir.join("skein.db");
    let content = fs::read(&path)?;
    let marked = marked(run);
    let middle = &marked[10_000..10_032];
    let offset = content.windows(middle.len()).position(|window| window == middle);
    let offset = offset.ok_or_else(|| std::io::Error::other("the record is not stored as it is"))?;
    let page = offset as u64 / PAGE_BYTES * PAGE_BYTES;
    damage(&fs::OpenOptions::new().read(true).write(true).open(path)?, page)
}

async fn assert_only_second_is_unreadable(dir: &Path, runs: &[RunId; 3]) -> Tested {
    let journal = Store::open(dir)?.ports().journal;
    let damaged = journal.read(&runs[1], 0).await;
    assert!(matches!(damaged, Err(JournalError::Unreadable { .. })), "{damaged:?}");
    for run in [&runs[0], &runs[2]] {
        assert_eq!(journal.read(run, 0).await?, [marked(run)]);
        journal.append(run, 1, vec![record(1)]).await?;
    }
    Ok(())
}

/// Bytes of this run only, which do not compress and so are stored as they are.
fn marked(run: &RunId) -> Bytes {
    let mut state =
        u64::from_str_radix(&skein_common::Digest::of(run.as_str().as_bytes()).0[..15], 16).unwrap_or(1) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(32_000).collect()
}

fn record(position: u64) -> Bytes {
    Bytes::from(format!("record {position}"))
}

fn sqlite(dir: &Path) -> rusqlite::Result<rusqlite::Connection> {
    rusqlite::Connection::open(dir.join("skein.db"))
}
