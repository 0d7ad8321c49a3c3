//! Writes that were torn: the log ends anywhere, in nothing, in zeros or in noise; the last page of the database is
//! damaged or cut off. What was acknowledged before the tear is there, what was torn is not, and the store goes on or
//! says that it is damaged.

use bytes::Bytes;
use skein_backend::conformance::new_run;
use skein_backend::embedded::{OpenError, Store};
use skein_common::RunId;
use skein_common::ports::{BoxError, JournalError};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

type Tested = Result<(), BoxError>;

/// Tears in the quick tier; `SKEIN_TEST_TEARS` sets another number.
const TEARS: usize = 60;
const APPENDS: usize = 12;
const PAGE_BYTES: usize = 1024;

/// What is behind the tear.
#[derive(Debug, Clone, Copy)]
enum Tail {
    /// The file ends.
    Cut,
    /// The file system had given the room, and nothing was written.
    Zeros,
    /// Something else was there.
    Noise,
}

const TAILS: [Tail; 3] = [Tail::Cut, Tail::Zeros, Tail::Noise];

fn tears() -> usize {
    std::env::var("SKEIN_TEST_TEARS").ok().and_then(|text| text.parse().ok()).unwrap_or(TEARS)
}

/// Records of growing size, which do not compress: some fit into a page, some take several.
fn record(position: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ position as u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(40 + position * 350).collect()
}

/// A store whose tables are in the database, and whose records are in the log; with the length of the log after each
/// acknowledged append.
async fn written(dir: &Path) -> Result<(RunId, Vec<usize>), BoxError> {
    let run = new_run();
    Store::open(dir)?.ports().journal.append(&new_run(), 0, vec![record(1)]).await?;
    checkpoint(dir)?;
    let store = Store::open(dir)?;
    let mut lengths = Vec::new();
    for position in 0..APPENDS {
        store.ports().journal.append(&run, position as u64, vec![record(position)]).await?;
        lengths.push(usize::try_from(fs::metadata(dir.join("skein.db-wal"))?.len())?);
    }
    Ok((run, lengths))
}

/// A copy of the store whose log is good up to `tear` only.
fn torn_copy(from: &Path, to: &Path, tear: usize, tail: Tail) -> std::io::Result<()> {
    fs::copy(from.join("skein.db"), to.join("skein.db"))?;
    let mut log = fs::read(from.join("skein.db-wal"))?;
    match tail {
        Tail::Cut => log.truncate(tear),
        Tail::Zeros => log[tear..].fill(0),
        Tail::Noise => log[tear..].iter_mut().zip(0_u8..=255).for_each(|(byte, noise)| *byte ^= noise | 1),
    }
    fs::write(to.join("skein.db-wal"), log)
}

#[tokio::test]
async fn wherever_the_log_is_torn_all_that_was_acknowledged_before_is_there() -> Tested {
    let dir = tempfile::tempdir()?;
    let (run, lengths) = written(dir.path()).await?;
    let end = lengths[APPENDS - 1];
    let (last, tears) = (lengths[APPENDS - 2], tears());
    // Over the whole log, and closer over its last record.
    let whole = (0..end).step_by((2 * end).div_ceil(tears).max(1));
    let in_last = (last..end).step_by((2 * (end - last)).div_ceil(tears).max(1));
    for (tear, tail) in whole.chain(in_last).zip(TAILS.into_iter().cycle()) {
        let torn = tempfile::tempdir()?;
        torn_copy(dir.path(), torn.path(), tear, tail)?;
        let stored = lengths.iter().filter(|length| **length <= tear).count();
        let journal = Store::open(torn.path())?.ports().journal;
        let expected: Vec<Bytes> = (0..stored).map(record).collect();
        assert!(journal.read(&run, 0).await? == expected, "torn at {tear} of {end}, {tail:?}: not {stored} records");
        journal.append(&run, stored as u64, vec![record(99)]).await?;
        assert_eq!(journal.read(&run, stored as u64).await?, [record(99)], "torn at {tear}: it goes on");
    }
    Ok(())
}

#[tokio::test]
async fn a_damaged_last_page_makes_the_newest_run_unreadable_and_not_the_store() -> Tested {
    let dir = tempfile::tempdir()?;
    let runs = [new_run(), new_run(), new_run()];
    let journal = Store::open(dir.path())?.ports().journal;
    for run in &runs {
        journal.append(run, 0, vec![record(60)]).await?;
    }
    drop(journal);
    checkpoint(dir.path())?;
    let path = dir.path().join("skein.db");
    let last = fs::metadata(&path)?.len() - PAGE_BYTES as u64;
    fs::OpenOptions::new().write(true).open(&path)?.write_all_at(&[0xAA; PAGE_BYTES], last)?;
    let journal = Store::open(dir.path())?.ports().journal;
    let damaged = journal.read(&runs[2], 0).await;
    assert!(matches!(damaged, Err(JournalError::Unreadable { .. })), "{damaged:?}");
    assert_eq!(journal.read(&runs[0], 0).await?, [record(60)]);
    assert_eq!(journal.list().await?, runs);
    Ok(())
}

#[tokio::test]
async fn a_database_whose_last_page_was_cut_off_says_that_it_is_damaged() -> Tested {
    let dir = tempfile::tempdir()?;
    let run = new_run();
    Store::open(dir.path())?.ports().journal.append(&run, 0, vec![record(60)]).await?;
    checkpoint(dir.path())?;
    let path = dir.path().join("skein.db");
    let whole = fs::metadata(&path)?.len();
    for missing in [1, 100, PAGE_BYTES as u64 - 1, PAGE_BYTES as u64, 4 * PAGE_BYTES as u64] {
        fs::OpenOptions::new().write(true).open(&path)?.set_len(whole - missing)?;
        let before = fs::read(&path)?;
        match Store::open(dir.path()) {
            // A part of a page is as good as a damaged one.
            Ok(store) => {
                let damaged = store.ports().journal.read(&run, 0).await;
                assert!(matches!(damaged, Err(JournalError::Unreadable { .. })), "{missing} bytes missing");
            }
            Err(refusal) => assert!(matches!(refusal, OpenError::Damaged { .. }), "{missing} missing: {refusal}"),
        }
        assert!(fs::read(&path)? == before, "{missing} bytes missing: it is left as it is");
    }
    Ok(())
}

/// Moves all of the log into the database; nobody else has it open.
fn checkpoint(dir: &Path) -> rusqlite::Result<()> {
    let database = rusqlite::Connection::open(dir.join("skein.db"))?;
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
