//! Agent: one accepted `agent()` call and its attempts.
//!
//! | state | permit | report: done | report: fails, tries left | report: fails for good | lost | cancelled |
//! |---|---|---|---|---|---|---|
//! | Queued | Running | stale | stale | stale | stale | Ended |
//! | Running | - | Ended | Queued | Ended | Queued or Ended | Ended |
//! | Running, interrupted to restart | - | Queued | Queued | Queued | Queued | Queued |
//! | Running, interrupted to stop | - | Ended | Ended | Ended | Ended | Ended |
//! | Ended | - | stale | stale | stale | stale | - |

use serde::{Deserialize, Serialize};
use skein_common::agent::{Cause, RetryRule, RunnerKind, Usage};
use skein_common::{AgentNumber, AttemptNumber, Payload};

/// Attempts that a crash of ours may cost one agent before it counts as lost (C23).
pub const LOSSES_OF_OURS_MAX: u32 = 5;
/// More attempts after the first, unless the call says otherwise (C23).
pub const RETRIES_DEFAULT: u32 = 2;
/// Priority of a call that names none, in the middle of 0 to 9.
pub const PRIORITY_DEFAULT: u8 = 5;

/// What an accepted call asks for, with every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    pub prompt: Payload,
    pub label: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    pub runner: RunnerKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Payload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    #[serde(default = "retries_default", skip_serializing_if = "is_retries_default")]
    pub retries: u32,
    #[serde(default, skip_serializing_if = "is_asked")]
    pub retry: RetryRule,
    #[serde(default = "priority_default", skip_serializing_if = "is_priority_default")]
    pub priority: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disallowed_tools: Option<Vec<String>>,
}

fn retries_default() -> u32 {
    RETRIES_DEFAULT
}

fn is_retries_default(retries: &u32) -> bool {
    *retries == RETRIES_DEFAULT
}

fn priority_default() -> u8 {
    PRIORITY_DEFAULT
}

fn is_priority_default(priority: &u8) -> bool {
    *priority == PRIORITY_DEFAULT
}

fn is_asked(rule: &RetryRule) -> bool {
    *rule == RetryRule::Asked
}

/// The engine's record of one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    pub number: AgentNumber,
    pub call: u32,
    pub spec: AgentSpec,
    pub state: AgentState,
    /// Attempts started so far.
    pub attempts: AttemptNumber,
    /// Of those, how many a crash of ours cost.
    pub losses_of_ours: u32,
    /// And how many a person ended for another one.
    pub restarts: u32,
    /// A person ends the attempt that runs; what it still reports does not count.
    pub interrupted: Option<Interruption>,
    /// Of all attempts that ended.
    pub usage: Usage,
    pub queued_at_ms: i64,
    /// Of the newest attempt.
    pub started_at_ms: i64,
    pub elapsed_ms: u64,
}

/// Where an agent stands.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentState {
    Queued,
    Running { attempt: AttemptNumber, permit: u64 },
    Ended(Ended),
}

/// What follows when a person ends the attempt that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interruption {
    /// Nothing: the agent's call gives null.
    Stop,
    /// Another attempt, whose value is used.
    Restart,
}

/// How an agent ended, as the record keeps it. The value itself stays in the journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    Done,
    Null {
        cause: Cause,
        detail: Option<String>,
        message: String,
    },
    /// Refused at its slot.
    Refused,
}

impl Agent {
    /// Whether this attempt is the one that runs.
    #[must_use]
    pub fn runs(&self, attempt: AttemptNumber) -> bool {
        matches!(self.state, AgentState::Running { attempt: running, .. } if running == attempt)
    }

    /// Whether it still waits or runs.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.state, AgentState::Ended(_))
    }

    /// Whether another attempt follows one that failed like this (C23).
    #[must_use]
    pub fn tries_again(&self, retryable: bool) -> bool {
        let counted = self.attempts.saturating_sub(self.losses_of_ours + self.restarts);
        (retryable || self.spec.retry == RetryRule::Any) && counted <= self.spec.retries
    }

    /// Whether another attempt follows one that went down with us.
    #[must_use]
    pub fn survives_loss_of_ours(&self) -> bool {
        self.losses_of_ours < LOSSES_OF_OURS_MAX
    }
}
