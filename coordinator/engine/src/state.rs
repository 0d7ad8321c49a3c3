//! The state of a run: a fold of its journal.

use crate::agent::{Agent, AgentState, Ended, Interruption};
use crate::budget::Budget;
use crate::event::{Event, RunError, TaskEnd};
use crate::phase::Phases;
use crate::semaphore::{Semaphore, Ticket};
use skein_common::agent::{Cause, Usage};
use skein_common::run::{RunSpec, RunStatus};
use skein_common::script::Meta;
use skein_common::workflow::WorkflowRef;
use skein_common::{AgentNumber, Epoch, Payload};
use std::collections::BTreeMap;

/// Failure lines a run keeps; the rest is counted (R10).
pub const FAILURES_KEPT: usize = 10;
/// Warnings a run keeps; a script that warns more often is told once.
pub const WARNINGS_KEPT: usize = 100;

/// An owner that had a run for so long did not break at it: moving on in orderly ways, as coordinators are restarted one
/// after the other, does not count against a run whose agents take long.
const EPOCH_LASTED_MS: i64 = 60_000;

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The script is not loaded yet.
    Submitted,
    Running,
    /// The script returned; agents it never awaited have their grace.
    Returned,
    Ended(RunStatus),
}

/// A call as the journal holds it.
#[derive(Debug, Clone, PartialEq)]
pub enum CallRecord {
    Agent {
        agent: AgentNumber,
        key: String,
    },
    /// Answered from the parent run.
    Reused {
        key: String,
        label: String,
    },
    Refused {
        key: String,
    },
    Timer {
        delay_ms: u64,
        due_ms: i64,
        open: bool,
    },
    Workflow {
        target: WorkflowRef,
        key: String,
        open: bool,
        /// Once its script has begun.
        group: Option<String>,
    },
}

/// The journal holds an event that cannot follow what stands before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {index} of the journal does not fit: {reason}")]
pub struct CorruptJournal {
    pub index: u64,
    pub reason: String,
}

/// How often the script did what a replay matches by count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub logs: u32,
    pub phases: u32,
    pub slots_failed: u32,
    pub warnings: u32,
    pub timers_cleared: u32,
    pub workflows_started: u32,
}

/// Everything the engine knows of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    pub spec: RunSpec,
    pub stage: Stage,
    pub epoch: Epoch,
    pub meta: Meta,
    pub behaviour: u32,
    /// Index is number - 1.
    pub agents: Vec<Agent>,
    /// Index is call id - 1.
    pub calls: Vec<CallRecord>,
    pub semaphore: Semaphore,
    pub budget: Budget,
    pub phases: Phases,
    pub counts: Counts,
    /// Bytes of all log lines of the script.
    pub log_bytes: u64,
    /// The marker line that says so was written.
    pub logs_are_cut: bool,
    /// The warning that it is large was given.
    pub is_large: bool,
    pub failures: Vec<String>,
    pub failures_total: u32,
    pub warnings: Vec<String>,
    /// `agent()` calls so far by key, which tells identical calls apart.
    pub ordinals: BTreeMap<String, u32>,
    /// A call was not answered from the parent: in prefix mode none is from here on.
    pub prefix_broken: bool,
    /// Answered calls by phase.
    pub reused: BTreeMap<String, u32>,
    /// How often workflows of a name have begun, which tells their groups apart.
    pub workflow_names: BTreeMap<String, u32>,
    /// Scripts by path that were read: each once.
    pub scripts_read: BTreeMap<String, Payload>,
    /// Calls refused for budget or cap before they became agents.
    pub refused_calls: u32,
    pub usage: Usage,
    pub result: Option<Payload>,
    pub error: Option<RunError>,
    pub stop_requested: bool,
    /// A person holds the run: settlements journalled from then on wait.
    pub paused: bool,
    /// Agents that run now; kept beside `agents` so that nothing walks all of them per event.
    pub running: BTreeMap<AgentNumber, u32>,
    pub open_agents: u32,
    pub epochs_without_settlement: u32,
    /// When the newest owner took it over.
    pub epoch_began_at_ms: Option<i64>,
    pub submitted_at_ms: i64,
    pub ended_at_ms: i64,
    /// Events applied so far.
    pub events: u64,
}

