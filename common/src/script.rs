//! What a script host and a coordinator say to each other about one script: plain data, no JavaScript value.
//!
//! The frames that carry these words belong to `skein-script`; the engine decides on the operations.

use crate::workflow::WorkflowRef;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A script's `meta`, read from its syntax tree and never evaluated (C2, C3).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Meta {
    pub name: String,
    pub description: String,
    #[serde(default)]
    pub when_to_use: Option<String>,
    #[serde(default)]
    pub phases: Vec<PhaseDeclaration>,
}

/// One entry of `meta.phases`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct PhaseDeclaration {
    pub title: String,
    #[serde(default)]
    pub detail: Option<String>,
    #[serde(default)]
    pub model: Option<String>,
}

/// Something the static look at a script found that does not stop a run, with its place in the author's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Counted from 1.
    pub line: u32,
    /// Counted in code points from 1.
    pub column: u32,
    pub message: String,
}

/// The answer to loading a script: it parses, and this is what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Loaded {
    pub meta: Meta,
    /// Optional `meta` fields that were malformed and dropped (C3).
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Places that will throw when they run, such as `Date.now()` (C8).
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// One thing a script did, in the order in which it did it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// A call that waits for a settlement.
    Call(Call),
    /// `clearTimeout` of a timer that has not fired: it will never be settled.
    ClearTimer { call: u32 },
    /// A log line, from `log`, `console` or the globals themselves.
    Log { text: String },
    /// `phase(title)`.
    Phase { title: String },
    /// A slot of `parallel` or an item of `pipeline` that became null because it threw (C30, C33).
    SlotFailed {
        /// Such as `parallel[3]`.
        place: String,
        message: String,
        /// A TypeError, ReferenceError, … of the script itself, not an agent's end.
        script_error: bool,
        /// A budget or cap refusal.
        refused: bool,
    },
    /// Something for the run record, not for the log.
    Warning { text: String },
    /// The script that a `workflow()` call was settled with parses and begins (C40).
    WorkflowStarted {
        /// The `workflow()` call.
        call: u32,
        /// The saved name, or for a path the `meta.name` of the script.
        name: String,
    },
}

/// A call of the script that is open until it is settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Counted from 1 in call order, over all kinds.
    pub id: u32,
    pub kind: CallKind,
}

/// What was called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CallKind {
    /// `agent(prompt, options)`.
    Agent {
        prompt: String,
        /// The options object as JSON text, keys in the order written; `None` when absent or not an object.
        #[serde(default)]
        options: Option<String>,
        /// Options were given but were not an object (a warning, C23).
        #[serde(default)]
        options_not_object: bool,
        /// The current `phase()` at the call; `options.phase` beats it.
        #[serde(default)]
        phase: Option<String>,
        /// The `workflow()` call whose script made it; `None` is the run's own script.
        #[serde(default)]
        workflow: Option<u32>,
    },
    /// `setTimeout`; the callback stays in the host.
    Timer { delay_ms: u64 },
    /// `workflow(nameOrRef, args)`: settled with the text of the script, which the host then runs.
    Workflow {
        target: WorkflowRef,
        /// `args` of the script as JSON text; `None` is `undefined`.
        #[serde(default)]
        args: Option<String>,
    },
}

/// What a call came to, delivered in journal order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settlement {
    pub call: u32,
    pub outcome: Outcome,
    /// Journal time of the event, ms since the Unix epoch: what `now()` reads during the turn.
    pub now_ms: i64,
    /// What `budget.spent()` reads from here on, tokens.
    pub spent: u64,
    /// From here on `parallel` and `pipeline` with at least one item throw `WorkflowAgentCapError` (C33).
    pub cap_reached: bool,
}

/// The value or error a promise is settled with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outcome {
    /// Resolves to a string.
    Text { text: String },
    /// Resolves to the value of this JSON text.
    Json { json: String },
    /// Resolves to null.
    Null,
    /// A timer is due.
    Fired,
    /// Rejects with an Error of the script's realm that has this `name` (`Error`, `TypeError`, `WorkflowAgentCapError`, …).
    Error { name: String, message: String },
}

/// What the script knows from its first turn on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// `args` as JSON text; `None` is `undefined`.
    #[serde(default)]
    pub args: Option<String>,
    /// Seed of `random()`.
    pub seed: u64,
    /// What `now()` reads in the first turn, ms since the Unix epoch.
    pub now_ms: i64,
    /// `budget.total`, tokens.
    #[serde(default)]
    pub budget_total: Option<u64>,
}

/// How one turn of a script ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum TurnEnd {
    /// The script waits; `open` calls can still be settled.
    Waiting { ops: Vec<Op>, open: u32 },
    /// The script returned; `result` is JSON text.
    Done { ops: Vec<Op>, result: String, warnings: Vec<String> },
    /// The script threw, hit a cap, or its host is gone. Nothing more comes from it.
    Failed { ops: Vec<Op>, error: ScriptError },
}

/// Why a script did not load or did not finish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, ToSchema)]
#[error("{message}")]
pub struct ScriptError {
    pub kind: ScriptErrorKind,
    pub message: String,
    /// In the author's file, from 1.
    #[serde(default)]
    pub line: Option<u32>,
    #[serde(default)]
    pub column: Option<u32>,
    /// Frames of the script only.
    #[serde(default)]
    pub stack: Option<String>,
    /// The offending line of the author's file, at most 200 characters.
    #[serde(default)]
    pub source_line: Option<String>,
}

/// The kind of a script's failure, as in the run's `error.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScriptErrorKind {
    Syntax,
    Meta,
    /// The script threw and nothing caught it.
    Thrown,
    /// A counted cap (instructions, jobs, call depth, source, prompt or result size); the message names it.
    Limit,
    /// The memory cap.
    Memory,
    /// The time cap of one synchronous stretch.
    Time,
    /// The native stack: nested too deeply.
    Stack,
    /// `nothing left to wait for`.
    Stuck,
    /// The result cannot be JSON.
    Serialization,
    /// The interpreter itself failed.
    Engine,
}
