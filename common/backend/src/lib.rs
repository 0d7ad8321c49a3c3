//! Adapters of the ports: `embedded` for one machine; and `conformance`, the suite that every backend passes.
//!
//! A backend carries bytes and ids and never reads an event.

pub mod conformance;
pub mod embedded;
