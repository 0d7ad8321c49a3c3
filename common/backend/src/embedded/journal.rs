//! The journal in SQLite.

use super::readers::{ReadError, Readers};
use super::writer::{WriteError, Writer};
use crate::packed::{pack, unpack};
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, params};
use skein_common::RunId;
use skein_common::ports::{Journal, JournalError};
use std::sync::Arc;

/// Records of one run; far beyond what a run of 1000 agents makes.
const RECORDS_MAX: u64 = 1 << 32;
const POSITION_BITS: u32 = 32;

/// Records in the table `records`, in the order of their place.
#[derive(Debug)]
pub struct SqliteJournal {
    writer: Arc<Writer>,
    readers: Arc<Readers>,
}

impl SqliteJournal {
    pub fn new(writer: Arc<Writer>, readers: Arc<Readers>) -> SqliteJournal {
        SqliteJournal { writer, readers }
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        let count = expected.saturating_add(records.len() as u64);
        if count > RECORDS_MAX {
            return Err(JournalError::Refused { reason: format!("a run holds at most {RECORDS_MAX} records") });
        }
        let run = run.clone();
        let packed: Vec<Vec<u8>> = records.iter().map(|record| pack(record)).collect();
        let outcome = self.writer.write(move |connection| extend(connection, &run, expected, &packed)).await;
        match outcome.map_err(not_appended)? {
            Extended::Done => Ok(count),
            Extended::Conflict { actual } => Err(JournalError::Conflict { expected, actual }),
        }
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        let name = run.clone();
        let stored = self.readers.read(move |connection| stored_records(connection, &name, from)).await;
        let mut records = Vec::new();
        for ((found, record), position) in stored.map_err(unreadable)?.into_iter().zip(from..) {
            if found != position {
                return Err(JournalError::Unreadable { reason: format!("record {position} of {run} is missing") });
            }
            let damaged = |error| JournalError::Unreadable { reason: format!("record {position} of {run}: {error}") };
            records.push(unpack(&record).map_err(damaged)?);
        }
        Ok(records)
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        let names = self.readers.read(|connection| {
            let mut select = connection.prepare_cached("SELECT run FROM runs ORDER BY number")?;
            select.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()
        });
        let names = names.await.map_err(unreadable)?;
        let bad = |error: skein_common::ids::BadRunId| JournalError::Unreadable { reason: error.to_string() };
        names.iter().map(|name| name.parse().map_err(bad)).collect()
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        let run = run.clone();
        self.writer.write(move |connection| remove_run(connection, &run)).await.map_err(not_appended)
    }

    fn durability(&self) -> String {
        "SQLite, WAL, synchronous=FULL: survives a kill and a loss of power".to_owned()
    }
}

enum Extended {
    Done,
    Conflict { actual: u64 },
}

fn extend(connection: &Connection, run: &RunId, expected: u64, packed: &[Vec<u8>]) -> rusqlite::Result<Extended> {
    let number = run_number(connection, run)?;
    let actual = number.map_or(Ok(0), |number| count_records(connection, number))?;
    if actual != expected {
        return Ok(Extended::Conflict { actual });
    }
    if packed.is_empty() {
        return Ok(Extended::Done);
    }
    let number = number.map_or_else(|| add_run(connection, run), Ok)?;
    let mut insert = connection.prepare_cached("INSERT INTO records(place, record) VALUES (?1, ?2)")?;
    for (position, record) in (expected..).zip(packed) {
        insert.execute(params![place(number, position), record])?;
    }
    Ok(Extended::Done)
}

fn run_number(connection: &Connection, run: &RunId) -> rusqlite::Result<Option<i64>> {
    let mut select = connection.prepare_cached("SELECT number FROM runs WHERE run = ?1")?;
    select.query_row([run.as_str()], |row| row.get(0)).optional()
}

fn add_run(connection: &Connection, run: &RunId) -> rusqlite::Result<i64> {
    connection.prepare_cached("INSERT INTO runs(run) VALUES (?1)")?.insert([run.as_str()])
}

/// Positions have no gaps, so the last one tells how many there are.
fn count_records(connection: &Connection, number: i64) -> rusqlite::Result<u64> {
    let mut select = connection.prepare_cached("SELECT max(place) FROM records WHERE place BETWEEN ?1 AND ?2")?;
    let last: Option<i64> = select.query_row(params![place(number, 0), last_place(number)], |row| row.get(0))?;
    Ok(last.map_or(0, |last| position_at(last) + 1))
}

fn stored_records(connection: &Connection, run: &RunId, from: u64) -> rusqlite::Result<Vec<(u64, Vec<u8>)>> {
    let transaction = connection.unchecked_transaction()?; // One snapshot for both queries.
    let Some(number) = run_number(&transaction, run)?.filter(|_| from < RECORDS_MAX) else { return Ok(Vec::new()) };
    let mut select =
        transaction.prepare_cached("SELECT place, record FROM records WHERE place BETWEEN ?1 AND ?2 ORDER BY place")?;
    let rows = select.query_map(params![place(number, from), last_place(number)], |row| {
        Ok((position_at(row.get(0)?), row.get(1)?))
    })?;
    rows.collect()
}

fn remove_run(connection: &Connection, run: &RunId) -> rusqlite::Result<()> {
    let Some(number) = run_number(connection, run)? else { return Ok(()) };
    let mut delete = connection.prepare_cached("DELETE FROM records WHERE place BETWEEN ?1 AND ?2")?;
    delete.execute(params![place(number, 0), last_place(number)])?;
    connection.prepare_cached("DELETE FROM runs WHERE number = ?1")?.execute([number])?;
    Ok(())
}

/// `position` is below `RECORDS_MAX`.
fn place(number: i64, position: u64) -> i64 {
    (number << POSITION_BITS) | i64::try_from(position).unwrap_or(i64::from(u32::MAX))
}

fn last_place(number: i64) -> i64 {
    place(number, RECORDS_MAX - 1)
}

fn position_at(place: i64) -> u64 {
    place.cast_unsigned() & (RECORDS_MAX - 1)
}

fn not_appended(error: WriteError) -> JournalError {
    match error {
        WriteError::Refused { reason } => JournalError::Refused { reason },
        unknown @ (WriteError::Unknown { .. } | WriteError::Ended) => JournalError::Unknown { source: unknown.into() },
    }
}

fn unreadable(error: ReadError) -> JournalError {
    JournalError::Unreadable { reason: error.to_string() }
}
