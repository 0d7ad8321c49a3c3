//! What must hold whatever goes wrong, read from the journal as it is stored.

use super::memory::Memory;
use super::models::is_flaky;
use skein_common::agent::Cause;
use skein_common::{AgentNumber, AttemptNumber, Epoch, Payload, RunId};
use skein_engine::{CallRecord, Effect, Event, Run, RunState, Stage, TaskEnd, decode_record};
use std::collections::{BTreeMap, BTreeSet};

/// One try of one agent.
pub type Try = (AgentNumber, AttemptNumber);

/// A fold of the stored journal, and what it must not contradict.
#[derive(Debug, Default)]
pub struct Watch {
    pub run: Option<Run>,
    records: usize,
    /// Of the newest record: its owner deposed those before.
    epoch: Epoch,
    /// Records that stood there when the simulation began.
    pub given: usize,
    /// The true cap: a mutant may have told the coordinator another.
    concurrency: usize,
    agents_max: usize,
    started: BTreeSet<Try>,
    /// Tries that a person ended.
    interrupted: BTreeSet<Try>,
    timers: BTreeSet<u32>,
    settled_agents: BTreeMap<AgentNumber, u32>,
    /// Calls in the order of their settlements.
    settled_calls: Vec<u32>,
    /// Tries that a worker's silence or a lost message took.
    pub silenced: BTreeSet<Try>,
    /// Tries that went down with an owner.
    pub went_down: BTreeSet<Try>,
    /// Who carried out what: the report's number and its try.
    pub carried_out: BTreeMap<u64, Try>,
    pub broken: Option<String>,
}

impl Watch {
    #[must_use]
    pub fn new(concurrency: u32, agents_max: u32) -> Watch {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Watch { concurrency: size(concurrency), agents_max: size(agents_max), ..Watch::default() }
    }

    /// Keeps the first thing that does not hold.
    pub fn breaks(&mut self, what: impl Into<String>) {
        if self.broken.is_none() {
            self.broken = Some(what.into());
        }
    }

    #[must_use]
    pub fn state(&self) -> Option<&RunState> {
        self.run.as_ref().map(Run::state)
    }

    /// What the journal says runs.
    #[must_use]
    pub fn running(&self) -> Vec<Try> {
        self.state().map(|state| state.running.iter().map(|(a, b)| (*a, *b)).collect()).unwrap_or_default()
    }

    /// What an agent was asked.
    #[must_use]
    pub fn prompt_of(&self, agent: AgentNumber, memory: &Memory) -> Option<String> {
        match &self.state()?.agent(agent)?.spec.prompt {
            Payload::Text { text } | Payload::Json { json: text } => Some(text.clone()),
            Payload::TextBlob { digest, .. } | Payload::JsonBlob { digest, .. } => {
                Some(String::from_utf8_lossy(&memory.blob(digest)?).into_owned())
            }
        }
    }

    /// Reads on to where the journal ends.
    pub fn catch_up(&mut self, memory: &Memory, run: &RunId) {
        for bytes in memory.records(run, self.records) {
            self.records += 1;
            match decode_record(&bytes) {
                Ok(record) => {
                    if record.epoch < self.epoch {
                        let (epoch, newest) = (record.epoch, self.epoch);
                        self.breaks(format!("a record of epoch {epoch} came after one of epoch {newest}"));
                    }
                    self.epoch = record.epoch;
                    for event in record.events {
                        self.read(&event, record.at_ms);
                    }
                }
                Err(error) => self.breaks(format!("the journal cannot be read: {error}")),
            }
        }
    }

    fn read(&mut self, event: &Event, at_ms: i64) {
        if self.records > self.given {
            self.check_before(event);
        }
        match &mut self.run {
            Some(run) => {
                if let Err(corrupt) = run.apply(event, at_ms) {
                    self.breaks(format!("the journal does not fit: {corrupt}"));
                }
            }
            None => match Run::from_first(event, at_ms) {
                Ok(run) => self.run = Some(run),
                Err(corrupt) => self.breaks(corrupt.to_string()),
            },
        }
        self.note(event);
        let Some(state) = self.state() else { return };
        let (running, accepted) = (state.running.len(), state.agents.len());
        if running > self.concurrency {
            self.breaks(format!("{running} agents run, the cap is {}", self.concurrency));
        }
        if accepted > self.agents_max {
            self.breaks(format!("{accepted} agents were accepted, the maximum is {}", self.agents_max));
        }
    }

