//! Effects: what has to happen in the world once an event is in the journal (invariant 1).

use crate::agent::Agent;
use crate::control::RUN_STOPPED;
use crate::event::{Event, TaskEnd};
use crate::state::{RunState, Stage};
use skein_common::agent::Cause;
use skein_common::script::Outcome;
use skein_common::{AgentNumber, AttemptNumber, Payload};

/// One thing to do. Doing it twice does no harm: receivers match by run, agent and attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Give the attempt to the workers.
    Dispatch { agent: AgentNumber, attempt: AttemptNumber },
    /// Tell the workers to end it.
    Cancel { agent: AgentNumber, attempt: AttemptNumber },
    /// Tell the workers to end it, and the run when that is done.
    Interrupt { agent: AgentNumber, attempt: AttemptNumber },
    /// Fire the timer at this journal time.
    StartTimer { call: u32, due_ms: i64 },
    /// Read the file that `workflow({scriptPath})` names, and provide its text.
    LoadWorkflow { call: u32, path: String },
    /// Let what was never awaited, or a script that was stopped, run on for its grace.
    StartGrace,
    /// The run has ended: tell everybody.
    Announce,
}

/// What follows from an event that is in the journal; `state` is the one after its batch.
#[must_use]
pub fn effects(state: &RunState, event: &Event, at_ms: i64) -> Vec<Effect> {
    match event {
        Event::TaskStarted { agent, attempt, .. } => vec![Effect::Dispatch { agent: *agent, attempt: *attempt }],
        Event::TaskEnded { agent, end: TaskEnd::Null { cause: Cause::Stopped | Cause::Skipped, .. }, .. }
        | Event::TaskEnded { agent, end: TaskEnd::RunStopped {}, .. } => {
            let attempt = state.agent(*agent).map_or(0, |agent| agent.attempts);
            if attempt == 0 { Vec::new() } else { vec![Effect::Cancel { agent: *agent, attempt }] }
        }
        Event::AgentInterrupted { agent, attempt, .. } => {
            vec![Effect::Interrupt { agent: *agent, attempt: *attempt }]
        }
        Event::TimerSet { call, delay_ms } => {
            vec![Effect::StartTimer { call: *call, due_ms: at_ms.saturating_add_unsigned(*delay_ms) }]
        }
        Event::WorkflowCalled { call, .. } => state.load_workflow(*call).into_iter().collect(),
        Event::ScriptReturned { .. } | Event::StopRequested {} => vec![Effect::StartGrace],
        Event::RunEnded { .. } => vec![Effect::Announce],
        Event::RunSubmitted { .. }
        | Event::EpochBegan { .. }
        | Event::RunStarted { .. }
        | Event::Warned { .. }
        | Event::LogLine { .. }
        | Event::PhaseEntered { .. }
        | Event::SlotFailed { .. }
        | Event::AgentQueued { .. }
        | Event::AgentReused { .. }
        | Event::AgentRefused { .. }
        | Event::AttemptEnded { .. }
        | Event::TaskEnded { .. }
        | Event::TimerCleared { .. }
        | Event::TimerFired { .. }
        | Event::WorkflowLoaded { .. }
        | Event::WorkflowRefused { .. }
        | Event::WorkflowStarted { .. }
        | Event::Paused {}
        | Event::Resumed {} => Vec::new(),
    }
}

/// A call's settlement as the journal holds it; large values still stand by digest.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalSettlement {
    pub call: u32,
    pub outcome: JournalOutcome,
    pub spent: u64,
    pub cap_reached: bool,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq)]
pub enum JournalOutcome {
    Value(Payload),
    /// Known without looking anything up.
    Plain(Outcome),
}

/// The settlement that an event is for the script, if it is one. Live and in recovery it is delivered in journal order.
#[must_use]
pub fn settlement(state: &RunState, event: &Event) -> Option<JournalSettlement> {
    let (call, outcome, spent, cap_reached) = match event {
        Event::TaskEnded { agent, end, spent, cap_reached, .. } => {
            let outcome = match end {
                TaskEnd::Done { value } => JournalOutcome::Value(value.clone()),
                TaskEnd::Null { .. } => JournalOutcome::Plain(Outcome::Null),
                TaskEnd::RunStopped {} => JournalOutcome::Plain(Outcome::Error {
                    name: String::from("Error"),
                    message: RUN_STOPPED.to_owned(),
                }),
            };
            (state.agent(*agent)?.call, outcome, spent, cap_reached)
        }
        Event::AgentReused { call, value, spent, cap_reached, .. } => {
            (*call, JournalOutcome::Value(value.clone()), spent, cap_reached)
        }
        Event::AgentRefused { call, name, message, spent, cap_reached, .. } => {
            let outcome = Outcome::Error { name: name.clone(), message: message.clone() };
            (*call, JournalOutcome::Plain(outcome), spent, cap_reached)
        }
        Event::TimerFired { call, spent, cap_reached } => {
            (*call, JournalOutcome::Plain(Outcome::Fired), spent, cap_reached)
        }
        Event::WorkflowLoaded { call, spent, cap_reached, .. } => {
            (*call, JournalOutcome::Value(state.workflow_source(*call)?.clone()), spent, cap_reached)
        }
        Event::WorkflowRefused { call, message, spent, cap_reached } => {
            let outcome = Outcome::Error { name: String::from("Error"), message: message.clone() };
            (*call, JournalOutcome::Plain(outcome), spent, cap_reached)
        }
        _ => return None,
    };
    Some(JournalSettlement { call, outcome, spent: *spent, cap_reached: *cap_reached })
}

impl RunState {
    /// What a new owner has to do again, because it only lived in the old one's memory.
    #[must_use]
    pub fn standing_effects(&self) -> Vec<Effect> {
        let of_calls = (1u32..).zip(&self.calls).filter_map(|(call, record)| match record {
            crate::state::CallRecord::Timer { due_ms, open: true, .. } => {
                Some(Effect::StartTimer { call, due_ms: *due_ms })
            }
            _ => self.load_workflow(call),
        });
        match self.stage {
            Stage::Running => {
                let grace = self.stop_requested.then_some(Effect::StartGrace);
                of_calls.chain(self.interrupted().map(interrupt)).chain(grace).collect()
            }
            Stage::Returned => vec![Effect::StartGrace],
            Stage::Submitted | Stage::Ended(_) => Vec::new(),
        }
    }

    /// Agents whose running attempt a person ends.
    fn interrupted(&self) -> impl Iterator<Item = &Agent> {
        let running = self.running.keys().filter_map(|number| self.agent(*number));
        running.filter(|agent| agent.interrupted.is_some())
    }
}

fn interrupt(agent: &Agent) -> Effect {
    Effect::Interrupt { agent: agent.number, attempt: agent.attempts }
}
