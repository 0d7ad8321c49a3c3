//! The SQLite file: how it is opened, what is in it, and what its errors mean.

use super::open_error::OpenError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::time::Duration;

pub const FILE_NAME: &str = "skein.db";

/// The version of the tables below. A higher one in the file is refused.
const SCHEMA_VERSION: i64 = 1;
/// `skei`: tells our files from those of other programs.
const APPLICATION_ID: i64 = 0x736B_6569;
/// How long a write waits for a writer in another process, at least.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it looks. SQLite's own waiting looks every 100 ms in the end, and a process that
/// writes all the time leaves the database free for moments only: it could miss all of them for 5 s.
const BUSY_POLL: Duration = Duration::from_micros(500);
/// A commit writes whole pages to the log and the checkpoint writes them again. With 1 KiB a run of 1000 agents (130
/// appends of 6 KiB) writes half of what it does with SQLite's default of 4 KiB.
const PAGE_BYTES: u32 = 1024;
/// Page cache of one connection, KiB.
const CACHE_KIB: i64 = 1024;

/// `records.place` is `runs.number << 32 | position`, so an append touches one B-tree only and at one end of the run.
const SCHEMA: &str = "
    CREATE TABLE runs(number INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE);
    CREATE TABLE records(place INTEGER PRIMARY KEY, record BLOB NOT NULL);
    CREATE TABLE blobs(run TEXT NOT NULL, digest TEXT NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY(run, digest))
        WITHOUT ROWID;
    CREATE TABLE directory(tbl TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY(tbl, key))
        WITHOUT ROWID;
    CREATE TABLE epochs(newest INTEGER NOT NULL);
    INSERT INTO epochs VALUES (0);
";

/// Opens the writing connection, and creates the tables in an empty file when `create` is set.
///
/// With `create` the caller must hold the lock of the store's opening: SQLite does not wait for another process that
/// is turning the same new file to WAL.
pub fn open(dir: &Path, create: bool) -> Result<Connection, OpenError> {
    let refuse = |error: rusqlite::Error| OpenError::from_sqlite(dir, &error);
    let connection = connect(dir).map_err(refuse)?;
    let version: i64 = pragma(&connection, "user_version").map_err(refuse)?;
    let application: i64 = pragma(&connection, "application_id").map_err(refuse)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(refuse)?;
    match (version, application, tables) {
        (0, 0, 0) if create => create_tables(&connection).map_err(refuse)?,
        (0, 0, 0) => return Err(OpenError::NotFound { dir: dir.to_owned() }),
        (_, APPLICATION_ID, _) if version <= SCHEMA_VERSION => {}
        (found, APPLICATION_ID, _) => {
            return Err(OpenError::NewerVersion { dir: dir.to_owned(), found, known: SCHEMA_VERSION });
        }
        _ => return Err(OpenError::Foreign { dir: dir.to_owned() }),
    }
    // The writer does it, when nobody waits.
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(refuse)?;
    Ok(connection)
}

/// One more connection to a store that is open already.
pub fn connect(dir: &Path) -> rusqlite::Result<Connection> {
    // A file that may only be read is opened so, silently; `is_read_only` tells.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(dir.join(FILE_NAME), flags)?;
    connection.busy_handler(Some(wait_for_other_process))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // The log stays when the last process ends: no checkpoint at exit, the next process overwrites it in place (a disk
    // flushes that sooner than a file that grows), and a store without the right to write can be read.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// SQLite asks after each try that met a writer of another process, and gives up when this answers `false`.
fn wait_for_other_process(tries: i32) -> bool {
    std::thread::park_timeout(BUSY_POLL); // Processes have no event for this.
    u32::try_from(tries).is_ok_and(|tries| BUSY_POLL.saturating_mul(tries) < BUSY_TIMEOUT)
}

/// Whether the file lets itself be read only.
pub fn is_read_only(connection: &Connection) -> rusqlite::Result<bool> {
    connection.is_readonly(rusqlite::MAIN_DB)
}

/// What a person reads when SQLite refused.
pub fn reason(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "disk full".to_owned(),
        Some(ErrorCode::ReadOnly) => "store is read-only".to_owned(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("store is busy: another process has been writing for {} s", BUSY_TIMEOUT.as_secs())
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => format!("store is damaged: {error}"),
        Some(ErrorCode::CannotOpen) => "store cannot be opened; was it moved or removed?".to_owned(),
        _ => error.to_string(),
    }
}

fn create_tables(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
