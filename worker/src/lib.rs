//! A worker: pulls tasks, carries them out through runners, reports how they ended, and leaves no process behind.
//!
//! [`start`] is the way in; `process/README.md` tells how programs are started and ended.

mod attempt;
mod claim;
pub mod definition;
mod drain;
mod environment;
mod heartbeat;
pub mod host_pattern;
mod link;
mod listen;
mod messages;
mod metrics;
mod outbox;
mod places;
mod process;
mod registration;
mod runner;
mod worker;
mod worktree;

pub use messages::Observed;
pub use metrics::Metrics;
pub use process::{descends_from_attempt, keeper_main};
pub use worker::{WorkerConfig, WorkerError, WorkerHandle, start};
pub use worktree::{forget_worktrees, settle_worktrees};
