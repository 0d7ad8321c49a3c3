//! Event stream: a run's journal and how it stands, for many who watch it at once.
//!
//! The journal is the source: what stands in it reaches every watcher once and in order, whoever executes the run. The
//! feed only wakes whoever reads it, and brings views of the run, which may be lost. One [`tail`] reads for all watchers
//! of a run; who is further behind than its memory reaches reads the journal alone.

mod chunk;
mod position;
mod run_change;
mod run_event;
mod run_stream;
mod runs_stream;
mod streams;
mod tail;
mod tail_task;

pub use position::{BadPosition, Position};
pub(crate) use run_change::RUNS_TOPIC;
pub use run_change::RunChange;
pub use run_event::{Excerpt, RunEvent, run_events};
pub use run_stream::RunStream;
pub use runs_stream::RunsStream;
pub use streams::{OpenError, Streams};
