//! `skein logs`: what a run said while it ran.

use crate::args::{Global, RunName};
use crate::exit::Code;
use crate::output::{self, printable};
use crate::session::existing_store;
use crate::stored;
use skein_common::agent::Cause;
use skein_engine::{Event, TaskEnd};

/// Prints the lines in the order in which they were written.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn logs(global: &Global, args: RunName) -> anyhow::Result<Code> {
    let store = existing_store(global)?;
    let stored = stored::load(&store.ports(), &args.run).await?;
    for record in &stored.events {
        let Some(text) = text_of(&record.event) else { continue };
        if global.json {
            output::json(&serde_json::json!({ "at_ms": record.at_ms, "text": text }))?;
        } else {
            output::line(&printable(&text));
        }
    }
    Ok(Code::Completed)
}

/// The line that an event is for somebody who watches, safe for a terminal. What went down with us starts again
/// without a word: the person knows of the interruption.
#[must_use]
pub fn line_of(event: &Event) -> Option<String> {
    if matches!(event, Event::AttemptEnded { ours: true, .. }) {
        return None;
    }
    text_of(event).map(|text| printable(&text))
}

fn text_of(event: &Event) -> Option<String> {
    match event {
        Event::LogLine { text, .. } => Some(text.clone()),
        Event::SlotFailed { place, message, .. } => Some(format!("{place} failed: {message}")),
        Event::AttemptEnded { agent, attempt, cause, message, .. } => {
            Some(format!("agent {agent}: attempt {attempt} {cause}: {message}; trying again"))
        }
        Event::TaskEnded { agent, end: TaskEnd::Thrown { message, .. }, .. } => {
            Some(format!("agent {agent}: {message}"))
        }
        Event::TaskEnded { agent, end: TaskEnd::Null { cause, detail, message }, .. }
            if !matches!(cause, Cause::Stopped | Cause::Skipped) =>
        {
            let detail = detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
            Some(format!("agent {agent} {cause}{detail}: {message}"))
        }
        _ => None,
    }
}
