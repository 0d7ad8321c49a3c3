//! The facts of a run, in the order in which they became true. Stored: grows by optional fields and new variants only.

use crate::agent::{AgentSpec, Interruption};
use serde::{Deserialize, Serialize};
use skein_common::agent::{Cause, Usage};
use skein_common::run::{RunSpec, RunStatus};
use skein_common::script::{Meta, ScriptError};
use skein_common::workflow::WorkflowRef;
use skein_common::{AgentNumber, AttemptNumber, Digest, Epoch, Payload};

/// One fact of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first event of every journal.
    RunSubmitted {
        spec: Box<RunSpec>,
    },
    /// A coordinator took the run over.
    EpochBegan {
        epoch: Epoch,
    },
    /// The script parses; its first turn follows.
    RunStarted {
        meta: Meta,
        behaviour: u32,
    },
    /// Something for the run record.
    Warned {
        text: String,
        /// Said by the script host, so a replay says it again.
        #[serde(default, skip_serializing_if = "is_false")]
        from_script: bool,
    },
    LogLine {
        text: String,
        /// Written by the engine, so a replay of the script does not write it again.
        #[serde(default, skip_serializing_if = "is_false")]
        from_engine: bool,
    },
    PhaseEntered {
        title: String,
    },
    /// A slot of `parallel` or `pipeline` became null because it threw.
    SlotFailed {
        place: String,
        message: String,
        #[serde(default, skip_serializing_if = "is_false")]
        script_error: bool,
        #[serde(default, skip_serializing_if = "is_false")]
        refused: bool,
    },
    /// A call of `agent()` was accepted and waits for its permit.
    AgentQueued {
        call: u32,
        agent: AgentNumber,
        /// What the call asks for (`reuse.rs`): tells another call in its place in a replay, and finds its result later.
        key: String,
        spec: Box<AgentSpec>,
    },
    /// A call of `agent()` is answered from the parent run; no agent starts. Settlement.
    AgentReused {
        call: u32,
        key: String,
        label: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<String>,
        /// The parent's agent that gave it; 0 when the parent had reused it itself.
        from: AgentNumber,
        value: Payload,
        spent: u64,
        cap_reached: bool,
    },
    /// A call of `agent()` throws. Settlement.
    AgentRefused {
        call: u32,
        /// Set when it had been accepted and was refused at its slot.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentNumber>,
        key: String,
        /// The error's name in the script.
        name: String,
        message: String,
        /// A budget or cap refusal, as against a wrong argument.
        limit: bool,
        spent: u64,
        cap_reached: bool,
    },
    /// An attempt has a permit and goes to the workers.
    TaskStarted {
        agent: AgentNumber,
        attempt: AttemptNumber,
        permit: u64,
    },
    /// An attempt ended and another follows.
    AttemptEnded {
        agent: AgentNumber,
        attempt: AttemptNumber,
        cause: Cause,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        message: String,
        #[serde(default)]
        usage: Usage,
        /// Lost by a crash of ours: does not count against `retries`.
        #[serde(default, skip_serializing_if = "is_false")]
        ours: bool,
    },
    /// An agent ended for good. Settlement.
    TaskEnded {
        agent: AgentNumber,
        end: TaskEnd,
        /// Of the last attempt.
        #[serde(default)]
        usage: Usage,
        elapsed_ms: u64,
        spent: u64,
        cap_reached: bool,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// A person ends this attempt: to have no result, or another one. It holds its permit until it is over.
    AgentInterrupted {
        agent: AgentNumber,
        attempt: AttemptNumber,
        then: Interruption,
    },
    TimerSet {
        call: u32,
        delay_ms: u64,
    },
    TimerCleared {
        call: u32,
    },
    /// A timer is due. Settlement.
    TimerFired {
        call: u32,
        spent: u64,
        cap_reached: bool,
    },
    /// A call of `workflow()`; `WorkflowLoaded` or `WorkflowRefused` follows.
    WorkflowCalled {
        call: u32,
        /// What the call asks for, as with `AgentQueued`.
        key: String,
        target: WorkflowRef,
    },
    /// A call of `workflow()` has its script. Settlement.
    WorkflowLoaded {
        call: u32,
        /// Of the script.
        digest: Digest,
        /// The script, where the journal does not have it yet: of a path, the first time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Payload>,
        spent: u64,
        cap_reached: bool,
    },
    /// A call of `workflow()` throws: there is no such script. Settlement.
    WorkflowRefused {
        call: u32,
        message: String,
        spent: u64,
        cap_reached: bool,
    },
    /// The script of a `workflow()` call parses and begins.
    WorkflowStarted {
        call: u32,
        name: String,
        /// In which people see its agents.
        group: String,
    },
    /// The script returned; what still runs is wound down.
    ScriptReturned {
        result: Payload,
    },
    /// A person holds the run: nothing new starts, and settlements from here on wait.
    Paused {},
    /// The run goes on; what was held back is delivered.
    Resumed {},
    /// Somebody wants the run to end. A pause ends with it.
    StopRequested {},
    /// The last event.
    RunEnded {
        status: RunStatus,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<RunError>,
    },
}

/// How an agent ended for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum TaskEnd {
    Done {
        value: Payload,
    },
    /// Settles as null (C21).
    Null {
        cause: Cause,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        message: String,
    },
    /// Settles as the rejection `run stopped` (C33).
    RunStopped {},
}

/// Why a run failed. Kinds are words of the user's surfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    pub kind: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_line: Option<String>,
}

impl RunError {
    /// An error that has no place in the script.
    pub fn new(kind: &str, message: impl Into<String>) -> RunError {
        RunError {
            kind: kind.to_owned(),
            message: message.into(),
            line: None,
            column: None,
            stack: None,
            source_line: None,
        }
    }
}

impl From<ScriptError> for RunError {
    fn from(error: ScriptError) -> RunError {
        use skein_common::script::ScriptErrorKind as Kind;
        let kind = match error.kind {
            Kind::Syntax => "syntax",
            Kind::Meta => "meta",
            Kind::Thrown => "thrown",
            Kind::Limit => "limit",
            Kind::Memory => "memory",
            Kind::Time => "time",
            Kind::Stack => "stack",
            Kind::Stuck => "stuck",
            Kind::Serialization => "serialization",
            Kind::Engine => "engine",
        };
        RunError {
            kind: kind.to_owned(),
            message: error.message,
            line: error.line,
            column: error.column,
            stack: error.stack,
            source_line: error.source_line,
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}
