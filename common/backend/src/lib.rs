//! Adapters of the ports: `embedded` for one machine; `nats` for a cluster; `conformance`, the suite that every backend
//! passes; `faulty`, which makes any of them as bad as its contracts allow. Also who a process is on its machine: `node`.
//!
//! A backend carries bytes and ids and never reads an event.

pub mod conformance;
pub mod embedded;
pub mod faulty;
pub mod nats;
pub mod node;
mod packed;
