//! Submission: a run exists from the moment its first event is in the journal.

use crate::clock::Clock;
use crate::journal::append;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skein_common::ports::{BlobError, DirectoryError, JournalError, Ports};
use skein_common::run::RunSpec;
use skein_common::view::RunView;
use skein_common::{Digest, Payload, RunId};
use skein_engine::{RecordError, Run, encode_records, run_view};
use uuid::Uuid;

/// The table of the Directory port that lists runs.
pub const RUNS_TABLE: &str = "runs";
/// Digest of an idempotency key -> what was submitted under it.
pub(crate) const KEYS_TABLE: &str = "submission_keys";
/// Run -> digest of the key it was submitted under, so that the key goes with its run.
pub(crate) const KEY_OF_RUN_TABLE: &str = "submission_key_of_run";
/// Definitions and saved workflows of one run (R2a).
const NAMED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// JSON that crosses the boundary may be so deep (C11).
const ARGS_DEPTH_MAX: usize = 100;
/// An idempotency key is at most so long.
const KEY_BYTES_MAX: usize = 255;

/// Why a run was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    #[error("{0}")]
    Invalid(String),
    /// The idempotency key belongs to another request (R11).
    #[error("the idempotency key was used for another request, which started {run}; use a new key for a new request")]
    KeyReused { run: RunId },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// The name a client gave its request, and the request, so that the same one sent again starts nothing new (R11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    key: Digest,
    body: Digest,
}

impl IdempotencyKey {
    /// The key as the client sent it, and the bytes of the request it names.
    ///
    /// # Errors
    /// The key is empty, longer than 255 bytes or not printable ASCII.
    pub fn new(key: &str, body: &[u8]) -> Result<IdempotencyKey, SubmitError> {
        let is_fit = (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !is_fit {
            let message = format!("an idempotency key is 1 to {KEY_BYTES_MAX} printable ASCII characters");
            return Err(SubmitError::Invalid(message));
        }
        Ok(IdempotencyKey { key: Digest::of(key.as_bytes()), body: Digest::of(body) })
    }
}

/// What a submission under an idempotency key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub run: RunId,
    /// Whether this request started it, and not an earlier one.
    pub is_new: bool,
}

/// What stands under a key. Stored: grows by optional fields only.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeyEntry {
    pub run: RunId,
    pub body: Digest,
    pub at_ms: i64,
}