impl RunState {
    /// The state after `RunSubmitted`.
    #[must_use]
    pub fn new(spec: RunSpec, at_ms: i64) -> RunState {
        RunState {
            semaphore: Semaphore::new(spec.limits.concurrency),
            budget: Budget::new(spec.budget, spec.budget_unit),
            stage: Stage::Submitted,
            epoch: 0,
            meta: Meta::default(),
            behaviour: crate::compat::BEHAVIOUR,
            agents: Vec::new(),
            calls: Vec::new(),
            phases: Phases::default(),
            counts: Counts::default(),
            log_bytes: 0,
            logs_are_cut: false,
            is_large: false,
            failures: Vec::new(),
            failures_total: 0,
            warnings: Vec::new(),
            ordinals: BTreeMap::new(),
            prefix_broken: false,
            reused: BTreeMap::new(),
            workflow_names: BTreeMap::new(),
            scripts_read: BTreeMap::new(),
            refused_calls: 0,
            usage: Usage::default(),
            result: None,
            error: None,
            stop_requested: false,
            paused: false,
            running: BTreeMap::new(),
            open_agents: 0,
            epochs_without_settlement: 0,
            epoch_began_at_ms: None,
            submitted_at_ms: at_ms,
            ended_at_ms: 0,
            events: 1,
            spec,
        }
    }

