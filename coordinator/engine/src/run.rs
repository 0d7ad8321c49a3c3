//! Run: from commands to events.
//!
//! | stage | Load | Operate | Return | Fail | Report, Lose, Reject | EndGrace | Stop, Abort |
//! |---|---|---|---|---|---|---|---|
//! | Submitted | Running | refused | refused | Ended failed | refused | refused | Ended |
//! | Running | refused | Running | Returned or Ended completed | Ended failed | Running | refused | Ended |
//! | Returned | refused | refused | refused | refused | Returned or Ended completed | Ended completed | Ended |
//! | Ended | refused | refused | refused | refused | refused | refused | refused |

use crate::agent::{AgentSpec, AgentState};
use crate::command::{Command, Refused};
use crate::event::{Event, RunError, TaskEnd};
use crate::options::{CallRefusal, Written, clip_name, read_options};
use crate::reuse::{Reusable, ReuseTable, call_key};
use crate::schema::Accepted;
use crate::state::{CallRecord, CorruptJournal, RunState, Stage};
use skein_common::agent::{Cause, RunnerKind, Usage};
use skein_common::run::{RunSpec, RunStatus};
use skein_common::script::{Call, CallKind, Loaded, Op, ScriptError};
use skein_common::wire::AttemptEnd;
use skein_common::{AgentNumber, AttemptNumber, Digest, Epoch, Payload};

/// Takeovers in a row without any progress between them before a run counts as poisonous: it ends failed.
const EPOCHS_WITHOUT_SETTLEMENT_MAX: u32 = 5;
/// Calls of a run that became no agent (refused ones and timers); a script beyond it loops without getting anywhere.
const CALLS_WITHOUT_AGENT_MAX: u32 = 100_000;
/// One log line; the rest is cut.
const LOG_LINE_BYTES_MAX: usize = 32 * 1024;
/// All log lines of a run; then one marker line and no more. Who reads a run back reads all of them.
pub(crate) const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The message of a slot that failed.
const SLOT_MESSAGE_BYTES_MAX: usize = 2 * 1024;
/// Failed slots and warnings that are journalled; the rest changes nothing.
const SLOTS_FAILED_MAX: u32 = 10_000;
const SCRIPT_WARNINGS_MAX: u32 = 1_000;

/// A text too large for an event; it must be in the blobs before the event is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeText {
    pub digest: Digest,
    pub text: String,
}

/// One run: its state, and what its newest events need stored first.
#[derive(Debug, Clone)]
pub struct Run {
    state: RunState,
    large_texts: Vec<LargeText>,
    /// Not state: what is reused is in the journal, and a replay decides on no call that is.
    reusable: ReuseTable,
    accepted_schemas: Accepted,
}

/// What one command led to.
struct Batch {
    events: Vec<Event>,
    now_ms: i64,
}

