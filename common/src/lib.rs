//! The words that both sides of Skein share: ids, agents and tasks, wire messages, settings, and the ports to the world.
//!
//! Nothing here does anything: no runtime, no file, no clock. The environment is read in [`config`] only.

pub mod agent;
pub mod config;
pub mod ids;
pub mod metrics;
pub mod payload;
pub mod ports;
pub mod readiness;
pub mod run;
pub mod script;
pub mod trace;
pub mod view;
pub mod wire;
pub mod workflow;

pub use ids::{AgentNumber, AttemptNumber, AttemptToken, Epoch, RunId, WorkerId};
pub use payload::{Digest, Payload};
