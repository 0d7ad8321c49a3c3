//! Run: from commands to events.
//!
//! | stage | Load | Operate, Fire, ProvideScript | Return | Fail | Report, Lose, Reject | EndGrace | Stop | Abort |
//! |---|---|---|---|---|---|---|---|---|
//! | Submitted | Running | refused | refused | Ended failed | refused | refused | Ended stopped | Ended failed |
//! | Running | refused | Running | Returned or Ended completed | Ended failed | Running | refused | Running, stopping | Ended failed |
//! | Running, stopping | refused | Running, stopping | Ended stopped | Ended stopped | refused | Ended stopped | nothing | Ended failed |
//! | Returned | refused | refused | refused | refused | Returned or Ended completed | Ended completed | Ended completed | Ended failed |
//! | Ended | refused | refused | refused | refused | refused | refused | refused | refused |
//!
//! What people do to a run and its agents is in `control.rs`.

use crate::agent::AgentState;
use crate::command::{Command, Refused};
use crate::event::{Event, RunError, TaskEnd};
use crate::options::CallRefusal;
use crate::reuse::ReuseTable;
use crate::schema::Accepted;
use crate::state::{CallRecord, CorruptJournal, RunState, Stage};
use skein_common::agent::{Cause, Usage};
use skein_common::run::{RunSpec, RunStatus};
use skein_common::script::{Loaded, ScriptError};
use skein_common::wire::AttemptEnd;
use skein_common::{AgentNumber, AttemptNumber, Digest, Epoch, Payload};

/// Takeovers in a row without any progress between them before a run counts as poisonous: it ends failed.
const EPOCHS_WITHOUT_SETTLEMENT_MAX: u32 = 5;
/// A text too large for an event; it must be in the blobs before the event is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeText {
    pub digest: Digest,
    pub text: String,
}

/// One run: its state, and what its newest events need stored first.
#[derive(Debug, Clone)]
pub struct Run {
    pub(crate) state: RunState,
    pub(crate) large_texts: Vec<LargeText>,
    /// Not state: what is reused is in the journal, and a replay decides on no call that is.
    pub(crate) reusable: ReuseTable,
    pub(crate) accepted_schemas: Accepted,
}

/// What one command led to.
pub(crate) struct Batch {
    pub events: Vec<Event>,
    pub now_ms: i64,
}

impl Run {
    /// A new run and the first event of its journal.
    #[must_use]
    pub fn submit(mut spec: RunSpec, now_ms: i64) -> (Run, Event) {
        let mut large_texts = Vec::new();
        spec.script = externalise(spec.script, &mut large_texts);
        spec.args = spec.args.map(|args| externalise(args, &mut large_texts));
        for known in &mut spec.workflows {
            known.source = externalise(known.source.clone(), &mut large_texts);
        }
        let event = Event::RunSubmitted { spec: Box::new(spec.clone()) };
        (
            Run {
                state: RunState::new(spec, now_ms),
                large_texts,
                reusable: ReuseTable::default(),
                accepted_schemas: Accepted::default(),
            },
            event,
        )
    }

    /// The run that the first event of a journal starts.
    ///
    /// # Errors
    /// The journal starts with something else.
    pub fn from_first(event: &Event, at_ms: i64) -> Result<Run, CorruptJournal> {
        match event {
            Event::RunSubmitted { spec } => {
                let state = RunState::new((**spec).clone(), at_ms);
                Ok(Run {
                    state,
                    large_texts: Vec::new(),
                    reusable: ReuseTable::default(),
                    accepted_schemas: Accepted::default(),
                })
            }
            _ => Err(CorruptJournal { index: 0, reason: String::from("the first event is not RunSubmitted") }),
        }
    }

    #[must_use]
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// Gives the results of the parent run, from which calls may be answered from now on.
    pub fn set_reusable(&mut self, reusable: ReuseTable) {
        self.reusable = reusable;
    }

    /// Applies an event that the journal holds.
    ///
    /// # Errors
    /// The event cannot follow what was applied before.
    pub fn apply(&mut self, event: &Event, at_ms: i64) -> Result<(), CorruptJournal> {
        self.state.apply(event, at_ms)
    }

    /// The texts that must be stored before the events of the last commands are appended.
    pub fn take_large_texts(&mut self) -> Vec<LargeText> {
        std::mem::take(&mut self.large_texts)
    }

