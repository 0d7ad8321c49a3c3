//! Submission: a run exists from the moment its first event is in the journal.

use crate::clock::Clock;
use crate::journal::append;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{BlobError, JournalError, Ports};
use skein_common::run::RunSpec;
use skein_common::view::RunView;
use skein_engine::{RecordError, Run, encode_records, run_view};
use uuid::Uuid;

/// Why a run was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Stores a new run and gives its id; nothing runs yet (R2).
///
/// # Errors
/// The limits are out of range, or the store refuses.
pub async fn submit(ports: &Ports, clock: &dyn Clock, spec: RunSpec) -> Result<RunId, SubmitError> {
    spec.limits.check().map_err(SubmitError::Invalid)?;
    let run_id = RunId::from_uuid(Uuid::now_v7());
    let now_ms = clock.now_ms();
    let (mut run, event) = Run::submit(spec, now_ms);
    for large in run.take_large_texts() {
        ports.blobs.put(&run_id, Bytes::from(large.text)).await?;
    }
    let records = encode_records(0, 0, now_ms, &[event])?;
    append(ports.journal.as_ref(), &run_id, 0, records.into_iter().map(Bytes::from).collect()).await?;
    index(ports, &run_view(&run_id, run.state(), now_ms, None)).await;
    Ok(run_id)
}

/// The table of the Directory port that lists runs.
pub const RUNS_TABLE: &str = "runs";

/// Puts a run into the index of runs, without its result. The journal stays the truth: a failure only costs the list.
pub(crate) async fn index(ports: &Ports, view: &RunView) {
    let entry = RunView { result: None, ..view.clone() };
    let stored = match serde_json::to_vec(&entry) {
        Ok(json) => ports.directory.put(RUNS_TABLE, view.run.as_str(), Bytes::from(json)).await,
        Err(error) => return tracing::warn!(%error, "run not indexed"),
    };
    if let Err(error) = stored {
        tracing::warn!(run_id = %view.run, %error, "run not indexed");
    }
}
