//! Events: a run's journal as lines of JSON while the run goes on (`run --events`).

use crate::output;
use skein_backend::embedded::Changes;
use skein_common::RunId;
use skein_common::ports::Ports;
use skein_coordinator::run_events;
use skein_engine::decode_record;

/// How far the journal was printed.
pub struct EventLines {
    ports: Ports,
    run: RunId,
    records: u64,
    changes: Changes,
}

impl EventLines {
    /// From the beginning of the journal; `changes` are of its store.
    #[must_use]
    pub fn new(ports: Ports, run: RunId, changes: Changes) -> EventLines {
        EventLines { ports, run, records: 0, changes }
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
            for event in run_events(self.records, &record) {
                output::json(&event)?;
            }
            self.records += 1;
        }
        Ok(())
    }
}
