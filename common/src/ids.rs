//! Names of runs, agents, attempts and their owners.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;
use uuid::Uuid;

/// Counts the accepted `agent()` calls of a run in call order, from 1.
pub type AgentNumber = u32;
/// Counts the tries of one agent, from 1.
pub type AttemptNumber = u32;
/// Counts the ownerships of a run; the newest is the only one that may write.
pub type Epoch = u64;

/// A run's name: `wf_` and the 26 lower-case Crockford characters of a UUID v7, so ids sort by time of submission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^wf_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
pub struct RunId(String);

/// What a person gets who types something else than a run id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a run id: expected wf_ and 26 characters, as `skein runs` lists them")]
pub struct BadRunId(pub String);

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED_CHARS: usize = 26;

impl RunId {
    /// The id that stands for this UUID (v7 when the id shall sort by time).
    #[must_use]
    pub fn from_uuid(uuid: Uuid) -> RunId {
        let bits = uuid.as_u128();
        let mut text = String::with_capacity(3 + ENCODED_CHARS);
        text.push_str("wf_");
        for position in (0..ENCODED_CHARS).rev() {
            let digit = (bits >> (position * 5)) & 31;
            text.push(char::from(CROCKFORD[usize::try_from(digit).unwrap_or_default()]));
        }
        RunId(text)
    }

    /// The id as people see it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for RunId {
    type Err = BadRunId;

    fn from_str(text: &str) -> Result<RunId, BadRunId> {
        let digits = text.strip_prefix("wf_").unwrap_or_default();
        if digits.len() == ENCODED_CHARS && digits.bytes().all(|b| CROCKFORD.contains(&b)) {
            Ok(RunId(text.to_owned()))
        } else {
            Err(BadRunId(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = BadRunId;

    fn try_from(text: String) -> Result<RunId, BadRunId> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> String {
        run.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Proves that a message about an attempt comes from the worker that was told to start it; random, given with `go`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptToken(pub u64);

impl fmt::Debug for AttemptToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptToken(***)")
    }
}

/// One worker process; a new one after each start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct WorkerId(pub String);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r02_a_run_id_is_wf_and_26_lower_case_crockford_characters() {
        let run = RunId::from_uuid(Uuid::from_u128(u128::MAX));
        assert_eq!(run.as_str(), "wf_7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert_eq!(run.as_str().parse::<RunId>(), Ok(run));
    }

    #[test]
    fn what_is_no_run_id_is_refused_with_advice() {
        for text in ["", "wf_", "wf_short", "wf_7zzzzzzzzzzzzzzzzzzzzzzzzI", "run-1", "wf_../../etc/passwd"] {
            let refusal = text.parse::<RunId>().expect_err(text);
            assert!(refusal.to_string().contains("skein runs"), "{refusal}");
        }
    }
}