impl Run {
    /// A new run and the first event of its journal.
    #[must_use]
    pub fn submit(mut spec: RunSpec, now_ms: i64) -> (Run, Event) {
        let mut large_texts = Vec::new();
        spec.script = externalise(spec.script, &mut large_texts);
        spec.args = spec.args.map(|args| externalise(args, &mut large_texts));
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
                self.end_task(agent, null(cause, Some(detail), message), Usage::default(), Vec::new(), batch)
            }
            Command::Fire { call } => self.fire(call, batch),
            Command::EndGrace => self.end_grace(batch),
            Command::Stop => self.stop(batch),
            Command::Abort { kind, message } => self.end(RunStatus::Failed, Some(RunError::new(&kind, message)), batch),
        }
    }

    /// Applies an event of our own.
    fn record(&mut self, event: Event, batch: &mut Batch) -> Result<(), Refused> {
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

    fn operate(&mut self, ops: Vec<Op>, batch: &mut Batch) -> Result<(), Refused> {
        if self.state.stage != Stage::Running {
            return Err(Refused::WrongStage);
        }
        for op in ops {
            if self.state.is_ended() {
                break;
            }
            match op {
                Op::Call(call) => self.call(call, batch)?,
                Op::ClearTimer { call } => {
                    if matches!(self.state.call(call), Some(CallRecord::Timer { open: true, .. })) {
                        self.record(Event::TimerCleared { call }, batch)?;
                    }
                }
                Op::Log { text } => self.log(text, batch)?,
                Op::Phase { title } => {
                    let title = clip_name(&title);
                    self.warn_of_undeclared(&title, batch)?;
                    self.record(Event::PhaseEntered { title }, batch)?;
                }
                Op::SlotFailed { place, message, script_error, refused } => {
                    if self.state.counts.slots_failed < SLOTS_FAILED_MAX {
                        let message = clip_bytes(message, SLOT_MESSAGE_BYTES_MAX);
                        self.record(Event::SlotFailed { place, message, script_error, refused }, batch)?;
                    }
                }
                Op::Warning { text } => {
                    if self.state.counts.warnings < SCRIPT_WARNINGS_MAX {
                        let text = clip_bytes(text, SLOT_MESSAGE_BYTES_MAX);
                        self.record(Event::Warned { text, from_script: true }, batch)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Keeps a log line while there is room; the marker is the first line that is not counted among the script's.
    fn log(&mut self, text: String, batch: &mut Batch) -> Result<(), Refused> {
        if self.state.log_bytes >= LOG_BYTES_MAX {
            if self.state.logs_are_cut {
                return Ok(());
            }
            let text = format!("more log lines than {} MiB: the rest is left out", LOG_BYTES_MAX / 1024 / 1024);
            return self.record(Event::LogLine { text, from_engine: true }, batch);
        }
        self.record(Event::LogLine { text: clip_bytes(text, LOG_LINE_BYTES_MAX), from_engine: false }, batch)
    }

    /// A title that `meta.phases` does not have gets its own group, and a warning the first time (C35).
    fn warn_of_undeclared(&mut self, title: &str, batch: &mut Batch) -> Result<(), Refused> {
        if self.state.phases.is_declared(title) || self.state.phases.is_known(title) {
            return Ok(());
        }
        let text = format!("phase '{title}' is not in meta.phases");
        self.record(Event::Warned { text, from_script: false }, batch)
    }

    fn call(&mut self, call: Call, batch: &mut Batch) -> Result<(), Refused> {
        let without_agent = self.state.calls.len() - self.state.agents.len();
        if without_agent >= usize::try_from(CALLS_WITHOUT_AGENT_MAX).unwrap_or(usize::MAX) {
            let message =
                format!("the script made more calls than the cap of {CALLS_WITHOUT_AGENT_MAX} beside its agents");
            return self.end(RunStatus::Failed, Some(RunError::new("limit", message)), batch);
        }
        match call.kind {
            CallKind::Timer { delay_ms } => self.record(Event::TimerSet { call: call.id, delay_ms }, batch),
            CallKind::Agent { prompt, options, options_not_object, phase } => {
                let key = call_key(&self.state.spec, &prompt, options.as_deref());
                if options_not_object {
                    let text = String::from("agent(): options are not an object and were ignored");
                    self.record(Event::Warned { text, from_script: false }, batch)?;
                }
                let written = Written { prompt: &prompt, options: options.as_deref(), phase: phase.as_deref() };
                if self.reuse(call.id, &key, written, batch)? {
                    return Ok(());
                }
                match self.read_call(written) {
                    Ok((spec, warnings)) => self.queue(call.id, key, spec, warnings, batch),
                    Err((refusal, limit)) => self.refuse(call.id, None, key, refusal, limit, batch),
                }
            }
        }
    }

    /// Answers a call from the parent run, if it can be.
    fn reuse(&mut self, call: u32, key: &str, written: Written<'_>, batch: &mut Batch) -> Result<bool, Refused> {
        let Some(Reusable { agent, value }) = self.reusable.answer(&self.state, call, key).cloned() else {
            return Ok(false);
        };
        let Ok((spec, _)) = read_options(&self.state.spec, written, &mut self.accepted_schemas) else {
            return Ok(false);
        };
        let event = Event::AgentReused {
            call,
            key: key.to_owned(),
            label: spec.label,
            phase: spec.phase,
            from: agent,
            value,
            spent: self.state.budget.spent,
            cap_reached: self.state.cap_reached(),
        };
        self.record(event, batch)?;
        Ok(true)
    }

    /// The spec of a call that may be accepted, or why it throws and whether a limit is the reason.
    fn read_call(&mut self, written: Written<'_>) -> Result<(AgentSpec, Vec<String>), (CallRefusal, bool)> {
        let (mut spec, warnings) =
            read_options(&self.state.spec, written, &mut self.accepted_schemas).map_err(|refusal| (refusal, false))?;
        if let Some(message) = self.state.budget.exhausted() {
            return Err((CallRefusal { name: "Error", message }, true));
        }
        if self.state.cap_reached() {
            return Err((cap_refusal(self.state.spec.limits.agents_max), true));
        }
        spec.prompt = externalise(Payload::text(written.prompt), &mut self.large_texts);
        spec.schema = spec.schema.map(|schema| externalise(schema, &mut self.large_texts));
        Ok((spec, warnings))
    }

    fn queue(
        &mut self,
        call: u32,
        key: String,
        spec: AgentSpec,
        warnings: Vec<String>,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        for text in warnings {
            if !self.state.warnings.contains(&text) {
                self.record(Event::Warned { text, from_script: false }, batch)?;
            }
        }
        if let Some(title) = spec.phase.clone() {
            self.warn_of_undeclared(&title, batch)?;
        }
        let needs_model = matches!(spec.runner, RunnerKind::Llm | RunnerKind::Cli);
        let agent = AgentNumber::try_from(self.state.agents.len() + 1).unwrap_or(AgentNumber::MAX);
        self.record(Event::AgentQueued { call, agent, key, spec: Box::new(spec) }, batch)?;
        if needs_model {
            let error = RunError::new("no_model", NO_MODEL);
            return self.end(RunStatus::Failed, Some(error), batch);
        }
        Ok(())
    }

    fn refuse(
        &mut self,
        call: u32,
        agent: Option<AgentNumber>,
        key: String,
        refusal: CallRefusal,
        limit: bool,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        let event = Event::AgentRefused {
            call,
            agent,
            key,
            name: refusal.name.to_owned(),
            message: refusal.message,
            limit,
            spent: self.state.budget.spent,
            cap_reached: self.state.cap_reached(),
        };
        self.record(event, batch)
    }

    /// Starts whom the semaphore and the budget let start.
    fn grant_permits(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        while self.state.stage == Stage::Running {
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

    fn end_task(
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
        let mut error = RunError::from(error);
        if self.state.budget.exhausted().is_some_and(|refusal| error.message.contains(&refusal)) {
            error.kind = String::from("budget");
        }
        self.end(RunStatus::Failed, Some(error), batch)
    }

    fn end_grace(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        if self.state.stage != Stage::Returned {
            return Err(Refused::WrongStage);
        }
        self.stop_agents(batch, |_| true)
    }

    fn stop(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        self.record(Event::StopRequested {}, batch)?;
        self.end(RunStatus::Stopped, None, batch)
    }

    /// Ends the run; whatever is open ends with it.
    fn end(&mut self, status: RunStatus, error: Option<RunError>, batch: &mut Batch) -> Result<(), Refused> {
        self.stop_agents(batch, |_| true)?;
        self.record(Event::RunEnded { status, error }, batch)
    }

    fn stop_agents(&mut self, batch: &mut Batch, which: impl Fn(&AgentState) -> bool) -> Result<(), Refused> {
        let open: Vec<AgentNumber> = self
            .state
            .agents
            .iter()
            .filter(|agent| agent.is_open() && which(&agent.state))
            .map(|agent| agent.number)
            .collect();
        for number in open {
            let end = null(Cause::Stopped, None, String::new());
            self.end_task(number, end, Usage::default(), Vec::new(), batch)?;
        }
        Ok(())
    }

    /// A script that returned has its end once nothing of it runs any more.
    fn end_when_wound_down(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        if self.state.stage == Stage::Returned && self.state.open_agents == 0 {
            return self.record(Event::RunEnded { status: RunStatus::Completed, error: None }, batch);
        }
        Ok(())
    }
}

/// What a person reads who has no model (A1).
const NO_MODEL: &str = "no model is configured: give the agent a type whose definition has a command, \
     or start the run with --runner command --command 'PROG ARG…' or --runner simulated";

fn null(cause: Cause, detail: Option<String>, message: String) -> TaskEnd {
    TaskEnd::Null { cause, detail, message }
}

fn cap_refusal(agents_max: u32) -> CallRefusal {
    CallRefusal {
        name: "WorkflowAgentCapError",
        message: format!(
            "Workflow agent() call cap reached ({agents_max}). The usual cause is a loop that starts agents without \
             an end; give it a bound, or read budget.remaining() only when a budget is set."
        ),
    }
}

/// Cuts at a character's border and says so.
fn clip_bytes(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let end = text.floor_char_boundary(bytes_max);
    format!("{}… ({} bytes more)", &text[..end], text.len() - end)
}

/// A large text leaves its place and waits to be stored.
fn externalise(payload: Payload, large_texts: &mut Vec<LargeText>) -> Payload {
    let Some(reference) = payload.reference_if_large() else { return payload };
    if let (Some(digest), Payload::Text { text } | Payload::Json { json: text }) =
        (reference.digest().cloned(), payload)
    {
        large_texts.push(LargeText { digest, text });
    }
    reference
}
