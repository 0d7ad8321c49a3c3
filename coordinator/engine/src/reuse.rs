//! Reuse: answering a call from an ended run's results (R6a, R7).
//!
//! | mode | a call is answered when |
//! |---|---|
//! | keyed | the parent's call of the same key and ordinal gave a value |
//! | prefix | the same, for the call of the same number, and so was every agent call before it |

use crate::state::{CallRecord, RunState};
use crate::{Event, TaskEnd};
use serde::Serialize;
use serde_json::{Map, Value};
use skein_common::agent::RunnerKind;
use skein_common::run::{ResumeMode, RunSpec};
use skein_common::{AgentNumber, Digest, Payload};
use std::collections::BTreeMap;

/// The options that change the work (R6a); label, phase and the like do not.
const KEYED_OPTIONS: [&str; 9] =
    ["schema", "model", "effort", "isolation", "agentType", "tools", "runner", "host", "pool"];

/// What a key is the SHA-256 of, as RFC 8785 canonical JSON. Version 1.
#[derive(Serialize)]
struct KeyOf<'a> {
    v: u32,
    kind: &'static str,
    prompt: &'a str,
    options: Map<String, Value>,
    definition: Option<&'a str>,
    args: Option<String>,
}

/// The key of an `agent()` call: the same work has the same key, in this run and in every other.
#[must_use]
pub fn call_key(run: &RunSpec, prompt: &str, options: Option<&str>) -> String {
    let mut options = match options.map(serde_json::from_str) {
        Some(Ok(Value::Object(options))) => options,
        _ => Map::new(),
    };
    options.retain(|key, value| KEYED_OPTIONS.contains(&key.as_str()) && !value.is_null());
    let agent_type = options.get("agentType").and_then(Value::as_str);
    let definition = agent_type.and_then(|name| run.definitions.iter().find(|definition| definition.name == name));
    let named = options.get("runner").and_then(Value::as_str).and_then(RunnerKind::from_name);
    let runner = named.or(definition.and_then(|definition| definition.runner)).or(run.runner);
    // A program sees the run's args on its standard input; a model does not.
    let args = run.args.as_ref().filter(|_| runner == Some(RunnerKind::Command)).map(|args| args.digest_as_blob().0);
    let definition = definition.map(|definition| definition.digest.as_str());
    let key_of = KeyOf { v: 1, kind: "agent", prompt, options, definition, args };
    let canonical = serde_json_canonicalizer::to_vec(&key_of).unwrap_or_else(|_| prompt.as_bytes().to_vec());
    Digest::of(&canonical).0
}

/// A result of the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reusable {
    /// The parent's agent that gave it; 0 when the parent had reused it itself.
    pub agent: AgentNumber,
    pub value: Payload,
}

/// The results of an ended run, by what was called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReuseTable {
    /// By key and ordinal among the calls of that key, from 0.
    by_key: BTreeMap<(String, u32), Reusable>,
    /// By call id.
    by_call: BTreeMap<u32, (String, Reusable)>,
}

impl ReuseTable {
    /// The finished results of the parent: failed and null ones are not among them (R7).
    #[must_use]
    pub fn of<'a>(parent: &RunState, events: impl Iterator<Item = &'a Event>) -> ReuseTable {
        let mut values: BTreeMap<u32, Reusable> = BTreeMap::new();
        for event in events {
            match event {
                Event::TaskEnded { agent, end: TaskEnd::Done { value }, .. } => {
                    if let Some(call) = parent.agent(*agent).map(|agent| agent.call) {
                        values.insert(call, Reusable { agent: *agent, value: value.clone() });
                    }
                }
                Event::AgentReused { call, value, .. } => {
                    values.insert(*call, Reusable { agent: 0, value: value.clone() });
                }
                _ => {}
            }
        }
        let mut table = ReuseTable::default();
        let mut ordinals: BTreeMap<&str, u32> = BTreeMap::new();
        for (call, record) in (1u32..).zip(&parent.calls) {
            let Some(key) = record.key() else { continue };
            let ordinal = ordinals.entry(key).or_default();
            if let Some(reusable) = values.remove(&call) {
                table.by_key.insert((key.to_owned(), *ordinal), reusable.clone());
                table.by_call.insert(call, (key.to_owned(), reusable));
            }
            *ordinal += 1;
        }
        table
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_call.is_empty()
    }

    /// The result that answers this call, if one does.
    #[must_use]
    pub fn answer(&self, state: &RunState, call: u32, key: &str) -> Option<&Reusable> {
        match state.spec.resume_mode {
            ResumeMode::Keyed => {
                let ordinal = state.ordinals.get(key).copied().unwrap_or(0);
                self.by_key.get(&(key.to_owned(), ordinal))
            }
            ResumeMode::Prefix if state.prefix_broken => None,
            ResumeMode::Prefix => {
                self.by_call.get(&call).filter(|(known, _)| known == key).map(|(_, reusable)| reusable)
            }
        }
    }
}

impl CallRecord {
    /// The key of an `agent()` call, the only one whose result is reused.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            CallRecord::Agent { key, .. } | CallRecord::Reused { key, .. } | CallRecord::Refused { key } => Some(key),
            CallRecord::Timer { .. } | CallRecord::Workflow { .. } => None,
        }
    }
}
