//! `skein logs`: what a run said while it ran, or says while any process runs it.

use crate::args::{Global, LogsArgs};
use crate::exit::Code;
use crate::output::{self, printable};
use crate::session::{existing_store, resume_command};
use crate::stored;
use skein_backend::embedded::Changes;
use skein_common::RunId;
use skein_common::agent::Cause;
use skein_common::ports::Ports;
use skein_engine::{Event, TaskEnd, decode_record};
use std::time::{Duration, Instant};

/// A run may be without an owner for so long, between its submission and its start or when its owner starts it anew.
const UNOWNED: Duration = Duration::from_secs(1);

/// Prints the lines in the order in which they were written.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn logs(global: &Global, args: LogsArgs) -> anyhow::Result<Code> {
    let store = existing_store(global)?;
    // From before the first look, so that nothing is missed between it and the wait.
    let changes = store.changes();
    let stored = stored::load(&store.ports(), &args.run).await?;
    for record in &stored.events {
        print(global, record.at_ms, &record.event)?;
    }
    if !args.follow || stored.run.state().is_ended() {
        return Ok(Code::Completed);
    }
    follow(global, &store.ports(), &args.run, Followed { records: stored.records, changes }).await
}

/// How far a journal was read, and who tells when there is more.
struct Followed {
    records: u64,
    changes: Changes,
}

/// Prints what is appended until the run ends, or nobody runs it any more.
async fn follow(global: &Global, ports: &Ports, run: &RunId, mut followed: Followed) -> anyhow::Result<Code> {
    let mut unowned_since = None;
    loop {
        // Asked before the journal is read: an owner that wrote the end has gone after it.
        let is_owned = ports.leases.holder(run.as_str()).await?.is_some();
        for bytes in ports.journal.read(run, followed.records).await? {
            followed.records += 1;
            let record = decode_record(&bytes)?;
            for event in &record.events {
                print(global, record.at_ms, event)?;
                if matches!(event, Event::RunEnded { .. }) {
                    return Ok(Code::Completed);
                }
            }
        }
        let since = unowned_since.filter(|_| !is_owned);
        if since.is_some_and(|since: Instant| since.elapsed() >= UNOWNED) {
            let command = resume_command(global, run);
            output::note(&format!("{run} is interrupted; continue it with: {command}"));
            return Ok(Code::Failed);
        }
        unowned_since = (!is_owned).then(|| since.unwrap_or_else(Instant::now));
        let wait = if is_owned { Duration::MAX } else { UNOWNED };
        let _something_or_time = tokio::time::timeout(wait, followed.changes.next()).await;
    }
}

fn print(global: &Global, at_ms: i64, event: &Event) -> anyhow::Result<()> {
    match text_of(event) {
        Some(text) if global.json => output::json(&serde_json::json!({ "at_ms": at_ms, "text": text })),
        Some(text) => {
            output::line(&printable(&text));
            Ok(())
        }
        None => Ok(()),
    }
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
        Event::TaskEnded { agent, end: TaskEnd::Null { cause, detail, message }, .. }
            if !matches!(cause, Cause::Stopped | Cause::Skipped) =>
        {
            let detail = detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
            Some(format!("agent {agent} {cause}{detail}: {message}"))
        }
        _ => None,
    }
}
