//! What is fixed when a run is submitted (R2a), and how a run can stand.

use crate::RunId;
use crate::agent::{AgentDefinition, RunnerKind, Simulation};
use crate::payload::Payload;
use crate::trace::Traceparent;
use crate::workflow::KnownWorkflow;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Everything a run needs later, from any machine: stored as the first event of its journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The script byte for byte.
    pub script: Payload,
    /// What people call it before its `meta` is read: a file or saved name.
    pub origin: String,
    #[serde(default)]
    pub args: Option<Payload>,
    /// `args` came as text and was parsed: one log line says so (C37).
    #[serde(default)]
    pub args_parsed_from_text: bool,
    #[serde(default)]
    pub limits: RunLimits,
    /// Tokens; `None` is no limit.
    #[serde(default)]
    pub budget: Option<u64>,
    #[serde(default)]
    pub budget_unit: BudgetUnit,
    /// The runner of agents whose type names none.
    #[serde(default)]
    pub runner: Option<RunnerKind>,
    /// With `runner: command`: the program of agents without a type.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub simulation: Simulation,
    #[serde(default)]
    pub definitions: Vec<AgentDefinition>,
    /// The workflows that `workflow()` may start: the saved ones the client could see.
    #[serde(default)]
    pub workflows: Vec<KnownWorkflow>,
    /// Folders below which `workflow({scriptPath})` may read; absolute. A relative path counts from the first that has
    /// it.
    #[serde(default)]
    pub script_roots: Vec<String>,
    /// Unknown agent options throw instead of being ignored with a warning (C23).
    #[serde(default)]
    pub strict: bool,
    /// Every agent is simulated, whatever its type says; nothing is spent.
    #[serde(default)]
    pub dry_run: bool,
    /// Time the whole run may take.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Of `random()`; recorded at submission, inherited on resume.
    pub seed: u64,
    /// Where `command` agents run unless their definition or worker says otherwise; absolute.
    pub project_dir: String,
    /// The ended run whose results this one may reuse.
    #[serde(default)]
    pub parent: Option<RunId>,
    /// Which of them.
    #[serde(default)]
    pub resume_mode: ResumeMode,
    /// The trace that the run belongs to, as whoever submitted it said.
    #[serde(default, deserialize_with = "crate::trace::lenient", skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Traceparent>,
}

/// Which results of its parent a run reuses (R6a).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeMode {
    /// Every call whose key matches.
    #[default]
    Keyed,
    /// None from the first changed, failed or new call on.
    Prefix,
}

/// How many agents a run may have (L1, L2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLimits {
    /// Agents at the same time, 1 to 256.
    pub concurrency: u32,
    /// Agents in one run's life, 1 to 100 000.
    pub agents_max: u32,
}

impl Default for RunLimits {
    /// 16 and 1000, the figures of L1.
    fn default() -> RunLimits {
        RunLimits { concurrency: 16, agents_max: 1000 }
    }
}

impl RunLimits {
    pub const CONCURRENCY_MAX: u32 = 256;
    pub const AGENTS_MAX: u32 = 100_000;

    /// Why these limits cannot be, if they cannot.
    ///
    /// # Errors
    /// A sentence that names the limit and its range.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=RunLimits::CONCURRENCY_MAX).contains(&self.concurrency) {
            return Err(format!("concurrency must be 1 to {}, not {}", RunLimits::CONCURRENCY_MAX, self.concurrency));
        }
        if !(1..=RunLimits::AGENTS_MAX).contains(&self.agents_max) {
            return Err(format!("max agents must be 1 to {}, not {}", RunLimits::AGENTS_MAX, self.agents_max));
        }
        Ok(())
    }
}

/// What a budget counts (C38).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetUnit {
    #[default]
    Total,
    Output,
}

/// How a run stands (R1). `Interrupted` is derived, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Queued,
    Running,
    Waiting,
    Pausing,
    Paused,
    Stopping,
    Completed,
    Failed,
    Stopped,
    Interrupted,
}

impl RunStatus {
    /// The word in records and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RunStatus::Queued => "queued",
            RunStatus::Running => "running",
            RunStatus::Waiting => "waiting",
            RunStatus::Pausing => "pausing",
            RunStatus::Paused => "paused",
            RunStatus::Stopping => "stopping",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::Stopped => "stopped",
            RunStatus::Interrupted => "interrupted",
        }
    }

    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, RunStatus::Completed | RunStatus::Failed | RunStatus::Stopped)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
