//! Blobs and a directory that are unavailable now and then.

use super::plan::{Dice, planned};
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{BlobError, Blobs, Directory, DirectoryError};
use skein_common::{Digest, RunId};
use std::sync::Arc;

pub(super) struct FaultyBlobs {
    pub inner: Arc<dyn Blobs>,
    pub dice: Arc<Dice>,
}

impl FaultyBlobs {
    async fn is_there(&self) -> Result<(), BlobError> {
        self.dice.delay().await;
        if self.dice.happens(self.dice.faults.unavailable) {
            return Err(BlobError::Unavailable { source: planned() });
        }
        Ok(())
    }
}

#[async_trait]
impl Blobs for FaultyBlobs {
    async fn put(&self, run: &RunId, bytes: Bytes) -> Result<Digest, BlobError> {
        self.is_there().await?;
        self.dice.write(self.inner.put(run, bytes)).await
    }

    async fn get(&self, run: &RunId, digest: &Digest) -> Result<Bytes, BlobError> {
        self.is_there().await?;
        self.inner.get(run, digest).await
    }

    async fn remove_run(&self, run: &RunId) -> Result<(), BlobError> {
        self.is_there().await?;
        self.inner.remove_run(run).await
    }
}

pub(super) struct FaultyDirectory {
    pub inner: Arc<dyn Directory>,
    pub dice: Arc<Dice>,
}

impl FaultyDirectory {
    async fn is_there(&self) -> Result<(), DirectoryError> {
        self.dice.delay().await;
        if self.dice.happens(self.dice.faults.unavailable) {
            return Err(DirectoryError::Unavailable { source: planned() });
        }
        Ok(())
    }
}

#[async_trait]
impl Directory for FaultyDirectory {
    async fn put(&self, table: &str, key: &str, value: Bytes) -> Result<(), DirectoryError> {
        self.is_there().await?;
        self.inner.put(table, key, value).await
    }

    async fn insert(&self, table: &str, key: &str, value: Bytes) -> Result<Option<Bytes>, DirectoryError> {
        self.is_there().await?;
        self.inner.insert(table, key, value).await
    }

    async fn get(&self, table: &str, key: &str) -> Result<Option<Bytes>, DirectoryError> {
        self.is_there().await?;
        self.inner.get(table, key).await
    }

    async fn list(&self, table: &str) -> Result<Vec<(String, Bytes)>, DirectoryError> {
        self.is_there().await?;
        self.inner.list(table).await
    }

    async fn remove(&self, table: &str, key: &str) -> Result<(), DirectoryError> {
        self.is_there().await?;
        self.inner.remove(table, key).await
    }
}
