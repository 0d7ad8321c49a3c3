//! `RunView`: what every screen, number and `--json` of a run is made from. Names are fixed by the user's surfaces.

use crate::RunId;
use crate::agent::Usage;
use crate::run::RunStatus;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A run as people and programs see it; the final object of `skein run --json`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    pub run: RunId,
    pub parent: Option<RunId>,
    pub workflow: String,
    pub status: RunStatus,
    /// Completed, but agents were lost (R1).
    pub degraded: bool,
    /// Verbatim JSON; null until the run ended, and in lists.
    #[schema(value_type = Value)]
    pub result: Option<Box<RawValue>>,
    pub error: Option<ErrorView>,
    pub elapsed_ms: u64,
    pub agents: Census,
    pub tokens: TokensView,
    pub phases: Vec<PhaseView>,
    pub models: Vec<ModelView>,
    pub failures: Vec<String>,
    pub warnings: Vec<String>,
    /// ms since the Unix epoch.
    #[serde(default)]
    pub started_at_ms: i64,
    #[serde(default)]
    pub description: String,
    /// The command that continues it, for an interrupted run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_with: Option<String>,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorView {
    pub kind: String,
    pub message: String,
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub stack: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_line: Option<String>,
}

/// How many agents of a run stand where. `started` are the accepted calls; `queued` and `running` are among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Census {
    pub started: u32,
    pub done: u32,
    pub failed: u32,
    pub skipped: u32,
    pub stopped: u32,
    pub refused: u32,
    pub reused: u32,
    #[serde(default)]
    pub running: u32,
    #[serde(default)]
    pub queued: u32,
}

/// Tokens of a run and its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TokensView {
    pub input: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub output: u64,
    pub total: u64,
    pub budget: Option<u64>,
}

impl TokensView {
    /// The usage beside its budget.
    #[must_use]
    pub fn new(usage: &Usage, budget: Option<u64>) -> TokensView {
        TokensView {
            input: usage.input,
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            output: usage.output,
            total: usage.total(),
            budget,
        }
    }
}

/// One phase of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PhaseView {
    pub title: String,
    pub agents: u32,
    pub tokens: u64,
    pub elapsed_ms: u64,
    #[serde(default)]
    pub done: u32,
    #[serde(default)]
    pub running: u32,
    #[serde(default)]
    pub queued: u32,
    #[serde(default)]
    pub failed: u32,
}

/// What one model did in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelView {
    pub model: String,
    pub agents: u32,
    pub tokens: u64,
}

/// One agent of a run, as `skein agents --json` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentView {
    pub agent: u32,
    /// With `[2]` and so on behind a label that was there before (C24).
    pub label: String,
    pub phase: Option<String>,
    pub model: Option<String>,
    pub runner: String,
    pub host: Option<String>,
    /// `queued`, `running`, `done`, or the cause of its end.
    pub status: String,
    pub detail: Option<String>,
    pub attempts: u32,
    pub tokens: u64,
    pub elapsed_ms: u64,
}

/// `83_000` as `1m 23s`.
#[must_use]
pub fn short_time(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..=59 => format!("{seconds}.{}s", ms % 1000 / 100),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}
