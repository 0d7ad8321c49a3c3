//! `skein agents` and `skein agent`: what the agents of a run did.

use crate::args::{AgentArgs, Global, RunName};
use crate::exit::{Code, usage};
use crate::output::{self, printable, short_count, short_time};
use crate::session::existing_store;
use crate::stored;
use serde::Serialize;
use skein_common::ports::Ports;
use skein_common::view::AgentView;
use skein_common::{Payload, RunId};
use skein_coordinator::{Clock as _, RunRecord, StoredRun, SystemClock, load_text};
use skein_engine::{Event, Interruption, TaskEnd, agent_views};

/// One agent with everything its run recorded of it; `agent --json`.
#[derive(Debug, Serialize)]
struct AgentDetail {
    agent: AgentView,
    prompt: String,
    schema: Option<String>,
    attempts_log: Vec<AttemptLine>,
    output: Option<String>,
    /// The last answer, when none fitted the schema.
    output_refused: Option<String>,
    notes: Vec<String>,
}

/// One attempt as the journal has it.
#[derive(Debug, Serialize)]
struct AttemptLine {
    at_ms: i64,
    text: String,
}

/// Lists the agents.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn agents(global: &Global, args: RunName) -> anyhow::Result<Code> {
    let store = existing_store(global)?;
    let stored = stored::load(&store.ports(), &args.run).await?;
    let agents = agent_views(stored.run.state(), SystemClock.now_ms());
    if global.json {
        output::json(&agents)?;
        return Ok(Code::Completed);
    }
    for agent in &agents {
        output::line(&line(agent));
    }
    Ok(Code::Completed)
}

/// One agent as a line of the list.
#[must_use]
pub fn line(agent: &AgentView) -> String {
    let detail = agent.detail.as_deref().map(|detail| format!("  {}", first_line(detail))).unwrap_or_default();
    format!(
        "{:>5}  {:<16} {:>8} {:>8}  {:<12} {}{detail}",
        agent.agent,
        agent.status,
        short_time(agent.elapsed_ms),
        short_count(agent.tokens),
        printable(agent.phase.as_deref().unwrap_or("-")),
        first_line(&agent.label),
    )
}

fn first_line(text: &str) -> String {
    printable(text.lines().next().unwrap_or_default())
}

/// Shows one agent.
///
/// # Errors
/// There is no such run or agent, or it cannot be read.
pub async fn agent(global: &Global, args: AgentArgs) -> anyhow::Result<Code> {
    let store = existing_store(global)?;
    let ports = store.ports();
    let stored = stored::load(&ports, &args.run).await?;
    let views = agent_views(stored.run.state(), SystemClock.now_ms());
    let count = views.len();
    let view = views
        .into_iter()
        .find(|view| view.agent == args.agent)
        .ok_or_else(|| usage(format!("{} has no agent {}; it has {count}", args.run, args.agent)))?;
    let detail = detail(&ports, &args.run, &stored, view).await?;
    if global.json {
        output::json(&detail)?
    } else {
        print(&detail)
    }
    Ok(Code::Completed)
}

async fn detail(ports: &Ports, run: &RunId, stored: &StoredRun, view: AgentView) -> anyhow::Result<AgentDetail> {
    let number = view.agent;
    let mut detail = AgentDetail {
        agent: view,
        prompt: String::new(),
        schema: None,
        attempts_log: Vec::new(),
        output: None,
        output_refused: None,
        notes: Vec::new(),
    };
    if let Some(agent) = stored.run.state().agent(number) {
        detail.prompt = load_text(ports.blobs.as_ref(), run, &agent.spec.prompt).await?;
        if let Some(schema) = &agent.spec.schema {
            detail.schema = Some(load_text(ports.blobs.as_ref(), run, schema).await?);
        }
    }
    for RunRecord { at_ms, event } in &stored.events {
        let Some(text) = attempt_text(event, number) else { continue };
        detail.attempts_log.push(AttemptLine { at_ms: *at_ms, text });
        if let Event::TaskEnded { end: TaskEnd::Done { value }, .. } = event {
            detail.output = Some(text_of(ports, run, value).await?);
        }
        if let Event::TaskEnded { end: TaskEnd::Thrown { output: Some(last), .. }, .. } = event {
            detail.output_refused = Some(text_of(ports, run, last).await?);
        }
        if let Event::TaskEnded { notes, .. } | Event::AttemptEnded { notes, .. } = event {
            // Later attempts tell again what was kept of earlier ones.
            for note in notes {
                if !detail.notes.contains(note) {
                    detail.notes.push(note.clone());
                }
            }
        }
    }
    Ok(detail)
}

async fn text_of(ports: &Ports, run: &RunId, value: &Payload) -> anyhow::Result<String> {
    Ok(load_text(ports.blobs.as_ref(), run, value).await?)
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

fn print(detail: &AgentDetail) {
    output::line(&line(&detail.agent));
    for attempt in &detail.attempts_log {
        let time = jiff::Timestamp::from_millisecond(attempt.at_ms)
            .map(|time| time.strftime("%H:%M:%S%.3fZ").to_string())
            .unwrap_or_default();
        output::line(&format!("  {time}  {}", printable(&attempt.text)));
    }
    for note in &detail.notes {
        output::line(&format!("  note: {}", printable(note)));
    }
    output::line(&format!("prompt:\n{}", printable(&detail.prompt)));
    if let Some(text) = &detail.output {
        output::line(&format!("output:\n{}", printable(text)));
    }
    if let Some(text) = &detail.output_refused {
        output::line(&format!("output that does not fit the schema:\n{}", printable(text)));
    }
}
