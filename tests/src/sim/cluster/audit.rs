//! What workers really do, and what they must not: the invariants of a cluster that its journal does not show.
//!
//! An execution counts from the moment its worker follows a `go` until the worker ends it. Allowed is this, and no more:
//! - An attempt that its owner cancelled gives its permit back at once; its worker hears of that a little later.
//! - A worker that takes a second copy of a task just after it reported the first may carry it out again: its owner has
//!   not journalled the report yet, and takes the claim for a repeated one. It ends when the owner answers a heartbeat.
//! - An agent runs again when the worker of its earlier attempt was killed or cut off meanwhile, when that attempt
//!   failed and asked to come back, or when a person ended it.

use super::world::Life;
use skein_common::AgentNumber;
use skein_common::wire::AttemptRef;
use std::collections::{BTreeMap, BTreeSet};

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It has an answer.
    Done,
    /// It failed and asked to come back.
    Failed,
    /// Its owner or a person ended it.
    Cancelled,
    /// An owner said that it does not belong here.
    Disowned,
    /// No owner answered until the deadline.
    Abandoned,
    /// With its worker.
    Killed,
}

#[derive(Debug)]
struct Execution {
    attempt: AttemptRef,
    by: Life,
    /// Its worker had reported the attempt already.
    is_copy: bool,
    end: Option<End>,
    /// Its worker was killed or cut off while it had the attempt.
    excused: bool,
}

impl Execution {
    fn is_reported(&self, attempt: &AttemptRef, by: Life) -> bool {
        self.attempt == *attempt && self.by == by && matches!(self.end, Some(End::Done | End::Failed))
    }
}

/// Everything that was carried out.
#[derive(Debug, Default)]
pub(super) struct Audit {
    executions: BTreeMap<u64, Execution>,
    /// Their owner gave their permits to others.
    cancelled: BTreeSet<AttemptRef>,
    /// A person ended them.
    interrupted: BTreeSet<AttemptRef>,
    concurrency: usize,
}

impl Audit {
    pub fn new(concurrency: u32) -> Audit {
        Audit { concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX), ..Audit::default() }
    }

    /// A worker begins; what must not be, if it must not.
    pub fn begin(&mut self, attempt: &AttemptRef, by: Life) -> (u64, Option<String>) {
        let broken = self.second_begin(attempt, by);
        let is_copy = self.of_agent(attempt.agent).any(|known| known.is_reported(attempt, by));
        let number = self.executions.len() as u64 + 1;
        let execution = Execution { attempt: attempt.clone(), by, is_copy, end: None, excused: false };
        self.executions.insert(number, execution);
        let counts =
            |known: &&Execution| known.end.is_none() && !known.is_copy && !self.cancelled.contains(&known.attempt);
        let running = self.executions.values().filter(counts).count();
        let crowd = (running > self.concurrency)
            .then(|| format!("{running} agents run on workers, the cap is {}", self.concurrency));
        (number, broken.or(crowd))
    }

    fn second_begin(&self, attempt: &AttemptRef, by: Life) -> Option<String> {
        let AttemptRef { agent, attempt: number, .. } = *attempt;
        for known in self.of_agent(agent) {
            let what = match known.end {
                _ if known.is_reported(attempt, by) => continue,
                None if known.attempt == *attempt => "is carried out twice at the same time",
                Some(End::Done | End::Disowned) if !self.is_excused(known) => "runs again without a reason",
                _ => continue,
            };
            let (earlier, end, node) = (known.attempt.attempt, known.end, by.node);
            let earlier = format!("attempt {earlier} on node {} ended {end:?}", known.by.node);
            return Some(format!("agent {agent}, attempt {number} on node {node} {what}: {earlier}"));
        }
        None
    }

    fn of_agent(&self, agent: AgentNumber) -> impl Iterator<Item = &Execution> {
        self.executions.values().filter(move |known| known.attempt.agent == agent)
    }

    pub fn end(&mut self, number: u64, end: End) {
        if let Some(known) = self.executions.get_mut(&number) {
            known.end.get_or_insert(end);
        }
    }

    /// Its worker got into trouble before its report was accepted.
    pub fn excuse(&mut self, number: u64) {
        if let Some(known) = self.executions.get_mut(&number) {
            known.excused = true;
        }
    }

    pub fn cancel(&mut self, attempt: AttemptRef) {
        self.cancelled.insert(attempt);
    }

    pub fn interrupt(&mut self, attempt: AttemptRef) {
        self.interrupted.insert(attempt);
    }

    fn is_excused(&self, known: &Execution) -> bool {
        known.excused || self.cancelled.contains(&known.attempt) || self.interrupted.contains(&known.attempt)
    }
}
