//! The log of a run as people read it: what its script said, and what failed, in the order of the journal.

use crate::journal::LoadError;
use serde::{Deserialize, Serialize};
use skein_common::RunId;
use skein_common::agent::Cause;
use skein_common::ports::Ports;
use skein_engine::{Event, TaskEnd, decode_record};
use utoipa::ToSchema;

/// A page is full with so many lines; the lines of one record stay together.
const LINES_MAX: usize = 1000;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Records of the journal up to and with the one it is from: what comes after it is asked for with this.
    pub position: u64,
    pub at_ms: i64,
    pub text: String,
    /// An attempt that went down with us and starts again: nothing to a person who knows of the interruption.
    #[serde(default)]
    pub ours: bool,
}

/// Some lines, and how far the journal was read for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    /// What to ask for next.
    pub position: u64,
    /// There is more to be had at once.
    pub more: bool,
    /// The run has ended, and this page goes to its end.
    pub ended: bool,
    /// Somebody executed the run just before the journal was read.
    pub owned: bool,
}

/// The lines of all records after the first `after`.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn log_page(ports: &Ports, run: &RunId, after: u64) -> Result<LogPage, LoadError> {
    // Asked before the journal is read: an owner that wrote the end has gone after it.
    let owned = ports.leases.holder(run.as_str()).await?.is_some();
    // From one before, which tells of an end that the asker has seen.
    let seen = after.min(1);
    let records = ports.journal.read(run, after - seen).await?;
    if records.is_empty() && (seen == 0 || ports.journal.read(run, 0).await?.is_empty()) {
        return Err(LoadError::NotFound { run: run.clone() });
    }
    let mut page = LogPage { lines: Vec::new(), position: after - seen, more: false, ended: false, owned };
    for bytes in &records {
        if page.lines.len() >= LINES_MAX {
            page.more = true;
            break;
        }
        page.position += 1;
        let record = decode_record(bytes)?;
        for event in &record.events {
            page.ended |= matches!(event, Event::RunEnded { .. });
            if page.position <= after {
                continue;
            }
            let Some(text) = log_text(event) else { continue };
            let ours = is_ours(event);
            page.lines.push(LogLine { position: page.position, at_ms: record.at_ms, text, ours });
        }
    }
    page.position = page.position.max(after);
    Ok(page)
}

/// Whether it tells of an attempt that went down with us and starts again.
#[must_use]
pub fn is_ours(event: &Event) -> bool {
    matches!(event, Event::AttemptEnded { ours: true, .. })
}

/// The line that an event is in the log, if it is one. It holds what scripts and agents wrote.
#[must_use]
pub fn log_text(event: &Event) -> Option<String> {
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
