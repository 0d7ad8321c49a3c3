//! Divergence: a replayed script that does something else than its journal says (R5).

use crate::reuse::call_key;
use crate::state::{CallRecord, Counts, RunState};
use crate::workflow::workflow_key;
use skein_common::script::{Call, CallKind, Op};

/// How far a replay has come. Calls are matched by number, kind and key; logs, phases and the like by count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    seen: Counts,
    calls: u32,
}

/// The script made another call than the journal has; both are named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("divergence at call {call}: the journal has {journalled}, the script made {made}")]
pub struct Divergence {
    pub call: u32,
    pub journalled: String,
    pub made: String,
}

impl Cursor {
    /// Takes out of a turn's operations what the journal already holds; the rest is new.
    ///
    /// # Errors
    /// A call differs from the journal's.
    pub fn new_ops(&mut self, state: &RunState, ops: Vec<Op>) -> Result<Vec<Op>, Divergence> {
        let mut new = Vec::new();
        for op in ops {
            if !self.is_journalled(state, &op)? {
                new.push(op);
            }
        }
        Ok(new)
    }

    /// The script is at rest again after its last recorded settlement: it must have made every call of the journal.
    ///
    /// # Errors
    /// The first call that it did not make.
    pub fn check_complete(&self, state: &RunState) -> Result<(), Divergence> {
        let next = self.calls.saturating_add(1);
        match state.call(next) {
            None => Ok(()),
            Some(record) => {
                Err(Divergence { call: next, journalled: name_record(state, record), made: String::from("no call") })
            }
        }
    }

    fn is_journalled(&mut self, state: &RunState, op: &Op) -> Result<bool, Divergence> {
        let (seen, known) = match op {
            Op::Call(call) => {
                self.calls = self.calls.max(call.id);
                return call_is_journalled(state, call);
            }
            Op::Log { .. } => (&mut self.seen.logs, state.counts.logs),
            Op::Phase { .. } => (&mut self.seen.phases, state.counts.phases),
            Op::SlotFailed { .. } => (&mut self.seen.slots_failed, state.counts.slots_failed),
            Op::Warning { .. } => (&mut self.seen.warnings, state.counts.warnings),
            Op::ClearTimer { .. } => (&mut self.seen.timers_cleared, state.counts.timers_cleared),
            Op::WorkflowStarted { .. } => (&mut self.seen.workflows_started, state.counts.workflows_started),
        };
        *seen += 1;
        Ok(*seen <= known)
    }
}

fn call_is_journalled(state: &RunState, call: &Call) -> Result<bool, Divergence> {
    let Some(record) = state.call(call.id) else { return Ok(false) };
    let same = match (&call.kind, record) {
        (
            CallKind::Agent { prompt, options, .. },
            CallRecord::Agent { key, .. } | CallRecord::Reused { key, .. } | CallRecord::Refused { key },
        ) => *key == call_key(&state.spec, prompt, options.as_deref()),
        (CallKind::Timer { delay_ms }, CallRecord::Timer { delay_ms: journalled, .. }) => delay_ms == journalled,
        (CallKind::Workflow { target, args }, CallRecord::Workflow { key, .. }) => {
            *key == workflow_key(target, args.as_deref())
        }
        _ => false,
    };
    if same {
        return Ok(true);
    }
    Err(Divergence { call: call.id, journalled: name_record(state, record), made: name_call(call) })
}

fn name_record(state: &RunState, record: &CallRecord) -> String {
    match record {
        CallRecord::Agent { agent, .. } => {
            let label = state.agent(*agent).map(|agent| agent.spec.label.as_str()).unwrap_or_default();
            format!("agent {agent} `{label}`")
        }
        CallRecord::Reused { label, .. } => format!("reused agent `{label}`"),
        CallRecord::Refused { .. } => String::from("a refused agent()"),
        CallRecord::Timer { delay_ms, .. } => format!("setTimeout of {delay_ms} ms"),
        CallRecord::Workflow { target, .. } => format!("workflow({target})"),
    }
}

fn name_call(call: &Call) -> String {
    match &call.kind {
        CallKind::Agent { prompt, .. } => {
            let start: String = prompt.chars().take(60).collect();
            format!("agent(`{start}`)")
        }
        CallKind::Timer { delay_ms } => format!("setTimeout of {delay_ms} ms"),
        CallKind::Workflow { target, .. } => format!("workflow({target})"),
    }
}
