//! Programs of attempts: started and ended by a keeper, a process of its own. `README.md` here is the guide.

mod attempts_lock;
mod client;
mod deadline;
mod descendants;
mod keeper;
mod lineage;
mod protocol;
mod session;
mod sweep;

pub(crate) use attempts_lock::{AttemptsLock, LockOutcome};
pub(crate) use client::{Keeper, KeeperError, KeptChild, Pipes, ProgramStart};
pub(crate) use deadline::Moment;
pub use keeper::keeper_main;
pub use lineage::descends_from_attempt;
pub(crate) use protocol::{Exit, Mark};
