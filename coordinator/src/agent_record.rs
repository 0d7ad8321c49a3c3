//! One agent with everything its run recorded of it.

use crate::clock::{Clock as _, SystemClock};
use crate::journal::{LoadError, RunRecord, StoredRun, load_run, load_text};
use serde::{Deserialize, Serialize};
use skein_common::ports::Ports;
use skein_common::view::{AgentView, short_time};
use skein_common::{AgentNumber, RunId};
use skein_engine::{Event, Interruption, TaskEnd, agent_views};
use utoipa::ToSchema;

/// What `skein agent --json` prints.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentRecord {
    pub agent: AgentView,
    pub prompt: String,
    pub schema: Option<String>,
    pub attempts_log: Vec<AttemptLine>,
    pub output: Option<String>,
    /// The last answer, when none fitted the schema.
    pub output_refused: Option<String>,
    pub notes: Vec<String>,
}

/// One thing that happened to the agent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AttemptLine {
    pub at_ms: i64,
    pub text: String,
}

/// Why there is no record of an agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentRecordError {
    #[error("{run} has no agent {agent}; it has {count}")]
    NoSuchAgent { run: RunId, agent: AgentNumber, count: usize },
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Reads it from the journal.
///
/// # Errors
/// There is no such run or agent, or it cannot be read.
pub async fn agent_record(ports: &Ports, run: &RunId, agent: AgentNumber) -> Result<AgentRecord, AgentRecordError> {
    let stored = load_run(ports.journal.as_ref(), run).await?;
    let views = agent_views(stored.run.state(), SystemClock.now_ms());
    let count = views.len();
    let view = views.into_iter().find(|view| view.agent == agent).ok_or_else(|| AgentRecordError::NoSuchAgent {
        run: run.clone(),
        agent,
        count,
    })?;
    Ok(record_of(ports, run, &stored, view).await?)
}

async fn record_of(ports: &Ports, run: &RunId, stored: &StoredRun, view: AgentView) -> Result<AgentRecord, LoadError> {
    let number = view.agent;
    let blobs = ports.blobs.as_ref();
    let mut record = AgentRecord {
        agent: view,
        prompt: String::new(),
        schema: None,
        attempts_log: Vec::new(),
        output: None,
        output_refused: None,
        notes: Vec::new(),
    };
    if let Some(agent) = stored.run.state().agent(number) {
        record.prompt = load_text(blobs, run, &agent.spec.prompt).await?;
        if let Some(schema) = &agent.spec.schema {
            record.schema = Some(load_text(blobs, run, schema).await?);
        }
    }
    for RunRecord { at_ms, event } in &stored.events {
        let Some(text) = attempt_text(event, number) else { continue };
        record.attempts_log.push(AttemptLine { at_ms: *at_ms, text });
        if let Event::TaskEnded { end: TaskEnd::Done { value }, .. } = event {
            record.output = Some(load_text(blobs, run, value).await?);
        }
        if let Event::TaskEnded { end: TaskEnd::Thrown { output: Some(last), .. }, .. } = event {
            record.output_refused = Some(load_text(blobs, run, last).await?);
        }
        if let Event::TaskEnded { notes, .. } | Event::AttemptEnded { notes, .. } = event {
            // Later attempts tell again what was kept of earlier ones.
            for note in notes {
                if !record.notes.contains(note) {
                    record.notes.push(note.clone());
                }
            }
        }
    }
    Ok(record)
}

/// What an event says of this agent.
fn attempt_text(event: &Event, number: u32) -> Option<String> {
    match event {
        Event::TaskStarted { agent, attempt, .. } if *agent == number => Some(format!("attempt {attempt} started")),
        Event::AttemptEnded { agent, attempt, cause, message, .. } if *agent == number => {
            Some(format!("attempt {attempt} {cause}: {message}"))
        }
        Event::TaskEnded { agent, end: TaskEnd::Done { .. }, elapsed_ms, .. } if *agent == number => {
            Some(format!("done after {}", short_time(*elapsed_ms)))
        }
        Event::TaskEnded { agent, end: TaskEnd::Null { cause, detail, message }, .. }
        | Event::TaskEnded { agent, end: TaskEnd::Thrown { cause, detail, message, .. }, .. }
            if *agent == number =>
        {
            let detail = detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
            Some(format!("{cause}{detail}: {message}"))
        }
        Event::TaskEnded { agent, end: TaskEnd::RunStopped {}, .. } if *agent == number => {
            Some(String::from("stopped with its run"))
        }
        Event::AgentInterrupted { agent, attempt, then } if *agent == number => {
            let what = match then {
                Interruption::Stop => "stopped",
                Interruption::Restart => "restarted",
            };
            Some(format!("attempt {attempt} is to be {what}"))
        }
        _ => None,
    }
}
