//! Record: how a batch of events is stored. MessagePack with named fields, so that it can grow.

use crate::compat::{ENGINE, RECORD_VERSION};
use crate::event::Event;
use serde::{Deserialize, Serialize};
use skein_common::Epoch;

/// A batch larger than this is split into chained records, since some stores refuse large messages.
const RECORD_BYTES_MAX: usize = 512 * 1024;

/// Events that were appended together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub v: u32,
    pub epoch: Epoch,
    /// Counts the batches of an epoch, for people who read journals.
    pub batch: u64,
    /// When the batch was decided, ms since the Unix epoch.
    pub at_ms: i64,
    pub engine: String,
    pub events: Vec<Event>,
}

/// A stored record that this program cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("journal of a newer version: {detail}; use the skein that wrote it, or a later one")]
    NewerVersion { detail: String },
    #[error("corrupt journal record: {detail}")]
    Corrupt { detail: String },
}

/// The part of a record that every version has.
#[derive(Deserialize)]
struct Head {
    v: u32,
    #[serde(default)]
    engine: String,
}

/// Encodes a batch, split so that no record is larger than it may be unless a single event is.
///
/// # Errors
/// An event cannot be represented; none of ours cannot.
pub fn encode_records(epoch: Epoch, batch: u64, at_ms: i64, events: &[Event]) -> Result<Vec<Vec<u8>>, RecordError> {
    let mut records = Vec::new();
    encode_into(&mut records, epoch, batch, at_ms, events)?;
    Ok(records)
}

fn encode_into(
    records: &mut Vec<Vec<u8>>,
    epoch: Epoch,
    batch: u64,
    at_ms: i64,
    events: &[Event],
) -> Result<(), RecordError> {
    #[derive(Serialize)]
    struct Borrowed<'a> {
        v: u32,
        epoch: Epoch,
        batch: u64,
        at_ms: i64,
        engine: &'a str,
        events: &'a [Event],
    }
    let record = Borrowed { v: RECORD_VERSION, epoch, batch, at_ms, engine: ENGINE, events };
    let bytes = rmp_serde::to_vec_named(&record).map_err(|e| RecordError::Corrupt { detail: e.to_string() })?;
    if bytes.len() <= RECORD_BYTES_MAX || events.len() <= 1 {
        records.push(bytes);
        return Ok(());
    }
    let (first, second) = events.split_at(events.len() / 2);
    encode_into(records, epoch, batch, at_ms, first)?;
    encode_into(records, epoch, batch, at_ms, second)
}

/// Decodes a record; unknown fields are ignored, unknown events and higher versions are not.
///
/// # Errors
/// The record is of a newer version, or no record.
pub fn decode_record(bytes: &[u8]) -> Result<Record, RecordError> {
    match rmp_serde::from_slice::<Record>(bytes) {
        Ok(record) if record.v <= RECORD_VERSION => Ok(record),
        Ok(record) => Err(RecordError::NewerVersion { detail: format!("record version {}", record.v) }),
        Err(error) => Err(classify(bytes, &error.to_string())),
    }
}

fn classify(bytes: &[u8], error: &str) -> RecordError {
    match rmp_serde::from_slice::<Head>(bytes) {
        Ok(head) if head.v > RECORD_VERSION || error.contains("unknown variant") => RecordError::NewerVersion {
            detail: format!("record version {} written by {}: {error}", head.v, head.engine),
        },
        _ => RecordError::Corrupt { detail: error.to_owned() },
    }
}
