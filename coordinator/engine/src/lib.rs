//! The engine: everything a run decides, as pure functions over its journal.
//!
//! [`Run::accept`] takes a [`Command`] and gives the [`Event`]s it leads to, already applied; [`Run::apply`] is the
//! only way the state changes, live or replayed; [`effects`] says what has to happen once an event is journalled.
//! No clock, no randomness, no I/O: time comes in as an argument, so the same inputs always give the same run.

mod agent;
mod budget;
mod calls;
mod command;
pub mod compat;
mod control;
mod divergence;
mod effect;
mod event;
mod options;
mod phase;
mod record;
mod retry;
mod reuse;
mod run;
mod schema;
mod semaphore;
mod state;
mod view;
mod workflow;

pub use agent::{Agent, AgentSpec, AgentState, Ended, Interruption};
pub use command::{Command, Refused};
pub use divergence::{Cursor, Divergence};
pub use effect::{Effect, JournalOutcome, JournalSettlement, effects, settlement};
pub use event::{Event, RunError, TaskEnd};
pub use phase::NO_PHASE;
pub use record::{Record, RecordError, decode_record, encode_records};
pub use reuse::{Reusable, ReuseTable, call_key};
pub use run::{LargeText, Run};
pub use semaphore::{Semaphore, Ticket};
pub use state::{CallRecord, CorruptJournal, RunState, Stage};
pub use view::{agent_views, run_status, run_view};
pub use workflow::workflow_key;
