//! A worker with real processes, and ports in memory in place of a cluster.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bench;
mod cluster;
mod command;
mod delivery;
mod hosts;
mod metrics;
mod outbox;
mod ports;
mod stall;
mod support;
mod worker;
mod worktree;