    /// What is only known before the event changes the fold.
    fn check_before(&mut self, event: &Event) {
        match event {
            Event::TaskEnded { agent, end: TaskEnd::Done { .. }, usage, .. } => {
                let attempts = self.state().and_then(|state| state.agent(*agent)).map_or(0, |agent| agent.attempts);
                let reported = self.carried_out.get(&usage.cache_write).copied();
                if reported != Some((*agent, attempts)) {
                    self.breaks(format!(
                        "a stale report was accepted: {reported:?} for attempt {attempts} of agent {agent}"
                    ));
                }
            }
            Event::AttemptEnded { agent, attempt, cause, ours, .. } => {
                let tried = (*agent, *attempt);
                let agent = self.state().and_then(|state| state.agent(*agent));
                let prompt = agent.and_then(|agent| agent.spec.prompt.inline());
                let fine = match (cause, ours) {
                    (Cause::Interrupted, _) => agent.is_some_and(|agent| agent.interrupted.is_some()),
                    (_, true) => self.went_down.contains(&tried) || self.silenced.contains(&tried),
                    (Cause::Lost, false) => self.silenced.contains(&tried),
                    _ => prompt.is_some_and(is_flaky),
                };
                if !fine {
                    self.breaks(format!("attempt {attempt} runs again, but nothing took it: {event:?}"));
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, event: &Event) {
        let settlement = self.state().and_then(|state| skein_engine::settlement(state, event));
        self.settled_calls.extend(settlement.map(|settlement| settlement.call));
        match event {
            Event::TaskStarted { agent, attempt, .. } => {
                self.started.insert((*agent, *attempt));
            }
            Event::AgentInterrupted { agent, attempt, .. } => {
                self.interrupted.insert((*agent, *attempt));
            }
            Event::TimerSet { call, .. } => {
                self.timers.insert(*call);
            }
            Event::TaskEnded { agent, .. } | Event::AgentRefused { agent: Some(agent), .. } => {
                *self.settled_agents.entry(*agent).or_default() += 1;
            }
            _ => {}
        }
    }

    /// No effect before its event is in the journal (invariant 1).
    pub fn check_effect(&mut self, effect: &Effect) {
        let stage = self.state().map(|state| state.stage);
        let caused = match effect {
            Effect::Dispatch { agent, attempt } | Effect::Cancel { agent, attempt } => {
                self.started.contains(&(*agent, *attempt))
            }
            Effect::StartTimer { call, .. } => self.timers.contains(call),
            Effect::StartGrace => {
                let stopped = self.state().is_some_and(|state| state.stop_requested);
                stopped || matches!(stage, Some(Stage::Returned | Stage::Ended(_)))
            }
            // Its worker may have reported in the same batch.
            Effect::Interrupt { agent, attempt } => self.interrupted.contains(&(*agent, *attempt)),
            Effect::LoadWorkflow { call, .. } => {
                self.state().is_some_and(|state| matches!(state.call(*call), Some(CallRecord::Workflow { .. })))
            }
            Effect::Announce => matches!(stage, Some(Stage::Ended(_))),
        };
        if !caused {
            self.breaks(format!("an effect before its event: {effect:?}"));
        }
    }

    /// A run is a fold of its journal (invariant 2).
    pub fn check_live(&mut self, live: &RunState) {
        let Some(stored) = self.state() else { return self.breaks("a live run without a journal") };
        if stored != live {
            let message = format!("the live state is not the fold: {} and {} events", live.events, stored.events);
            self.breaks(message);
        }
    }

    /// The script hears of settlements in the journal's order.
    pub fn check_heard(&mut self, heard: &[u32]) {
        if !self.settled_calls.starts_with(heard) {
            let message = format!("settlements were reordered: {heard:?}, the journal has {:?}", self.settled_calls);
            self.breaks(message);
        }
    }

    /// Every accepted agent settles exactly once.
    pub fn check_end(&mut self) {
        let accepted = self.state().map_or(0, |state| state.agents.len());
        let once = self.settled_agents.values().filter(|times| **times == 1).count();
        if once != accepted || self.settled_agents.len() != accepted {
            let message = format!("{accepted} agents were accepted, settled: {:?}", self.settled_agents);
            self.breaks(message);
        }
    }
}
