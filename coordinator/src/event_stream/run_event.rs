//! Run event: an event of the journal as programs outside see it. What `run --events` prints and the API streams.

use super::position::Position;
use crate::log_lines::{is_ours, log_text};
use serde::{Deserialize, Serialize};
use skein_common::agent::Usage;
use skein_common::run::RunStatus;
use skein_common::view::ErrorView;
use skein_common::workflow::WorkflowRef;
use skein_common::{AgentNumber, AttemptNumber, Epoch, Payload, RunId};
use skein_engine::{AgentSpec, Event, Interruption, Record, RunError, TaskEnd};
use utoipa::ToSchema;

/// Bytes of a prompt, a result, a message or a note that an event shows: enough for a person to know it by. All of it
/// is in the agent's record and in the run's result.
const EXCERPT_BYTES_MAX: usize = 2 * 1024;
/// The same for a line of the log, of which most are shorter: the engine keeps 2 KiB of what a script logs.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Notes of an agent that an event shows.
const NOTES_MAX: usize = 32;

/// One event of a run. Grows by optional fields and by kinds: what is not known is passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunEvent {
    #[schema(value_type = String, pattern = "^[0-9]+\\.[0-9]+$", example = "12.0")]
    pub position: Position,
    /// ms since the Unix epoch.
    pub at_ms: i64,
    /// What happened, such as `agent_queued`, `task_ended`, `log_line`, `run_ended`.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentNumber>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptNumber>,
    /// The number of the call in the script that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Excerpt>,
    /// What an agent or the script gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Excerpt>,
    /// How an agent ended: `done`, `null`, `thrown` or `run_stopped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The line that it is in the log of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// The attempt went down with its worker or coordinator and starts again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ours: bool,
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// Of a timer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The workflow that the run is of, or that its script calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The run whose results this one may reuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// How often the run was taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// How the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RunStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
}

/// The beginning of a text that may be long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Excerpt {
    /// Empty when the text is kept apart from the journal.
    pub text: String,
    /// Size of all of it.
    pub bytes: u64,
    /// There is more than `text`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cut: bool,
    /// All of it is JSON.
    #[serde(default, skip_serializing_if = "is_false")]
    pub json: bool,
}

impl Excerpt {
    fn of(payload: &Payload) -> Excerpt {
        let text = cut(payload.inline().unwrap_or_default(), EXCERPT_BYTES_MAX);
        let bytes = payload.bytes();
        Excerpt { cut: (text.len() as u64) < bytes, text, bytes, json: payload.is_json() }
    }
}

/// The events of a record, which is the `number`th of its journal from 0.
#[must_use]
pub fn run_events(number: u64, record: &Record) -> Vec<RunEvent> {
    let place = |index: u32| Position { record: number, index };
    (0..).zip(&record.events).map(|(index, event)| run_event(place(index), record.at_ms, event)).collect()
}

fn run_event(position: Position, at_ms: i64, event: &Event) -> RunEvent {
    RunEvent {
        line: log_text(event).map(|line| cut(&line, LINE_BYTES_MAX)),
        ours: is_ours(event),
        ..told(RunEvent::new(position, at_ms), event)
    }
}

impl RunEvent {
    fn new(position: Position, at_ms: i64) -> RunEvent {
        RunEvent {
            position,
            at_ms,
            kind: String::new(),
            agent: None,
            attempt: None,
            call: None,
            label: None,
            phase: None,
            runner: None,
            model: None,
            host: None,
            prompt: None,
            value: None,
            end: None,
            cause: None,
            detail: None,
            message: None,
            line: None,
            ours: false,
            usage: None,
            elapsed_ms: None,
            delay_ms: None,
            notes: Vec::new(),
            workflow: None,
            parent: None,
            epoch: None,
            status: None,
            error: None,
        }
    }

    fn of_kind(self, kind: &str) -> RunEvent {
        RunEvent { kind: kind.to_owned(), ..self }
    }

