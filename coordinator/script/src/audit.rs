//! What a host may say, checked by the parent: a host that was taken over must not be able to confuse it.

use std::collections::BTreeSet;

use skein_common::script::{Call, CallKind, Op, TurnEnd};
use skein_common::workflow::WorkflowRef;

use crate::limits::{HostLimits, TARGET_BYTES_MAX};

const TIMER_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Each of the two caps adds one marker line.
const MARKERS: u32 = 2;
const WARNINGS_MAX: usize = 1000;

/// A sentence about what a host must not have said.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Breach(&'static str);

/// The parent's own count of what the script has done.
#[derive(Debug)]
pub(crate) struct Audit {
    limits: HostLimits,
    calls: u32,
    open: BTreeSet<u32>,
    logs: u32,
    phases: u32,
    /// `workflow()` calls that were settled and may have started a script.
    workflows: BTreeSet<u32>,
    /// Those that have.
    started: BTreeSet<u32>,
}

impl Audit {
    pub(crate) fn new(limits: HostLimits) -> Self {
        let (open, workflows, started) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { limits, calls: 0, open, logs: 0, phases: 0, workflows, started }
    }

    pub(crate) fn open(&self) -> u32 {
        u32::try_from(self.open.len()).unwrap_or(u32::MAX)
    }

    /// Before a settlement is sent.
    pub(crate) fn settled(&mut self, call: u32) {
        self.open.remove(&call);
    }

    /// After a turn; the host is killed on a breach.
    pub(crate) fn turn(&mut self, end: &TurnEnd) -> Result<(), Breach> {
        let (TurnEnd::Waiting { ops, .. } | TurnEnd::Done { ops, .. } | TurnEnd::Failed { ops, .. }) = end;
        ops.iter().try_for_each(|op| self.op(op))?;
        match end {
            TurnEnd::Waiting { open, .. } if *open as usize != self.open.len() => {
                Err(Breach("the number of open calls is wrong"))
            }
            TurnEnd::Waiting { open: 0, .. } => Err(Breach("it waits for nothing")),
            TurnEnd::Done { result, .. } if result.len() as u64 > self.limits.result_bytes => {
                Err(Breach("the result is larger than its cap"))
            }
            TurnEnd::Done { warnings, .. } if warnings.len() > WARNINGS_MAX => Err(Breach("too many warnings")),
            _ => Ok(()),
        }
    }

    fn op(&mut self, op: &Op) -> Result<(), Breach> {
        match op {
            Op::Call(call) => self.call(call),
            // Its settlement may have been on the way: not being open is no breach.
            Op::ClearTimer { call } if *call > self.calls => Err(Breach("a timer was cleared that never was")),
            Op::ClearTimer { call } => {
                self.open.remove(call);
                Ok(())
            }
            Op::Log { .. } => {
                self.logs = self.logs.saturating_add(1);
                within(self.logs, self.limits.logs_max.saturating_add(MARKERS), "too many log lines")
            }
            Op::Phase { .. } => {
                self.phases = self.phases.saturating_add(1);
                within(self.phases, self.limits.phases_max, "too many phases")
            }
            Op::WorkflowStarted { name, .. } if name.len() as u64 > self.limits.source_bytes => {
                Err(Breach("the name of a workflow is too large"))
            }
            // Once for each call, and not before its script was handed over.
            Op::WorkflowStarted { call, .. } if self.open.contains(call) || !self.workflows.remove(call) => {
                Err(Breach("a workflow started that was not asked for"))
            }
            Op::WorkflowStarted { call, .. } => {
                self.started.insert(*call);
                Ok(())
            }
            Op::SlotFailed { .. } | Op::Warning { .. } => Ok(()),
        }
    }