    /// Decides on a command and applies what follows; the events still have to be journalled.
    ///
    /// # Errors
    /// The command changes nothing, and why.
    pub fn accept(&mut self, command: Command, now_ms: i64) -> Result<Vec<Event>, Refused> {
        if self.state.is_ended() {
            return Err(Refused::Ended);
        }
        let mut batch = Batch { events: Vec::new(), now_ms };
        self.decide(command, &mut batch)?;
        self.end_when_wound_down(&mut batch)?;
        self.grant_permits(&mut batch)?;
        Ok(batch.events)
    }

    fn decide(&mut self, command: Command, batch: &mut Batch) -> Result<(), Refused> {
        match command {
            Command::Begin { epoch } => self.begin(epoch, batch),
            Command::Load { loaded } => self.load(loaded, batch),
            Command::Operate { ops } => self.operate(ops, batch),
            Command::Return { result, warnings } => self.script_returned(result, warnings, batch),
            Command::Fail { error } => self.script_failed(error, batch),
            Command::Report { agent, attempt, end, usage, notes } => {
                self.check_running(agent, attempt)?;
                self.report(agent, attempt, end, usage, notes, batch)
            }
            Command::Lose { agent, attempt, ours } => self.lose(agent, attempt, ours, batch),
            Command::Reject { agent, attempt, cause, detail, message } => {
                self.check_running(agent, attempt)?;
                match self.state.agent(agent).and_then(|agent| agent.interrupted) {
                    Some(then) => self.interruption_over(agent, then, Usage::default(), batch),
                    None => {
                        let end = null(cause, Some(detail), message);
                        self.end_task(agent, end, Usage::default(), Vec::new(), batch)
                    }
                }
            }
            Command::Fire { call } => self.fire(call, batch),
            Command::ProvideScript { call, read } => self.provide_script(call, read, batch),
            Command::EndGrace => self.end_grace(batch),
            Command::Pause => self.pause(batch),
            Command::Resume => self.resume(batch),
            Command::Stop => self.stop(batch),
            Command::StopAgent { agent } => self.stop_agent(agent, batch),
            Command::RestartAgent { agent } => self.restart_agent(agent, batch),
            Command::SkipAgent { agent } => self.skip_agent(agent, batch),
            Command::Abort { kind, message } => self.end(RunStatus::Failed, Some(RunError::new(&kind, message)), batch),
        }
    }

    /// Applies an event of our own.
    pub(crate) fn record(&mut self, event: Event, batch: &mut Batch) -> Result<(), Refused> {
        self.state
            .apply(&event, batch.now_ms)
            .map_err(|corrupt| Refused::Contradiction { reason: corrupt.to_string() })?;
        batch.events.push(event);
        Ok(())
    }

    fn begin(&mut self, epoch: Epoch, batch: &mut Batch) -> Result<(), Refused> {
        if epoch <= self.state.epoch {
            return Err(Refused::StaleEpoch { offered: epoch, current: self.state.epoch });
        }
        if self.state.epochs_without_settlement >= EPOCHS_WITHOUT_SETTLEMENT_MAX {
            let message = format!("internal error at event {}", self.state.events);
            return self.end(RunStatus::Failed, Some(RunError::new("internal", message)), batch);
        }
        self.record(Event::EpochBegan { epoch }, batch)
    }

    fn load(&mut self, loaded: Loaded, batch: &mut Batch) -> Result<(), Refused> {
        if self.state.stage != Stage::Submitted {
            return Err(Refused::WrongStage);
        }
        self.record(Event::RunStarted { meta: loaded.meta, behaviour: crate::compat::BEHAVIOUR }, batch)?;
        for text in loaded.warnings {
            self.record(Event::Warned { text, from_script: false }, batch)?;
        }
        if self.state.spec.args_parsed_from_text {
            let text = String::from("args was text that parses as JSON: delivered as the parsed value");
            self.record(Event::LogLine { text, from_engine: true }, batch)?;
        }
        Ok(())
    }

