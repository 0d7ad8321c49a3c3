//! Workflows that a run may start inside itself with `workflow()` (C40), and the names of saved ones (U4).

use crate::payload::Payload;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which workflow `workflow()` asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum WorkflowRef {
    /// A saved one.
    Name { name: String },
    /// A file: `{scriptPath}`, as the script wrote it.
    Path { path: String },
}

impl fmt::Display for WorkflowRef {
    /// As a script would write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkflowRef::Name { name } => write!(f, "'{name}'"),
            WorkflowRef::Path { path } => write!(f, "{{scriptPath: '{path}'}}"),
        }
    }
}

/// A workflow whose text travels with a run from its submission on (R2a).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownWorkflow {
    pub target: WorkflowRef,
    /// The script byte for byte.
    pub source: Payload,
}

/// A saved workflow's name is at most so long.
pub const WORKFLOW_NAME_MAX: usize = 100;

/// Whether a workflow can be saved under this name: `[a-z][a-z0-9-]*`.
#[must_use]
pub fn is_workflow_name(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    let goes_on = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    starts && goes_on && name.len() <= WORKFLOW_NAME_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u04_names_are_lower_case_words_and_never_paths() {
        for name in ["a", "deep-research", "nginx-502-debug", "x-"] {
            assert!(is_workflow_name(name), "{name}");
        }
        for name in ["", "-a", "1a", "A", "a_b", "a.js", "../a", "a/b", "a b", "é", &"a".repeat(101)] {
            assert!(!is_workflow_name(name), "{name}");
        }
    }
}
