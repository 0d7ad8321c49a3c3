//! Reading runs back from their journals, and appending with the re-read rule.

use bytes::Bytes;
use skein_common::ports::{BlobError, Blobs, DirectoryError, Journal, JournalError, LeaseError};
use skein_common::{Payload, RunId};
use skein_engine::{CorruptJournal, Event, Record, RecordError, Run, decode_record};

/// Why a run cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    #[error("there is no run {run}; `skein runs` lists them")]
    NotFound { run: RunId },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Corrupt(#[from] CorruptJournal),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("blob of {run} is not text")]
    NotText { run: RunId },
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("the index of runs has an entry that is no run: {key}")]
    NotARun { key: String },
}

/// One event with its time, as the journal holds it.
#[derive(Debug, Clone)]
pub struct RunRecord {
    pub at_ms: i64,
    pub event: Event,
}

/// A run as its journal tells it.
#[derive(Debug)]
pub struct StoredRun {
    pub run: Run,
    pub events: Vec<RunRecord>,
    /// Number of records read: where the next append goes.
    pub records: u64,
    pub last_at_ms: i64,
}

/// Folds the journal of a run.
///
/// # Errors
/// No such run, or its journal cannot be read.
pub async fn load_run(journal: &dyn Journal, run_id: &RunId) -> Result<StoredRun, LoadError> {
    let stored = journal.read(run_id, 0).await?;
    let mut run: Option<Run> = None;
    let (mut events, mut last_at_ms) = (Vec::new(), 0);
    for bytes in &stored {
        let Record { at_ms, events: batch, .. } = decode_record(bytes)?;
        last_at_ms = at_ms.max(last_at_ms);
        for event in batch {
            match &mut run {
                Some(run) => run.apply(&event, at_ms)?,
                None => run = Some(Run::from_first(&event, at_ms)?),
            }
            events.push(RunRecord { at_ms, event });
        }
    }
    let run = run.ok_or_else(|| LoadError::NotFound { run: run_id.clone() })?;
    Ok(StoredRun { run, events, records: stored.len() as u64, last_at_ms })
}

/// The text of a payload, wherever it is.
///
/// # Errors
/// The blob is missing or is no text.
pub async fn load_text(blobs: &dyn Blobs, run: &RunId, payload: &Payload) -> Result<String, LoadError> {
    match payload {
        Payload::Text { text } | Payload::Json { json: text } => Ok(text.clone()),
        Payload::TextBlob { digest, .. } | Payload::JsonBlob { digest, .. } => {
            let bytes = blobs.get(run, digest).await?;
            String::from_utf8(bytes.to_vec()).map_err(|_| LoadError::NotText { run: run.clone() })
        }
    }
}

/// Appends, and settles a conflict or an unknown outcome by reading what stands there now.
///
/// # Errors
/// The records are not in the journal, or nobody knows.
pub async fn append(
    journal: &dyn Journal,
    run: &RunId,
    expected: u64,
    records: Vec<Bytes>,
) -> Result<u64, JournalError> {
    match journal.append(run, expected, records.clone()).await {
        Ok(position) => Ok(position),
        Err(error @ (JournalError::Conflict { .. } | JournalError::Unknown { .. })) => {
            let stored = journal.read(run, expected).await?;
            let ours = stored.len() >= records.len() && stored.iter().zip(&records).all(|(a, b)| a == b);
            if ours { Ok(expected + records.len() as u64) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}
