//! Actors of a coordinator: Root (what lives), Shards (which runs come here), Run (one per live run), Fleet (attempts and
//! workers), Feed (watchers).
//!
//! One struct per message in `messages.rs`, one handler each. Each actor says its mailbox limit where it is created.

mod dispatcher;
mod feed;
mod fleet;
mod inbox;
mod lookups;
mod messages;
mod performer;
mod root;
mod run;
mod shards;
mod timers;

pub(crate) use messages::{BeginRun, ControlRun, CountRuns, RunToItsEnd, Shutdown};
pub use messages::{ControlError, RunEnd};
pub(crate) use root::Root;
