//! Calls: what a script did in a turn becomes agents, refusals, timers, lines and groups.

use crate::agent::AgentSpec;
use crate::command::Refused;
use crate::event::{Event, RunError};
use crate::options::{CallRefusal, Written, clip_name, read_options};
use crate::reuse::{Reusable, call_key};
use crate::run::{Batch, Run, externalise};
use crate::state::{CallRecord, Stage, WARNINGS_KEPT};
use skein_common::agent::RunnerKind;
use skein_common::run::RunStatus;
use skein_common::script::{Call, CallKind, Op};
use skein_common::{AgentNumber, Payload};

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

/// A run of more agents or more projected tokens is worth a word (L6).
const LARGE_AGENTS: u64 = 25;
const LARGE_TOKENS: u64 = 1_500_000;
/// Said once; the state knows it by this text.
pub(crate) const LARGE_WORKFLOW: &str = "large workflow: more than 25 agents or 1.5 M tokens";

/// What a person reads who has no model (A1).
const NO_MODEL: &str = "no model is configured: give the agent a type whose definition has a command, \
     or start the run with --runner command --command 'PROG ARG…' or --runner simulated";

impl Run {
    /// Decides on everything a script did in a turn, in its order.
    pub(crate) fn operate(&mut self, ops: Vec<Op>, batch: &mut Batch) -> Result<(), Refused> {
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
                        let (place, message) = (clip_name(&place), clip_bytes(message, SLOT_MESSAGE_BYTES_MAX));
                        self.record(Event::SlotFailed { place, message, script_error, refused }, batch)?;
                    }
                }
                Op::WorkflowStarted { call, name } => self.start_workflow(call, &name, batch)?,
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
            if self.state.stop_requested {
                return self.end_stopped(batch);
            }
            let message =
                format!("the script made more calls than the cap of {CALLS_WITHOUT_AGENT_MAX} beside its agents");
            return self.end(RunStatus::Failed, Some(RunError::new("limit", message)), batch);
        }
        if self.state.stop_requested {
            return self.refuse_stopped(call, batch);
        }
        match call.kind {
            CallKind::Timer { delay_ms } => self.record(Event::TimerSet { call: call.id, delay_ms }, batch),
            CallKind::Workflow { target, args } => self.call_workflow(call.id, target, args.as_deref(), batch),
            CallKind::Agent { prompt, options, options_not_object, phase, workflow } => {
                let group = self.state.group_of(workflow);
                let key = call_key(&self.state.spec, &prompt, options.as_deref());
                if options_not_object {
                    let text = String::from("agent(): options are not an object and were ignored");
                    self.record(Event::Warned { text, from_script: false }, batch)?;
                }
                let written = Written {
                    prompt: &prompt,
                    options: options.as_deref(),
                    phase: phase.as_deref(),
                    group: group.as_deref(),
                };
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
        for text in warnings.into_iter().map(|text| clip_bytes(text, SLOT_MESSAGE_BYTES_MAX)) {
            if self.state.warnings.len() <= WARNINGS_KEPT && !self.state.warnings.contains(&text) {
                self.record(Event::Warned { text, from_script: false }, batch)?;
            }
        }
        if let Some(title) = spec.phase.clone() {
            self.warn_of_undeclared(&title, batch)?;
        }
        self.warn_of_size(batch)?;
        let needs_model = matches!(spec.runner, RunnerKind::Llm | RunnerKind::Cli);
        let agent = AgentNumber::try_from(self.state.agents.len() + 1).unwrap_or(AgentNumber::MAX);
        self.record(Event::AgentQueued { call, agent, key, spec: Box::new(spec) }, batch)?;
        if needs_model {
            let error = RunError::new("no_model", NO_MODEL);
            return self.end(RunStatus::Failed, Some(error), batch);
        }
        Ok(())
    }

    /// One warning for a run that turns out large, never a stop (L6).
    fn warn_of_size(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        let before = self.state.agents.len() as u64;
        let ended = before.saturating_sub(u64::from(self.state.open_agents)).max(1);
        let agents = before + 1;
        let projected = (self.state.usage.total() / ended).saturating_mul(agents);
        if (agents <= LARGE_AGENTS && projected <= LARGE_TOKENS) || self.state.is_large {
            return Ok(());
        }
        self.record(Event::Warned { text: LARGE_WORKFLOW.to_owned(), from_script: false }, batch)
    }

    pub(crate) fn refuse(
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
            message: clip_bytes(refusal.message, SLOT_MESSAGE_BYTES_MAX),
            limit,
            spent: self.state.budget.spent,
            cap_reached: self.state.cap_reached(),
        };
        self.record(event, batch)
    }
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
