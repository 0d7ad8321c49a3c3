//! The coordinator: owns runs, interprets their scripts, and journals every fact before anything depends on it.
//!
//! [`Coordinator::start`] is the door; [`api`] is how other processes reach it. [`driver`] is the one loop of a run; [`actors`] wire runs, workers and
//! watchers together; the engine below decides.

pub mod actors;
mod agent_record;
pub mod api;
pub mod attempts;
mod bootstrap;
mod check;
mod clock;
mod counted_feed;
pub mod driver;
mod event_stream;
mod folded_runs;
mod journal;
mod log_lines;
pub mod metrics;
mod ownership;
mod retention;
mod script_files;
mod standing;
mod standing_gauges;
mod steering;
pub mod stored;
mod submission;
mod telemetry;
mod watch;
mod workers;
pub mod workers_table;

pub use agent_record::{AgentRecord, AgentRecordError, AttemptLine, agent_record};
pub use bootstrap::{Coordinator, CoordinatorConfig, RunOutcome};
pub use check::Checked;
pub use clock::{Clock, SystemClock};
pub use driver::DriverError;
pub use event_stream::{
    BadPosition, Excerpt, OpenError, Position, RunChange, RunEvent, RunStream, RunsStream, Streams, run_events,
};
pub use folded_runs::{Folded, FoldedRuns};
pub use journal::{LoadError, RunRecord, StoredRun, load_run, load_text};
pub use log_lines::{LogLine, LogPage, is_ours, log_page, log_text};
pub use metrics::Metrics;
pub use retention::{Owns, RemoveError, RemoveFiles, Retention, SWEEP_EVERY_MS};
pub use standing::{ShardsStanding, Standing};
pub use submission::{IdempotencyKey, RUNS_TABLE, SubmitError, Submitted, check_args, submit, submit_once};
pub use telemetry::{Telemetry, Watched};
pub use watch::{WatchItem, Watcher, topic};
pub use workers::{WorkersError, drain_worker, workers};
pub use workers_table::WORKERS_TABLE;