    /// The agent of this number.
    #[must_use]
    pub fn agent(&self, number: AgentNumber) -> Option<&Agent> {
        self.agents.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// The call of this id.
    #[must_use]
    pub fn call(&self, id: u32) -> Option<&CallRecord> {
        self.calls.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    /// Whether a timer of the script is still to fire.
    #[must_use]
    pub fn has_open_timer(&self) -> bool {
        self.calls.iter().any(|call| matches!(call, CallRecord::Timer { open: true, .. }))
    }

    /// Whether every accepted call of the run's life is used up (L1).
    #[must_use]
    pub fn cap_reached(&self) -> bool {
        self.agents.len() >= usize::try_from(self.spec.limits.agents_max).unwrap_or(usize::MAX)
    }

    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    /// Applies one event: the only way a run changes, live or replayed.
    ///
    /// # Errors
    /// The event cannot follow what was applied before.
    pub fn apply(&mut self, event: &Event, at_ms: i64) -> Result<(), CorruptJournal> {
        let index = self.events;
        self.change(event, at_ms).map_err(|reason| CorruptJournal { index, reason })?;
        self.events += 1;
        Ok(())
    }

    fn change(&mut self, event: &Event, at_ms: i64) -> Result<(), String> {
        if self.is_ended() {
            return Err(String::from("the run has ended"));
        }
        match event {
            Event::RunSubmitted { .. } => return Err(String::from("a second RunSubmitted")),
            Event::EpochBegan { epoch } => {
                self.epoch = *epoch;
                let lasted_ms = self.epoch_began_at_ms.map_or(i64::MAX, |began| at_ms.saturating_sub(began));
                if lasted_ms >= EPOCH_LASTED_MS {
                    self.epochs_without_settlement = 0;
                }
                self.epoch_began_at_ms = Some(at_ms);
                // Nothing can settle while a person holds the run.
                self.epochs_without_settlement += u32::from(!self.paused);
            }
            Event::RunStarted { meta, behaviour } => {
                self.phases = Phases::declared(&meta.phases);
                self.meta = meta.clone();
                self.behaviour = *behaviour;
                self.stage = Stage::Running;
            }
            Event::Warned { text, from_script } => {
                self.counts.warnings += u32::from(*from_script);
                self.is_large |= !from_script && text == crate::calls::LARGE_WORKFLOW;
                self.keep_warning(text);
            }
            Event::LogLine { text, from_engine: false } => {
                self.counts.logs += 1;
                self.log_bytes = self.log_bytes.saturating_add(text.len() as u64);
            }
            Event::LogLine { from_engine: true, .. } => {
                self.logs_are_cut |= self.stage == Stage::Running && self.log_bytes >= crate::calls::LOG_BYTES_MAX;
            }
            Event::PhaseEntered { title } => {
                self.counts.phases += 1;
                self.phases.group(title);
            }
            Event::SlotFailed { place, message, .. } => {
                self.counts.slots_failed += 1;
                self.keep_failure(format!("{place} failed: {message}"));
            }
            Event::AgentQueued { call, agent, key, spec } => self.queue_agent(*call, *agent, key, spec, at_ms)?,
            Event::AgentReused { call, key, label, phase, .. } => {
                self.epochs_without_settlement = 0;
                let phase = phase.as_deref().unwrap_or(crate::phase::NO_PHASE);
                self.phases.group(phase);
                *self.reused.entry(phase.to_owned()).or_default() += 1;
                self.add_call(*call, CallRecord::Reused { key: key.clone(), label: label.clone() })?;
            }
            Event::AgentRefused { call, agent, key, limit, .. } => self.refuse_agent(*call, *agent, key, *limit)?,
            Event::TaskStarted { agent, attempt, permit } => self.start_attempt(*agent, *attempt, *permit, at_ms)?,
            Event::AttemptEnded { agent, attempt, usage, .. } => {
                self.end_attempt(*agent, *attempt, usage)?;
                self.agent_mut(*agent)?.count_end(event);
            }
            Event::TaskEnded { agent, end, usage, elapsed_ms, .. } => {
                self.end_agent(*agent, end, usage, *elapsed_ms)?;
            }
            Event::AgentInterrupted { agent, attempt, then } => self.interrupt_agent(*agent, *attempt, *then)?,
            Event::TimerSet { call, delay_ms } => {
                let due_ms = at_ms.saturating_add_unsigned(*delay_ms);
                self.add_call(*call, CallRecord::Timer { delay_ms: *delay_ms, due_ms, open: true })?;
            }
            Event::TimerCleared { call } => {
                self.counts.timers_cleared += 1;
                self.close_timer(*call)?;
            }
            Event::TimerFired { call, .. } => {
                self.epochs_without_settlement = 0;
                self.close_timer(*call)?;
            }
            Event::WorkflowCalled { call, key, target } => {
                let (target, key) = (target.clone(), key.clone());
                self.add_call(*call, CallRecord::Workflow { target, key, open: true, group: None })?;
            }
            Event::WorkflowLoaded { call, source, .. } => {
                self.epochs_without_settlement = 0;
                self.close_workflow(*call, source.as_ref())?;
            }
            Event::WorkflowRefused { call, .. } => {
                self.epochs_without_settlement = 0;
                self.close_workflow(*call, None)?;
            }
            Event::WorkflowStarted { call, name, group } => self.enter_workflow(*call, name, group)?,
            Event::ScriptReturned { result } => {
                self.result = Some(result.clone());
                self.stage = Stage::Returned;
            }
            Event::Paused {} => self.paused = true,
            Event::Resumed {} => {
                self.paused = false;
                self.epochs_without_settlement = 0;
            }
            Event::StopRequested {} => {
                self.paused = false;
                self.stop_requested = true;
            }
            Event::RunEnded { status, error } => {
                self.error.clone_from(error);
                self.stage = Stage::Ended(*status);
                self.ended_at_ms = at_ms;
            }
        }
        Ok(())
    }

    fn add_call(&mut self, id: u32, record: CallRecord) -> Result<(), String> {
        if usize::try_from(id).ok() != Some(self.calls.len() + 1) {
            return Err(format!("call {id} after {} calls", self.calls.len()));
        }
        if let Some(key) = record.key() {
            *self.ordinals.entry(key.to_owned()).or_default() += 1;
            self.prefix_broken |= !matches!(record, CallRecord::Reused { .. });
        }
        self.calls.push(record);
        Ok(())
    }

    fn queue_agent(
        &mut self,
        call: u32,
        number: AgentNumber,
        key: &str,
        spec: &crate::agent::AgentSpec,
        at_ms: i64,
    ) -> Result<(), String> {
        if usize::try_from(number).ok() != Some(self.agents.len() + 1) {
            return Err(format!("agent {number} after {} agents", self.agents.len()));
        }
        self.add_call(call, CallRecord::Agent { agent: number, key: key.to_owned() })?;
        self.phases.group(spec.phase.as_deref().unwrap_or(crate::phase::NO_PHASE));
        self.semaphore.enqueue(Ticket { id: u64::from(number), priority: spec.priority, tenant: 0 });
        self.open_agents += 1;
        self.agents.push(Agent {
            number,
            call,
            spec: spec.clone(),
            state: AgentState::Queued,
            attempts: 0,
            losses_of_ours: 0,
            restarts: 0,
            interrupted: None,
            stalls: 0,
            unfit: 0,
            usage: Usage::default(),
            queued_at_ms: at_ms,
            started_at_ms: at_ms,
            elapsed_ms: 0,
        });
        Ok(())
    }

    fn refuse_agent(&mut self, call: u32, agent: Option<AgentNumber>, key: &str, limit: bool) -> Result<(), String> {
        self.epochs_without_settlement = 0;
        let Some(number) = agent else {
            self.refused_calls += u32::from(limit);
            return self.add_call(call, CallRecord::Refused { key: key.to_owned() });
        };
        let _waited = self.semaphore.withdraw(u64::from(number));
        self.open_agents = self.open_agents.saturating_sub(1);
        let agent = self.agent_mut(number)?;
        if agent.state != AgentState::Queued {
            return Err(format!("agent {number} was refused at its slot but does not wait"));
        }
        agent.state = AgentState::Ended(Ended::Refused);
        Ok(())
    }

    fn start_attempt(&mut self, number: AgentNumber, attempt: u32, permit: u64, at_ms: i64) -> Result<(), String> {
        self.semaphore.grant(u64::from(number), permit).ok_or(format!("agent {number} does not wait for a permit"))?;
        self.running.insert(number, attempt);
        let agent = self.agent_mut(number)?;
        if agent.state != AgentState::Queued || attempt != agent.attempts + 1 {
            return Err(format!("attempt {attempt} of agent {number} cannot start"));
        }
        agent.attempts = attempt;
        agent.started_at_ms = at_ms;
        agent.state = AgentState::Running { attempt, permit };
        Ok(())
    }

    /// The permit comes back and the agent waits again, at its old place in line.
    fn end_attempt(&mut self, number: AgentNumber, attempt: u32, usage: &Usage) -> Result<(), String> {
        self.release(number)?;
        let agent = self.agent_mut(number)?;
        if agent.attempts != attempt {
            return Err(format!("attempt {attempt} of agent {number} does not run"));
        }
        agent.state = AgentState::Queued;
        agent.usage = agent.usage.plus(usage);
        let priority = agent.spec.priority;
        self.semaphore.enqueue(Ticket { id: u64::from(number), priority, tenant: 0 });
        self.usage = self.usage.plus(usage);
        Ok(())
    }

    fn interrupt_agent(&mut self, number: AgentNumber, attempt: u32, then: Interruption) -> Result<(), String> {
        let agent = self.agent_mut(number)?;
        if !agent.runs(attempt) {
            return Err(format!("attempt {attempt} of agent {number} does not run"));
        }
        agent.interrupted = Some(then);
        Ok(())
    }

    fn end_agent(&mut self, number: AgentNumber, end: &TaskEnd, usage: &Usage, elapsed_ms: u64) -> Result<(), String> {
        if self.release(number).is_err() {
            let _waited = self.semaphore.withdraw(u64::from(number));
        }
        self.epochs_without_settlement = 0;
        self.open_agents = self.open_agents.saturating_sub(1);
        self.usage = self.usage.plus(usage);
        let agent = self.agent_mut(number)?;
        if !agent.is_open() {
            return Err(format!("agent {number} ended twice"));
        }
        agent.usage = agent.usage.plus(usage);
        agent.elapsed_ms = elapsed_ms;
        let (model, used, label) = (agent.spec.model.clone(), agent.usage, agent.spec.label.clone());
        agent.state = AgentState::Ended(match end {
            TaskEnd::Done { .. } => Ended::Done,
            TaskEnd::Null { cause, detail, message } | TaskEnd::Thrown { cause, detail, message, .. } => {
                Ended::Null { cause: *cause, detail: detail.clone(), message: message.clone() }
            }
            TaskEnd::RunStopped {} => {
                Ended::Null { cause: Cause::Stopped, detail: None, message: crate::control::RUN_STOPPED.to_owned() }
            }
        });
        self.budget.settle(model.as_deref(), &used);
        if let TaskEnd::Null { cause, detail, message } | TaskEnd::Thrown { cause, detail, message, .. } = end {
            self.keep_agent_failure(&label, *cause, detail.as_deref(), message);
        }
        Ok(())
    }

    fn keep_agent_failure(&mut self, label: &str, cause: Cause, detail: Option<&str>, message: &str) {
        if matches!(cause, Cause::Skipped | Cause::Stopped) {
            return;
        }
        let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        let word = if cause == Cause::Failed { "failed" } else { cause.name() };
        self.keep_failure(format!("{label} {word}{detail}{message}"));
    }

    /// Gives the permit of a running agent back.
    fn release(&mut self, number: AgentNumber) -> Result<(), String> {
        let agent = self.agent_mut(number)?;
        let AgentState::Running { permit, .. } = agent.state else {
            return Err(format!("agent {number} does not run"));
        };
        self.running.remove(&number);
        self.semaphore.release(u64::from(number), permit).ok_or(format!("agent {number} holds no permit"))
    }

    fn agent_mut(&mut self, number: AgentNumber) -> Result<&mut Agent, String> {
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        index.and_then(|index| self.agents.get_mut(index)).ok_or(format!("there is no agent {number}"))
    }

    fn close_timer(&mut self, call: u32) -> Result<(), String> {
        let index = usize::try_from(call).ok().and_then(|call| call.checked_sub(1));
        match index.and_then(|index| self.calls.get_mut(index)) {
            Some(CallRecord::Timer { open, .. }) if *open => {
                *open = false;
                Ok(())
            }
            _ => Err(format!("there is no open timer {call}")),
        }
    }

    fn keep_failure(&mut self, line: String) {
        self.failures_total += 1;
        if self.failures.len() < FAILURES_KEPT {
            self.failures.push(clip_line(&line));
        }
    }

    /// Each text once; beyond the bound the last place says that there were more.
    fn keep_warning(&mut self, text: &str) {
        let text = clip_line(text);
        if self.warnings.contains(&text) || self.warnings.len() > WARNINGS_KEPT {
            return;
        }
        let full = self.warnings.len() == WARNINGS_KEPT;
        self.warnings.push(if full { String::from("more warnings were left out") } else { text });
    }
}

/// One line of at most 500 characters: what people read in a report.
fn clip_line(text: &str) -> String {
    let line = text.replace(['\n', '\r'], " ");
    if line.chars().count() <= 500 { line } else { line.chars().take(499).chain(['…']).collect() }
}
