//! The directory in SQLite.

use super::readers::Readers;
use super::writer::Writer;
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{OptionalExtension as _, params};
use skein_common::ports::{BoxError, Directory, DirectoryError};
use std::sync::Arc;

/// Named records in the table `directory`. Keys are ordered by their bytes.
#[derive(Debug)]
pub struct SqliteDirectory {
    writer: Arc<Writer>,
    readers: Arc<Readers>,
}

impl SqliteDirectory {
    pub fn new(writer: Arc<Writer>, readers: Arc<Readers>) -> SqliteDirectory {
        SqliteDirectory { writer, readers }
    }
}

#[async_trait]
impl Directory for SqliteDirectory {
    async fn put(&self, table: &str, key: &str, value: Bytes) -> Result<(), DirectoryError> {
        let (table, key) = (table.to_owned(), key.to_owned());
        self.writer
            .write(move |connection| {
                let mut put = connection.prepare_cached(
                    "INSERT INTO directory(tbl, key, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET value = excluded.value",
                )?;
                put.execute(params![table, key, &value[..]])
            })
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn insert(&self, table: &str, key: &str, value: Bytes) -> Result<Option<Bytes>, DirectoryError> {
        let (table, key) = (table.to_owned(), key.to_owned());
        let there = self.writer.write(move |connection| {
            let mut insert = connection
                .prepare_cached("INSERT INTO directory(tbl, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
            if insert.execute(params![table, key, &value[..]])? > 0 {
                return Ok(None);
            }
            let mut select = connection.prepare_cached("SELECT value FROM directory WHERE tbl = ?1 AND key = ?2")?;
            select.query_row([&table, &key], |row| row.get::<_, Vec<u8>>(0)).optional()
        });
        Ok(there.await.map_err(unavailable)?.map(Bytes::from))
    }

    async fn get(&self, table: &str, key: &str) -> Result<Option<Bytes>, DirectoryError> {
        let (table, key) = (table.to_owned(), key.to_owned());
        let read = self.readers.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT value FROM directory WHERE tbl = ?1 AND key = ?2")?;
            select.query_row([table, key], |row| row.get::<_, Vec<u8>>(0)).optional()
        });
        Ok(read.await.map_err(unavailable)?.map(Bytes::from))
    }

    async fn list(&self, table: &str) -> Result<Vec<(String, Bytes)>, DirectoryError> {
        let table = table.to_owned();
        let read = self.readers.read(move |connection| {
            let mut select =
                connection.prepare_cached("SELECT key, value FROM directory WHERE tbl = ?1 ORDER BY key")?;
            let rows = select.query_map([table], |row| Ok((row.get(0)?, Bytes::from(row.get::<_, Vec<u8>>(1)?))))?;
            rows.collect()
        });
        read.await.map_err(unavailable)
    }

    async fn remove(&self, table: &str, key: &str) -> Result<(), DirectoryError> {
        let (table, key) = (table.to_owned(), key.to_owned());
        self.writer
            .write(move |connection| {
                let mut delete = connection.prepare_cached("DELETE FROM directory WHERE tbl = ?1 AND key = ?2")?;
                delete.execute([&table, &key])
            })
            .await
            .map_err(unavailable)?;
        Ok(())
    }
}

fn unavailable(error: impl Into<BoxError>) -> DirectoryError {
    DirectoryError::Unavailable { source: error.into() }
}