    fn of_call(self, kind: &str, call: u32) -> RunEvent {
        RunEvent { call: Some(call), ..self.of_kind(kind) }
    }

    fn of_agent(self, kind: &str, agent: AgentNumber) -> RunEvent {
        RunEvent { agent: Some(agent), ..self.of_kind(kind) }
    }

    fn saying(self, message: &str) -> RunEvent {
        RunEvent { message: Some(excerpt(message)), ..self }
    }
}

/// What people see of an event; the engine's own numbers are left out.
fn told(to: RunEvent, event: &Event) -> RunEvent {
    match event {
        Event::RunSubmitted { spec } => RunEvent {
            workflow: Some(excerpt(&spec.origin)),
            parent: spec.parent.clone(),
            ..to.of_kind("run_submitted")
        },
        Event::EpochBegan { epoch } => RunEvent { epoch: Some(*epoch), ..to.of_kind("epoch_began") },
        Event::RunStarted { meta, .. } => {
            RunEvent { workflow: Some(excerpt(&meta.name)), ..to.of_kind("run_started") }.saying(&meta.description)
        }
        Event::Warned { text, .. } => to.of_kind("warned").saying(text),
        Event::LogLine { .. } => to.of_kind("log_line"),
        Event::PhaseEntered { title } => RunEvent { phase: Some(excerpt(title)), ..to.of_kind("phase_entered") },
        Event::SlotFailed { place, message, .. } => {
            RunEvent { detail: Some(excerpt(place)), ..to.of_kind("slot_failed") }.saying(message)
        }
        Event::AgentQueued { call, agent, spec, .. } => {
            queued(RunEvent { call: Some(*call), ..to.of_agent("agent_queued", *agent) }, spec)
        }
        Event::AgentReused { call, label, phase, value, .. } => RunEvent {
            label: Some(excerpt(label)),
            phase: phase.as_deref().map(excerpt),
            value: Some(Excerpt::of(value)),
            ..to.of_call("agent_reused", *call)
        },
        Event::AgentRefused { call, agent, name, message, .. } => {
            RunEvent { agent: *agent, detail: Some(excerpt(name)), ..to.of_call("agent_refused", *call) }
                .saying(message)
        }
        Event::TaskStarted { agent, attempt, .. } => {
            RunEvent { attempt: Some(*attempt), ..to.of_agent("task_started", *agent) }
        }
        Event::AttemptEnded { agent, attempt, cause, detail, message, usage, notes, .. } => RunEvent {
            attempt: Some(*attempt),
            cause: Some(cause.name().to_owned()),
            detail: detail.as_deref().map(excerpt),
            usage: Some(*usage),
            notes: some_of(notes),
            ..to.of_agent("attempt_ended", *agent)
        }
        .saying(message),
        Event::TaskEnded { agent, end, usage, elapsed_ms, notes, .. } => ended(
            RunEvent {
                usage: Some(*usage),
                elapsed_ms: Some(*elapsed_ms),
                notes: some_of(notes),
                ..to.of_agent("task_ended", *agent)
            },
            end,
        ),
        Event::AgentInterrupted { agent, attempt, then } => {
            let then = match then {
                Interruption::Stop => "stop",
                Interruption::Restart => "restart",
            };
            let detail = Some(then.to_owned());
            RunEvent { attempt: Some(*attempt), detail, ..to.of_agent("agent_interrupted", *agent) }
        }
        other => told_of_the_script(to, other),
    }
}

