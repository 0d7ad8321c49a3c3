//! The ports that carry messages, on real servers.

mod cluster;
mod conformance;
