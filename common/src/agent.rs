//! What an agent is told, what it may be, and how it can end.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// What carries out an agent on a worker (A1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunnerKind {
    /// A model with tools over the provider's API.
    Llm,
    /// A coding agent's headless command.
    Cli,
    /// A program, no model.
    Command,
    /// No work: invented text and usage.
    Simulated,
}

impl RunnerKind {
    /// Every kind, in the order people read them.
    pub const ALL: [RunnerKind; 4] = [RunnerKind::Llm, RunnerKind::Cli, RunnerKind::Command, RunnerKind::Simulated];

    /// The word for it in scripts, definitions and flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RunnerKind::Llm => "llm",
            RunnerKind::Cli => "cli",
            RunnerKind::Command => "command",
            RunnerKind::Simulated => "simulated",
        }
    }

    /// The runner of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<RunnerKind> {
        RunnerKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The program of a `command` agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum CommandLine {
    /// Started as it is; `{prompt}` and `{definition_dir}` are filled in inside each argument.
    Argv { argv: Vec<String> },
    /// Given to `/bin/sh -c`; the prompt reaches it on standard input only.
    Shell { line: String },
}

/// Where an attempt works, so that it and others do not meet (C23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// In a fresh worktree of the project's git repository.
    Worktree,
}

/// Which ends of an agent are tried again (C23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryRule {
    /// Exit 75, a lost worker, a retryable end at the provider.
    #[default]
    Asked,
    /// Every failure.
    Any,
}

/// An agent type: a Markdown file with front matter, as it was at submission (A1, R2a).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentDefinition {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub runner: Option<RunnerKind>,
    #[serde(default)]
    pub command: Option<CommandLine>,
    /// Working directory of the program; a relative one counts from the project folder.
    #[serde(default)]
    pub cwd: Option<String>,
    /// `NAME` passes a variable of the worker on, `NAME=value` sets one.
    #[serde(default)]
    pub env: Vec<String>,
    #[serde(default)]
    pub retry: RetryRule,
    #[serde(default)]
    pub tools: Option<Vec<String>>,
    /// The body of the file: the system prompt.
    #[serde(default)]
    pub body: String,
    /// Absolute path of the file it was read from.
    pub path: String,
    /// SHA-256 of the file.
    pub digest: String,
}

/// Tokens of one or more requests; four disjoint counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    #[serde(default)]
    pub input: u64,
    #[serde(default)]
    pub cache_read: u64,
    #[serde(default)]
    pub cache_write: u64,
    #[serde(default)]
    pub output: u64,
}

impl Usage {
    /// All four together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write).saturating_add(self.output)
    }

    /// Both together; stays at the largest number instead of wrapping, since the counts come from outside.
    #[must_use]
    pub fn plus(&self, other: &Usage) -> Usage {
        Usage {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            output: self.output.saturating_add(other.output),
        }
    }
}

/// Why an agent came to null (C21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    Failed,
    Skipped,
    Stopped,
    Stalled,
    TimedOut,
    /// Budget or cap only.
    Refused,
    Lost,
    Denied,
    OutputTooLarge,
    /// A person ended the attempt for another one: of attempts only, never of an agent.
    Interrupted,
}

impl Cause {
    /// The word in records and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Failed => "failed",
            Cause::Skipped => "skipped",
            Cause::Stopped => "stopped",
            Cause::Stalled => "stalled",
            Cause::TimedOut => "timed_out",
            Cause::Refused => "refused",
            Cause::Lost => "lost",
            Cause::Denied => "denied",
            Cause::OutputTooLarge => "output_too_large",
            Cause::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How `simulated` agents behave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Simulation {
    pub latency_ms: u64,
    /// Added to the latency, drawn from the prompt's hash: 0 to this many ms.
    pub jitter_ms: u64,
    /// Share of agents that fail, 0 to 1, drawn from the prompt's hash.
    pub fail: f64,
    /// Tokens of one agent, input and output together.
    pub tokens: u64,
    /// Bytes of one answer, when it shall be longer than a short sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_bytes: Option<u64>,
}

impl Default for Simulation {
    /// No latency, no failure, and the usage of a short exchange.
    fn default() -> Simulation {
        Simulation { latency_ms: 0, jitter_ms: 0, fail: 0.0, tokens: 110, text_bytes: None }
    }
}

impl std::str::FromStr for Simulation {
    type Err = String;

    /// `latency=5ms,jitter=2ms,fail=0.01,tokens=110,text=64k`, each part optional.
    fn from_str(text: &str) -> Result<Simulation, String> {
        let mut simulation = Simulation::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not key=value"))?;
            let bad = || format!("`{value}` is no value for {key}");
            match key.trim() {
                "latency" => simulation.latency_ms = crate::config::parse_duration_ms(value).ok_or_else(bad)?,
                "jitter" => simulation.jitter_ms = crate::config::parse_duration_ms(value).ok_or_else(bad)?,
                "fail" => {
                    simulation.fail =
                        value.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(bad)?;
                }
                "tokens" => simulation.tokens = value.trim().parse().map_err(|_| bad())?,
                "text" => simulation.text_bytes = Some(parse_text_bytes(value.trim()).ok_or_else(bad)?),
                other => return Err(format!("unknown key `{other}`: expected latency, jitter, fail, tokens, text")),
            }
        }
        Ok(simulation)
    }
}

/// The longest answer that can be simulated: more than a run lets an agent return.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// A number of bytes, or of KiB with a `k` behind it.
fn parse_text_bytes(text: &str) -> Option<u64> {
    let (digits, factor) = text.strip_suffix(['k', 'K']).map_or((text, 1), |digits| (digits, 1024));
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|bytes| *bytes <= TEXT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_is_read_from_its_flag() {
        let simulation: Simulation = "latency=5ms,jitter=2ms,fail=0.01,tokens=90".parse().expect("reads");
        let expected = Simulation { latency_ms: 5, jitter_ms: 2, fail: 0.01, tokens: 90, text_bytes: None };
        assert_eq!(simulation, expected);
        assert_eq!("text=64k".parse::<Simulation>().expect("reads").text_bytes, Some(65_536));
        assert_eq!("text=100".parse::<Simulation>().expect("reads").text_bytes, Some(100));
        assert!("text=99999999999k".parse::<Simulation>().is_err());
    }

    #[test]
    fn a_bad_simulation_says_what_is_known() {
        let refusal = "speed=9".parse::<Simulation>().expect_err("refused");
        assert!(refusal.contains("latency, jitter, fail, tokens"), "{refusal}");
        assert!("fail=1.5".parse::<Simulation>().is_err());
    }
}