/// The rest: what the script does beside its agents, and how the run goes.
fn told_of_the_script(to: RunEvent, event: &Event) -> RunEvent {
    match event {
        Event::TimerSet { call, delay_ms } => RunEvent { delay_ms: Some(*delay_ms), ..to.of_call("timer_set", *call) },
        Event::TimerCleared { call } => to.of_call("timer_cleared", *call),
        Event::TimerFired { call, .. } => to.of_call("timer_fired", *call),
        Event::WorkflowCalled { call, target, .. } => {
            let (WorkflowRef::Name { name: workflow } | WorkflowRef::Path { path: workflow }) = target;
            RunEvent { workflow: Some(excerpt(workflow)), ..to.of_call("workflow_called", *call) }
        }
        Event::WorkflowLoaded { call, .. } => to.of_call("workflow_loaded", *call),
        Event::WorkflowRefused { call, message, .. } => to.of_call("workflow_refused", *call).saying(message),
        Event::WorkflowStarted { call, name, group } => RunEvent {
            workflow: Some(excerpt(name)),
            phase: Some(excerpt(group)),
            ..to.of_call("workflow_started", *call)
        },
        Event::ScriptReturned { result } => {
            RunEvent { value: Some(Excerpt::of(result)), ..to.of_kind("script_returned") }
        }
        Event::Paused {} => to.of_kind("paused"),
        Event::Resumed {} => to.of_kind("resumed"),
        Event::StopRequested {} => to.of_kind("stop_requested"),
        Event::RunEnded { status, error } => {
            RunEvent { status: Some(*status), error: error.as_ref().map(shown_error), ..to.of_kind("run_ended") }
        }
        _ => to.of_kind("other"),
    }
}

fn queued(to: RunEvent, spec: &AgentSpec) -> RunEvent {
    RunEvent {
        label: Some(excerpt(&spec.label)),
        phase: spec.phase.as_deref().map(excerpt),
        runner: Some(spec.runner.name().to_owned()),
        model: spec.model.as_deref().map(excerpt),
        host: spec.host.as_deref().map(excerpt),
        prompt: Some(Excerpt::of(&spec.prompt)),
        ..to
    }
}

fn ended(to: RunEvent, end: &TaskEnd) -> RunEvent {
    let named = |name: &str| Some(name.to_owned());
    match end {
        TaskEnd::Done { value } => RunEvent { end: named("done"), value: Some(Excerpt::of(value)), ..to },
        TaskEnd::Null { cause, detail, message } => {
            RunEvent { end: named("null"), cause: named(cause.name()), detail: detail.as_deref().map(excerpt), ..to }
                .saying(message)
        }
        TaskEnd::Thrown { cause, detail, message, .. } => {
            RunEvent { end: named("thrown"), cause: named(cause.name()), detail: detail.as_deref().map(excerpt), ..to }
                .saying(message)
        }
        TaskEnd::RunStopped {} => RunEvent { end: named("run_stopped"), ..to },
    }
}

fn shown_error(error: &RunError) -> ErrorView {
    ErrorView {
        kind: error.kind.clone(),
        message: excerpt(&error.message),
        line: error.line,
        column: error.column,
        stack: error.stack.as_deref().map(excerpt),
        source_line: error.source_line.as_deref().map(excerpt),
    }
}

fn some_of(notes: &[String]) -> Vec<String> {
    notes.iter().take(NOTES_MAX).map(|note| excerpt(note)).collect()
}

fn excerpt(text: &str) -> String {
    cut(text, EXCERPT_BYTES_MAX)
}