impl KeyEntry {
    pub fn decode(bytes: &[u8]) -> Option<KeyEntry> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Stores a new run and gives its id; nothing runs yet (R2).
///
/// # Errors
/// The limits are out of range, or the store refuses.
pub async fn submit(ports: &Ports, clock: &dyn Clock, spec: RunSpec) -> Result<RunId, SubmitError> {
    let run = new_run_id();
    submit_as(ports, clock, &run, spec).await?;
    Ok(run)
}

/// The same under an id that was chosen.
pub(crate) async fn submit_as(ports: &Ports, clock: &dyn Clock, run: &RunId, spec: RunSpec) -> Result<(), SubmitError> {
    store_run(ports, clock, run, spec).await.map(|_is_new| ())
}

/// The same under a key: sent again, also at the same moment or after a crash, it gives the same run (R11).
///
/// The key is stored first and names the run; the append of the first record then decides who of those that submit at
/// once stores it. Who finds a key whose run was not stored yet stores it.
///
/// # Errors
/// `KeyReused` when the key came with another body before; else as [`submit`].
pub async fn submit_once(
    ports: &Ports,
    clock: &dyn Clock,
    spec: RunSpec,
    idempotency: &IdempotencyKey,
) -> Result<Submitted, SubmitError> {
    submit_once_as(ports, clock, new_run_id(), spec, idempotency).await
}

/// The same under an id that was chosen, when the key is new.
pub(crate) async fn submit_once_as(
    ports: &Ports,
    clock: &dyn Clock,
    run: RunId,
    spec: RunSpec,
    idempotency: &IdempotencyKey,
) -> Result<Submitted, SubmitError> {
    check(&spec).map_err(SubmitError::Invalid)?;
    let run = claim_key(ports, clock, run, idempotency).await?;
    if is_stored(ports, &run).await? {
        return Ok(Submitted { run, is_new: false });
    }
    let key = Bytes::from(idempotency.key.0.clone());
    ports.directory.put(KEY_OF_RUN_TABLE, run.as_str(), key).await?;
    let is_new = store_run(ports, clock, &run, spec).await?;
    Ok(Submitted { run, is_new })
}

/// The run that this key names, now or since an earlier request.
async fn claim_key(
    ports: &Ports,
    clock: &dyn Clock,
    run: RunId,
    idempotency: &IdempotencyKey,
) -> Result<RunId, SubmitError> {
    let entry = KeyEntry { run, body: idempotency.body.clone(), at_ms: clock.now_ms() };
    let bytes = serde_json::to_vec(&entry).map_err(|error| SubmitError::Invalid(error.to_string()))?;
    let Some(there) = ports.directory.insert(KEYS_TABLE, &idempotency.key.0, Bytes::from(bytes)).await? else {
        return Ok(entry.run);
    };
    let there = KeyEntry::decode(&there)
        .ok_or_else(|| SubmitError::Invalid(String::from("the idempotency key was stored by a newer version")))?;
    if there.body == idempotency.body { Ok(there.run) } else { Err(SubmitError::KeyReused { run: there.run }) }
}

async fn is_stored(ports: &Ports, run: &RunId) -> Result<bool, JournalError> {
    Ok(!ports.journal.read(run, 0).await?.is_empty())
}

pub(crate) fn new_run_id() -> RunId {
    RunId::from_uuid(Uuid::now_v7())
}

/// Why no run can be made from this, whoever sent it.
fn check(spec: &RunSpec) -> Result<(), String> {
    spec.limits.check()?;
    let workflows = spec.workflows.iter().map(|workflow| &workflow.source);
    if [&spec.script].into_iter().chain(spec.args.as_ref()).chain(workflows.clone()).any(|text| text.inline().is_none())
    {
        return Err(String::from("script, args and saved workflows are sent as texts, not by their digest"));
    }
    if let Some(args) = spec.args.as_ref().and_then(Payload::inline) {
        check_args(args)?;
    }
    let definitions: usize = spec.definitions.iter().map(|definition| definition.body.len()).sum();
    let saved: usize = workflows.filter_map(Payload::inline).map(str::len).sum();
    if definitions + saved > NAMED_BYTES_MAX {
        return Err(format!(
            "agent definitions have {definitions} bytes and saved workflows {saved}; the limit for both is 4 MiB"
        ));
    }
    Ok(())
}

/// `args` as every client must send them (C11, C37).
///
/// # Errors
/// They are no JSON, or nested too deeply.
pub fn check_args(json: &str) -> Result<(), String> {
    if json_depth(json) > ARGS_DEPTH_MAX {
        return Err(format!("args is nested deeper than {ARGS_DEPTH_MAX}"));
    }
    serde_json::from_str::<serde::de::IgnoredAny>(json)
        .map(|_| ())
        .map_err(|error| format!("args is not JSON: {error}"))
}

/// Nesting of brackets outside strings.
fn json_depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// False when somebody else stored it first, which only a run of a shared key can meet.
async fn store_run(ports: &Ports, clock: &dyn Clock, run_id: &RunId, spec: RunSpec) -> Result<bool, SubmitError> {
    check(&spec).map_err(SubmitError::Invalid)?;
    let now_ms = clock.now_ms();
    let (mut run, event) = Run::submit(spec, now_ms);
    for large in run.take_large_texts() {
        ports.blobs.put(run_id, Bytes::from(large.text)).await?;
    }
    let records: Vec<Bytes> = encode_records(0, 0, now_ms, &[event])?.into_iter().map(Bytes::from).collect();
    match ports.journal.append(run_id, 0, records.clone()).await {
        // Equal bytes may be of another process that submits at the same moment, so nobody looks at them here.
        Err(JournalError::Conflict { .. }) => return Ok(false),
        Err(JournalError::Unknown { .. }) => _ = append(ports.journal.as_ref(), run_id, 0, records).await?,
        stored => _ = stored?,
    }
    index(ports, &run_view(run_id, run.state(), now_ms, None)).await;
    Ok(true)
}

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
