//! Three servers.
