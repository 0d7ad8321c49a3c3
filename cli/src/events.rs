//! Events: a run's journal as lines of JSON while the run goes on (`run --events`).

use crate::output;
use serde::Serialize;
use skein_backend::embedded::Changes;
use skein_common::RunId;
use skein_common::ports::Ports;
use skein_engine::{Event, decode_record};

/// One line: the event's place in the journal, from 0, and its time.
#[derive(Debug, Serialize)]
struct Line<'a> {
    index: u64,
    at_ms: i64,
    event: &'a Event,
}

/// How far the journal was printed.
pub struct EventLines {
    ports: Ports,
    run: RunId,
    records: u64,
    events: u64,
    changes: Changes,
}

impl EventLines {
    /// From the beginning of the journal; `changes` are of its store.
    #[must_use]
    pub fn new(ports: Ports, run: RunId, changes: Changes) -> EventLines {
        EventLines { ports, run, records: 0, events: 0, changes }
    }

    /// Prints what is there, then waits until there may be more.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn print_next(&mut self) -> anyhow::Result<()> {
        self.print_new().await?;
        self.changes.next().await;
        Ok(())
    }

    /// Prints what was not printed yet.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn print_new(&mut self) -> anyhow::Result<()> {
        for bytes in self.ports.journal.read(&self.run, self.records).await? {
            let record = decode_record(&bytes)?;
            for event in &record.events {
                output::json(&Line { index: self.events, at_ms: record.at_ms, event })?;
                self.events += 1;
            }
            self.records += 1;
        }
        Ok(())
    }
}
