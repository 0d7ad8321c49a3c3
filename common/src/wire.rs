//! Messages between coordinators and workers. They grow by optional fields only (invariant 8).

use crate::agent::{AgentDefinition, Cause, Isolation, RunnerKind, Simulation, Usage};
use crate::payload::Payload;
use crate::trace::Traceparent;
use crate::{AgentNumber, AttemptNumber, AttemptToken, Epoch, RunId, WorkerId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Names one try of one agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptRef {
    pub run: RunId,
    pub agent: AgentNumber,
    pub attempt: AttemptNumber,
}

/// One attempt to carry out. Sent by: Run, through Tasks. Answered by a [`Claim`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub attempt: AttemptRef,
    pub epoch: Epoch,
    pub runner: RunnerKind,
    pub prompt: Payload,
    #[serde(default)]
    pub schema: Option<Payload>,
    pub label: String,
    #[serde(default)]
    pub phase: Option<String>,
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default)]
    pub definition: Option<AgentDefinition>,
    /// The program, when the run names one for agents without a type.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// The run's `args`.
    #[serde(default)]
    pub args: Option<Payload>,
    /// Absolute.
    pub project_dir: String,
    #[serde(default)]
    pub simulation: Simulation,
    /// Time this attempt may take.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Time without progress that ends this attempt; 0 is never (L5).
    #[serde(default)]
    pub stall_ms: Option<u64>,
    #[serde(default)]
    pub isolation: Option<Isolation>,
    /// Of the run.
    #[serde(default, deserialize_with = "crate::trace::lenient", skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Traceparent>,
}

/// Asks the owner of a run whether an attempt may start. Sent by: Link. Answered by [`ClaimAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub attempt: AttemptRef,
    pub worker: WorkerId,
}

/// The owner's answer to a [`Claim`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum ClaimAnswer {
    /// Start it. The token goes into every later message; without an answer to a heartbeat for
    /// `deadline_ms` the worker ends the attempt.
    Go { token: AttemptToken, epoch: Epoch, deadline_ms: u64 },
    /// Somebody else has it, it ended, or the run is not here: drop the task.
    Gone,
}

/// Names all attempts of a worker every few seconds. Sent by: Link. Answered by [`HeartbeatAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub worker: WorkerId,
    pub attempts: Vec<RunningAttempt>,
    /// Who the worker is, where owners do not know it anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<WorkerInfo>,
    /// The [`WorkerOrder::Report`]s that were heard since the heartbeat before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<u64>,
}

/// What a worker tells of itself: in every heartbeat, and in the table of workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerInfo {
    /// This life of it.
    pub id: WorkerId,
    /// Stays the same when it is started again. Whoever speaks for a node has ended what ran there before.
    pub node: String,
    pub pools: Vec<String>,
    pub hosts: Vec<String>,
    pub slots: u32,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// It takes nothing new (A8).
    #[serde(default)]
    pub draining: bool,
    #[serde(default)]
    pub version: String,
}

/// One entry of a [`Heartbeat`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningAttempt {
    pub attempt: AttemptRef,
    pub token: AttemptToken,
}

/// What the owner says to each attempt of a [`Heartbeat`]; one it does not name is not extended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    pub extended: Vec<AttemptRef>,
    /// To be ended at once: older, answered, or cancelled.
    pub gone: Vec<AttemptRef>,
    /// To be ended and reported: a person ends them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupted: Vec<AttemptRef>,
    /// A newer life of its node was heard of: this one is to end. Nothing is answered beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
}

/// A request from a worker to the owner of runs, over the Control port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum WorkerRequest {
    Claim(Claim),
    Heartbeat(Heartbeat),
}

/// The answer to a [`WorkerRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer_to", rename_all = "snake_case")]
pub enum OwnerAnswer {
    Claim(ClaimAnswer),
    Heartbeat(HeartbeatAnswer),
}

/// Tells every worker to end attempts. Sent by: Run, as a broadcast over Control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    pub run: RunId,
    pub epoch: Epoch,
    /// One attempt of the run, or all of them.
    #[serde(default)]
    pub attempt: Option<AttemptRef>,
}

/// What is broadcast to all workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Broadcast {
    Order(WorkerOrder),
    Cancel(Cancel),
}

/// What workers are told to do beside ending attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum WorkerOrder {
    /// An owner is new: each worker sends a heartbeat now, which names this number.
    Report { round: u64 },
    /// This worker, by its id or node, takes nothing new, finishes what it runs, and ends (A8).
    Drain { worker: String },
}

/// How an attempt ended. Sent by: Attempt, through Results until it is acknowledged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptReport {
    pub attempt: AttemptRef,
    pub token: AttemptToken,
    pub worker: WorkerId,
    pub end: AttemptEnd,
    #[serde(default)]
    pub usage: Usage,
    /// Things worth a line in the record, such as replaced invalid UTF-8.
    #[serde(default)]
    pub notes: Vec<String>,
    pub elapsed_ms: u64,
}

/// Follows the results that were published before it, through Results. Sent by: an owner that took a run over, to
/// itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultsMarker {
    pub marker: u64,
}

/// The end of one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum AttemptEnd {
    /// Text, or JSON that fits the schema.
    Done { value: Payload },
    Failed {
        cause: Cause,
        /// A word or two such as `exit 3`.
        #[serde(default)]
        detail: Option<String>,
        /// What people should read, such as the last lines of standard error.
        message: String,
        /// Exit 75, a lost worker, a provider that asks to come back (C23).
        #[serde(default)]
        retryable: bool,
        /// The attempt answered, and this answer does not fit the schema (C22).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unfit: Option<Box<Payload>>,
    },
    /// Cancelled by its owner; nothing follows from it.
    Cancelled,
}

/// Encodes a message for a port: MessagePack with named fields.
///
/// # Errors
/// The type cannot be represented; none of ours cannot.
pub fn encode<T: Serialize>(message: &T) -> Result<bytes::Bytes, WireError> {
    rmp_serde::to_vec_named(message).map(bytes::Bytes::from).map_err(|e| WireError(e.to_string()))
}

/// Decodes a message that came over a port; the sender is not trusted.
///
/// # Errors
/// The bytes are no message of this type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    rmp_serde::from_slice(bytes).map_err(|e| WireError(e.to_string()))
}

/// A message that cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this version: {0}")]
pub struct WireError(pub String);
