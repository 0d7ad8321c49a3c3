//! Blobs: a message each, or for large ones a message that counts the parts, which are messages of their own.
//!
//! A part has a subject that only says which part of what it is, so a put that is tried again replaces what an earlier
//! try left, and removing a run removes all of it. The server's object store gives each try new names, and what a try
//! left behind would stay for ever.

use super::api::{ApiError, Stored, code};
use super::backend::Bus;
use super::connection::Connection;
use super::marks;
use super::patience::Patience;
use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde_json::json;
use skein_common::ports::{BlobError, Blobs, BoxError};
use skein_common::{Digest, RunId};
use std::sync::Arc;
use std::time::Duration;

/// A blob of this size is one message, and larger ones have parts of it.
const PART_BYTES: usize = 512 * 1024;
/// Parts on their way at the same time.
const PARTS_AT_ONCE: usize = 8;
const TRY_WITHIN: Duration = Duration::from_secs(10);
const PARTS: &str = "Sk-Parts";

/// Texts in the stream `BLB`.
#[derive(Debug)]
pub struct NatsBlobs {
    bus: Arc<Bus>,
    stream: String,
}

#[derive(Deserialize)]
struct Purged {}

impl NatsBlobs {
    pub fn new(bus: Arc<Bus>) -> NatsBlobs {
        let stream = bus.names.blobs_stream();
        NatsBlobs { bus, stream }
    }

    async fn try_put(&self, run: &RunId, digest: &Digest, bytes: &Bytes) -> Result<(), ApiError> {
        if bytes.len() > PART_BYTES {
            return self.put_large(run, digest, bytes).await;
        }
        self.put_first(&self.bus.names.blob_subject(run, digest), HeaderMap::new(), bytes.clone()).await
    }

    async fn put_large(&self, run: &RunId, digest: &Digest, bytes: &Bytes) -> Result<(), ApiError> {
        let subject = self.bus.names.blob_subject(run, digest);
        if self.bus.connection.last(&self.stream, &subject).await?.is_some() {
            return Ok(());
        }
        let connection = self.bus.bulk().await?;
        let count = bytes.len().div_ceil(PART_BYTES);
        let put_part = |number| self.put_part(connection, run, digest, bytes, number);
        let mut parts = futures::stream::iter(0..count).map(put_part).buffer_unordered(PARTS_AT_ONCE);
        while parts.try_next().await?.is_some() {}
        let mut headers = HeaderMap::new();
        marks::set_number(&mut headers, PARTS, count as u64);
        self.put_first(&subject, headers, Bytes::new()).await
    }

    async fn put_part(
        &self,
        connection: &Connection,
        run: &RunId,
        digest: &Digest,
        bytes: &Bytes,
        number: usize,
    ) -> Result<Stored, ApiError> {
        let part = bytes.slice(number * PART_BYTES..bytes.len().min((number + 1) * PART_BYTES));
        let subject = self.bus.names.blob_part(run, digest, number);
        connection.store(&subject, HeaderMap::new(), part).await
    }

    async fn get_part(
        &self,
        connection: &Connection,
        run: &RunId,
        digest: &Digest,
        number: usize,
    ) -> Result<Option<StreamMessage>, ApiError> {
        connection.last(&self.stream, &self.bus.names.blob_part(run, digest, number)).await
    }

    /// Stores what makes the blob be there, if it is not. The same digest is the same bytes.
    async fn put_first(&self, subject: &str, mut headers: HeaderMap, body: Bytes) -> Result<(), ApiError> {
        marks::expect(&mut headers, 0);
        match self.bus.connection.store(subject, headers, body).await {
            Err(error) if error.number() == Some(code::WRONG_LAST_SEQUENCE) => Ok(()),
            stored => stored.map(|_| ()),
        }
    }

    async fn find(&self, run: &RunId, digest: &Digest) -> Result<Option<Bytes>, ApiError> {
        let subject = self.bus.names.blob_subject(run, digest);
        let Some(first) = self.bus.connection.last(&self.stream, &subject).await? else { return Ok(None) };
        let Some(count) = marks::number(&first.headers, PARTS) else { return Ok(Some(first.payload)) };
        let connection = self.bus.bulk().await?;
        let get_part = |number| self.get_part(connection, run, digest, number);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut parts = futures::stream::iter(0..count).map(get_part).buffered(PARTS_AT_ONCE);
        let mut bytes = BytesMut::new();
        while let Some(part) = parts.try_next().await? {
            let Some(part) = part else { return Ok(None) }; // The run was removed meanwhile.
            bytes.extend_from_slice(&part.payload);
        }
        Ok(Some(bytes.freeze()))
    }
}

#[async_trait]
impl Blobs for NatsBlobs {
    async fn put(&self, run: &RunId, bytes: Bytes) -> Result<Digest, BlobError> {
        let (digest, bytes) = digest_of(bytes).await?;
        let putting = || self.try_put(run, &digest, &bytes);
        Patience::of(TRY_WITHIN).until_done(putting).await.map_err(unavailable)?;
        Ok(digest)
    }

    async fn get(&self, run: &RunId, digest: &Digest) -> Result<Bytes, BlobError> {
        let finding = || self.find(run, digest);
        let found = Patience::of(TRY_WITHIN).until_done(finding).await.map_err(unavailable)?;
        let bytes = found.ok_or_else(|| BlobError::Missing { run: run.clone(), digest: digest.clone() })?;
        let (found, bytes) = digest_of(bytes).await?;
        if found == *digest { Ok(bytes) } else { Err(BlobError::Damaged { run: run.clone(), digest: digest.clone() }) }
    }

    async fn remove_run(&self, run: &RunId) -> Result<(), BlobError> {
        let what = format!("STREAM.PURGE.{}", self.stream);
        let body = json!({ "filter": self.bus.names.run_blobs(run) });
        let purging = || self.bus.connection.ask(&what, &body);
        let Purged {} = Patience::of(TRY_WITHIN).until_done(purging).await.map_err(unavailable)?;
        Ok(())
    }
}

/// Large texts take milliseconds to digest, which is too long for the caller's thread.
async fn digest_of(bytes: Bytes) -> Result<(Digest, Bytes), BlobError> {
    if bytes.len() < PART_BYTES / 8 {
        return Ok((Digest::of(&bytes), bytes));
    }
    tokio::task::spawn_blocking(move || (Digest::of(&bytes), bytes)).await.map_err(unavailable)
}

fn unavailable(error: impl Into<BoxError>) -> BlobError {
    BlobError::Unavailable { source: error.into() }
}
