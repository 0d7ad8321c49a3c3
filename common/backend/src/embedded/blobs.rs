//! Blobs in SQLite.

use super::readers::Readers;
use super::writer::Writer;
use crate::packed::{pack, unpack};
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{OptionalExtension as _, params};
use skein_common::ports::{BlobError, Blobs, BoxError};
use skein_common::{Digest, RunId};
use std::sync::Arc;

/// Texts in the table `blobs`.
#[derive(Debug)]
pub struct SqliteBlobs {
    writer: Arc<Writer>,
    readers: Arc<Readers>,
}

impl SqliteBlobs {
    pub fn new(writer: Arc<Writer>, readers: Arc<Readers>) -> SqliteBlobs {
        SqliteBlobs { writer, readers }
    }
}

#[async_trait]
impl Blobs for SqliteBlobs {
    async fn put(&self, run: &RunId, bytes: Bytes) -> Result<Digest, BlobError> {
        // Large texts take milliseconds to digest and compress, which is too long for the caller's thread.
        let prepared = tokio::task::spawn_blocking(move || (Digest::of(&bytes), pack(&bytes)));
        let (digest, packed) = prepared.await.map_err(unavailable)?;
        let (run, key) = (run.clone(), digest.clone());
        self.writer
            .write(move |connection| {
                let mut insert = connection.prepare_cached(
                    "INSERT INTO blobs(run, digest, bytes) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                )?;
                insert.execute(params![run.as_str(), key.0, packed])
            })
            .await
            .map_err(unavailable)?;
        Ok(digest)
    }

    async fn get(&self, run: &RunId, digest: &Digest) -> Result<Bytes, BlobError> {
        let (name, key) = (run.clone(), digest.clone());
        let read = self.readers.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT bytes FROM blobs WHERE run = ?1 AND digest = ?2")?;
            select.query_row([name.as_str(), &key.0], |row| row.get::<_, Vec<u8>>(0)).optional()
        });
        let missing = || BlobError::Missing { run: run.clone(), digest: digest.clone() };
        let packed = read.await.map_err(unavailable)?.ok_or_else(missing)?;
        unpack(&packed).map_err(unavailable)
    }

    async fn remove_run(&self, run: &RunId) -> Result<(), BlobError> {
        let run = run.clone();
        self.writer
            .write(move |connection| {
                connection.prepare_cached("DELETE FROM blobs WHERE run = ?1")?.execute([run.as_str()])
            })
            .await
            .map_err(unavailable)?;
        Ok(())
    }
}

fn unavailable(error: impl Into<BoxError>) -> BlobError {
    BlobError::Unavailable { source: error.into() }
}