/// Its first bytes, whole characters only.
fn cut(text: &str, bytes_max: usize) -> String {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_common::agent::Cause;
    use skein_common::run::RunSpec;
    use skein_common::script::Meta;

    fn shown(events: Vec<Event>) -> Vec<RunEvent> {
        let records = skein_engine::encode_records(1, 0, 5, &events).expect("encodes");
        run_events(9, &skein_engine::decode_record(&records[0]).expect("decodes"))
    }

    fn done(value: Payload) -> Event {
        let end = TaskEnd::Done { value };
        let usage = Usage { input: 1, ..Usage::default() };
        Event::TaskEnded { agent: 3, end, usage, elapsed_ms: 7, spent: 0, cap_reached: false, notes: Vec::new() }
    }

    fn spec() -> RunSpec {
        serde_json::from_value(serde_json::json!({
            "script": {"as": "text", "text": "return 1"}, "origin": "w.js", "seed": 1, "project_dir": "/"
        }))
        .expect("a spec")
    }

    #[test]
    fn an_event_is_named_as_in_the_journal() {
        let (call, spent, cap_reached) = (1, 0, false);
        let text = || String::from("x");
        let events = vec![
            Event::RunSubmitted { spec: Box::new(spec()) },
            Event::EpochBegan { epoch: 2 },
            Event::RunStarted { meta: Meta::default(), behaviour: 1 },
            Event::Warned { text: text(), from_script: false },
            Event::LogLine { text: text(), from_engine: false },
            Event::PhaseEntered { title: text() },
            Event::SlotFailed { place: text(), message: text(), script_error: false, refused: false },
            Event::TaskStarted { agent: 1, attempt: 1, permit: 1 },
            done(Payload::text("x")),
            Event::AgentInterrupted { agent: 1, attempt: 1, then: Interruption::Stop },
            Event::TimerSet { call, delay_ms: 1 },
            Event::TimerCleared { call },
            Event::TimerFired { call, spent, cap_reached },
            Event::WorkflowCalled { call, key: text(), target: WorkflowRef::Name { name: text() } },
            Event::WorkflowRefused { call, message: text(), spent, cap_reached },
            Event::WorkflowStarted { call, name: text(), group: text() },
            Event::ScriptReturned { result: Payload::json("1") },
            Event::Paused {},
            Event::Resumed {},
            Event::StopRequested {},
            Event::RunEnded { status: RunStatus::Completed, error: None },
        ];
        let tag = |event: &Event| serde_json::to_value(event).expect("encodes")["type"].as_str().map(str::to_owned);
        let tags: Vec<Option<String>> = events.iter().map(tag).collect();
        let kinds: Vec<Option<String>> = shown(events).into_iter().map(|event| Some(event.kind)).collect();
        assert_eq!(kinds, tags);
    }

    #[test]
    fn long_texts_are_shown_by_their_beginning() {
        let long = "ä".repeat(EXCERPT_BYTES_MAX);
        let apart = Payload::TextBlob { digest: skein_common::Digest::of(b"x"), bytes: 70_000 };
        let events = shown(vec![done(Payload::text(long)), done(Payload::json("[1]")), done(apart)]);
        let values: Vec<Excerpt> = events.into_iter().filter_map(|event| event.value).collect();
        assert_eq!(values[0].text.len(), EXCERPT_BYTES_MAX);
        assert_eq!((values[0].bytes, values[0].cut, values[0].json), (2 * EXCERPT_BYTES_MAX as u64, true, false));
        assert_eq!(values[1], Excerpt { text: String::from("[1]"), bytes: 3, cut: false, json: true });
        assert_eq!(values[2], Excerpt { text: String::new(), bytes: 70_000, cut: true, json: false });
        assert_eq!(cut("aäb", 2), "a", "whole characters only");
    }

    #[test]
    fn an_attempt_that_failed_has_its_cause_and_its_line() {
        let notes = (0..NOTES_MAX + 5).map(|note| note.to_string()).collect();
        let event = Event::AttemptEnded {
            agent: 1,
            attempt: 2,
            cause: Cause::Failed,
            detail: Some(String::from("exit 3")),
            message: "m".repeat(3 * LINE_BYTES_MAX),
            usage: Usage::default(),
            ours: true,
            unfit: false,
            notes,
        };
        let shown = shown(vec![event]).remove(0);
        assert_eq!(shown.position.to_string(), "9.0");
        assert_eq!((shown.cause.as_deref(), shown.detail.as_deref()), (Some("failed"), Some("exit 3")));
        assert_eq!(shown.message.map(|message| message.len()), Some(EXCERPT_BYTES_MAX));
        assert_eq!(shown.line.map(|line| line.len()), Some(LINE_BYTES_MAX));
        assert_eq!((shown.notes.len(), shown.ours, shown.at_ms), (NOTES_MAX, true, 5));
    }
}
