//! The script host: interprets an untrusted workflow script with Boa in a sandboxed child process.
//!
//! The parent side ([`HostPool`], [`ScriptHost`]) speaks frames of plain data with a child; the child side
//! ([`child`]) holds the realm, the prepared script and the sandbox. No JavaScript value leaves this crate.

mod audit;
pub mod child;
mod error;
mod guard;
mod host;
mod keeper;
mod limits;
mod pool;
mod prepare;
mod protocol;
mod realm;
pub mod sandbox;
mod watchdog;

pub use error::{HostError, LoadError};
pub use host::ScriptHost;
pub use limits::HostLimits;
pub use pool::HostPool;
