//! The backend on real servers.

mod connecting;