    fn call(&mut self, call: &Call) -> Result<(), Breach> {
        if Some(call.id) != self.calls.checked_add(1) {
            return Err(Breach("calls are not numbered in order"));
        }
        self.calls = call.id;
        self.open.insert(call.id);
        let HostLimits { prompt_bytes, options_bytes, .. } = self.limits;
        match &call.kind {
            CallKind::Agent { workflow: Some(child), .. } if !self.started.contains(child) => {
                Err(Breach("an agent belongs to no workflow that was started"))
            }
            CallKind::Agent { prompt, .. } if prompt.len() as u64 > prompt_bytes => {
                Err(Breach("a prompt is too large"))
            }
            CallKind::Agent { options: Some(options), .. } if options.len() as u64 > options_bytes => {
                Err(Breach("options are too large"))
            }
            CallKind::Timer { delay_ms } if *delay_ms > TIMER_MS_MAX => Err(Breach("a timer is too long")),
            CallKind::Workflow { args: Some(args), .. } if args.len() as u64 > options_bytes => {
                Err(Breach("the args of a workflow are too large"))
            }
            CallKind::Workflow { target, .. } if length(target) > TARGET_BYTES_MAX => {
                Err(Breach("the name of a workflow is too large"))
            }
            CallKind::Workflow { .. } => {
                self.workflows.insert(call.id);
                Ok(())
            }
            CallKind::Agent { .. } | CallKind::Timer { .. } => Ok(()),
        }
    }
}

fn length(target: &WorkflowRef) -> usize {
    match target {
        WorkflowRef::Name { name } => name.len(),
        WorkflowRef::Path { path } => path.len(),
    }
}

fn within(count: u32, max: u32, breach: &'static str) -> Result<(), Breach> {
    if count > max { Err(Breach(breach)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(id: u32) -> Op {
        Op::Call(Call { id, kind: CallKind::Timer { delay_ms: 1 } })
    }

    fn waiting(ops: Vec<Op>, open: u32) -> TurnEnd {
        TurnEnd::Waiting { ops, open }
    }

    #[test]
    fn calls_must_be_numbered_from_one_without_a_gap() {
        let mut audit = Audit::new(HostLimits::default());
        assert_eq!(audit.turn(&waiting(vec![timer(1), timer(2)], 2)), Ok(()));
        assert_eq!(audit.turn(&waiting(vec![timer(4)], 3)), Err(Breach("calls are not numbered in order")));
    }

    #[test]
    fn the_open_count_must_be_the_parents_own() {
        let mut audit = Audit::new(HostLimits::default());
        assert_eq!(audit.turn(&waiting(vec![timer(1), timer(2)], 2)), Ok(()));
        audit.settled(1);
        assert_eq!(audit.turn(&waiting(vec![Op::ClearTimer { call: 2 }, timer(3)], 1)), Ok(()));
        assert_eq!(audit.turn(&waiting(vec![], 2)), Err(Breach("the number of open calls is wrong")));
        audit.settled(3);
        assert_eq!(audit.turn(&waiting(vec![], 0)), Err(Breach("it waits for nothing")));
    }

    #[test]
    fn sizes_and_counts_are_capped() {
        let limits = HostLimits { prompt_bytes: 3, result_bytes: 3, logs_max: 1, ..HostLimits::default() };
        let mut audit = Audit::new(limits);
        let (prompt, options, phase, workflow) = ("long".to_owned(), None, None, None);
        let kind = CallKind::Agent { prompt, options, options_not_object: false, phase, workflow };
        let call = Op::Call(Call { id: 1, kind });
        assert_eq!(audit.turn(&waiting(vec![call], 1)), Err(Breach("a prompt is too large")));
        let lines = vec![Op::Log { text: String::new() }; 4];
        assert_eq!(audit.turn(&waiting(lines, 1)), Err(Breach("too many log lines")));
        let done = TurnEnd::Done { ops: vec![], result: "[1,2]".to_owned(), warnings: vec![] };
        assert_eq!(audit.turn(&done), Err(Breach("the result is larger than its cap")));
    }
}
