//! The processes of a cluster: how they get to its NATS servers, and how a coordinator and a worker live and end.

mod coordinator;
mod join;
mod worker;

pub use coordinator::coordinate;
pub use join::{ending, join_at_once};
pub use worker::work;