    /// Starts whom the semaphore and the budget let start.
    fn grant_permits(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        while self.state.stage == Stage::Running && !self.state.paused && !self.state.stop_requested {
            let Some(number) = self.state.semaphore.next().and_then(|ticket| AgentNumber::try_from(ticket.id).ok())
            else {
                return Ok(());
            };
            let Some(agent) = self.state.agent(number) else { return Ok(()) };
            if let Some(message) = self.state.budget.exhausted() {
                let key = match self.state.call(agent.call) {
                    Some(CallRecord::Agent { key, .. }) => key.clone(),
                    _ => String::new(),
                };
                let (call, refusal) = (agent.call, CallRefusal { name: "Error", message });
                self.refuse(call, Some(number), key, refusal, true, batch)?;
                continue;
            }
            if self.budget_holds_back() {
                return Ok(());
            }
            let (attempt, permit) = (agent.attempts + 1, self.state.semaphore.next_token());
            self.record(Event::TaskStarted { agent: number, attempt, permit }, batch)?;
        }
        Ok(())
    }

    /// While spent plus reserved reaches the total and something runs, the next agent waits (C38).
    fn budget_holds_back(&self) -> bool {
        let models = self
            .state
            .running
            .keys()
            .map(|number| self.state.agent(*number).and_then(|agent| agent.spec.model.as_deref()));
        !self.state.running.is_empty() && self.state.budget.reserved_reaches_total(models)
    }

    fn check_running(&self, agent: AgentNumber, attempt: AttemptNumber) -> Result<(), Refused> {
        let agent = self.state.agent(agent).ok_or(Refused::NotRunning)?;
        if agent.runs(attempt) {
            return Ok(());
        }
        Err(if agent.is_open() { Refused::StaleAttempt { reported: attempt } } else { Refused::NotRunning })
    }

    fn report(
        &mut self,
        number: AgentNumber,
        attempt: AttemptNumber,
        end: AttemptEnd,
        usage: Usage,
        notes: Vec<String>,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        if let Some(then) = self.state.agent(number).and_then(|agent| agent.interrupted) {
            return self.interruption_over(number, then, usage, batch);
        }
        match end {
            AttemptEnd::Done { value } => {
                let value = externalise(value, &mut self.large_texts);
                self.end_task(number, TaskEnd::Done { value }, usage, notes, batch)
            }
            AttemptEnd::Failed { cause, detail, message, retryable } => {
                let again = self.state.agent(number).is_some_and(|agent| agent.tries_again(retryable));
                if again && self.state.stage == Stage::Running {
                    let event =
                        Event::AttemptEnded { agent: number, attempt, cause, detail, message, usage, ours: false };
                    return self.record(event, batch);
                }
                self.end_task(number, null(cause, detail, message), usage, notes, batch)
            }
            AttemptEnd::Cancelled => {
                self.end_task(number, null(Cause::Stopped, None, String::new()), usage, notes, batch)
            }
        }
    }

    fn lose(
        &mut self,
        number: AgentNumber,
        attempt: AttemptNumber,
        ours: bool,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        self.check_running(number, attempt)?;
        let agent = self.state.agent(number).ok_or(Refused::NotRunning)?;
        if let Some(then) = agent.interrupted {
            return self.interruption_over(number, then, Usage::default(), batch);
        }
        let again = if ours { agent.survives_loss_of_ours() } else { agent.tries_again(true) };
        let message = if ours { "its worker went down with us" } else { "its worker is gone" }.to_owned();
        if again && self.state.stage == Stage::Running {
            let (cause, detail, usage) = (Cause::Lost, None, Usage::default());
            let event = Event::AttemptEnded { agent: number, attempt, cause, detail, message, usage, ours };
            return self.record(event, batch);
        }
        // A script that returned does not wait for it: it ends as it would have without the crash (C28).
        let cause = if self.state.stage == Stage::Returned { Cause::Stopped } else { Cause::Lost };
        self.end_task(number, null(cause, None, message), Usage::default(), Vec::new(), batch)
    }

    pub(crate) fn end_task(
        &mut self,
        number: AgentNumber,
        end: TaskEnd,
        usage: Usage,
        notes: Vec<String>,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        let agent = self.state.agent(number).ok_or(Refused::NotRunning)?;
        let since = if agent.attempts > 0 { agent.started_at_ms } else { agent.queued_at_ms };
        let elapsed_ms = u64::try_from(batch.now_ms.saturating_sub(since)).unwrap_or(0);
        let all = agent.usage.plus(&usage);
        let spent = self.state.budget.spent.saturating_add(self.state.budget.count(&all));
        let cap_reached = self.state.cap_reached();
        let event = Event::TaskEnded { agent: number, end, usage, elapsed_ms, spent, cap_reached, notes };
        self.record(event, batch)
    }

    fn fire(&mut self, call: u32, batch: &mut Batch) -> Result<(), Refused> {
        if self.state.stage != Stage::Running {
            return Err(Refused::WrongStage);
        }
        if !matches!(self.state.call(call), Some(CallRecord::Timer { open: true, .. })) {
            return Err(Refused::NotOpen);
        }
        let (spent, cap_reached) = (self.state.budget.spent, self.state.cap_reached());
        self.record(Event::TimerFired { call, spent, cap_reached }, batch)
    }

    /// The script returned: what waits never starts, what runs has its grace (C28).
    fn script_returned(&mut self, result: String, warnings: Vec<String>, batch: &mut Batch) -> Result<(), Refused> {
        if self.state.stage != Stage::Running {
            return Err(Refused::WrongStage);
        }
        if self.state.stop_requested {
            return self.end_stopped(batch);
        }
        for text in warnings {
            self.record(Event::Warned { text, from_script: false }, batch)?;
        }
        let open = self.state.open_agents;
        if open > 0 {
            let text = format!("{open} agent(s) were never awaited and are cancelled");
            self.record(Event::LogLine { text, from_engine: true }, batch)?;
        }
        let result = externalise(Payload::json(result), &mut self.large_texts);
        self.record(Event::ScriptReturned { result }, batch)?;
        self.stop_agents(batch, |state| *state == AgentState::Queued)
    }

    fn script_failed(&mut self, error: ScriptError, batch: &mut Batch) -> Result<(), Refused> {
        if self.state.stage == Stage::Returned {
            return Err(Refused::WrongStage);
        }
        if self.state.stop_requested {
            return self.end_stopped(batch);
        }
        let mut error = RunError::from(error);
        if self.state.budget.exhausted().is_some_and(|refusal| error.message.contains(&refusal)) {
            error.kind = String::from("budget");
        }
        self.end(RunStatus::Failed, Some(error), batch)
    }

    fn end_grace(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        match self.state.stage {
            Stage::Running if self.state.stop_requested => self.end_stopped(batch),
            Stage::Returned => self.stop_agents(batch, |_| true),
            _ => Err(Refused::WrongStage),
        }
    }

    /// Ends the run; whatever is open ends with it.
    pub(crate) fn end(&mut self, status: RunStatus, error: Option<RunError>, batch: &mut Batch) -> Result<(), Refused> {
        self.stop_agents(batch, |_| true)?;
        self.record(Event::RunEnded { status, error }, batch)
    }

    pub(crate) fn stop_agents(
        &mut self,
        batch: &mut Batch,
        which: impl Fn(&AgentState) -> bool,
    ) -> Result<(), Refused> {
        for number in self.open_agents(which) {
            let end = null(Cause::Stopped, None, String::new());
            self.end_task(number, end, Usage::default(), Vec::new(), batch)?;
        }
        Ok(())
    }

    pub(crate) fn open_agents(&self, which: impl Fn(&AgentState) -> bool) -> Vec<AgentNumber> {
        let open = self.state.agents.iter().filter(|agent| agent.is_open() && which(&agent.state));
        open.map(|agent| agent.number).collect()
    }

    /// A script that returned has its end once nothing of it runs any more.
    fn end_when_wound_down(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        if self.state.stage == Stage::Returned && self.state.open_agents == 0 {
            return self.record(Event::RunEnded { status: RunStatus::Completed, error: None }, batch);
        }
        Ok(())
    }
}

pub(crate) fn null(cause: Cause, detail: Option<String>, message: String) -> TaskEnd {
    TaskEnd::Null { cause, detail, message }
}

/// A large text leaves its place and waits to be stored.
pub(crate) fn externalise(payload: Payload, large_texts: &mut Vec<LargeText>) -> Payload {
    let Some(reference) = payload.reference_if_large() else { return payload };
    if let (Some(digest), Payload::Text { text } | Payload::Json { json: text }) =
        (reference.digest().cloned(), payload)
    {
        large_texts.push(LargeText { digest, text });
    }
    reference
}
