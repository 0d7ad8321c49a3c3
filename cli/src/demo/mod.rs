//! The sample fleet of `skein demo`: host folders with logs in which one incident is planted, so that the example
//! workflow has something to find on any machine, without a network and without a model.
//!
//! The incident is that of `examples/nginx-502`: a Spring Boot service whose heap stays full stops for seconds in Full
//! GC after Full GC, and nginx answers 502. Around it stand events that look like a cause and are none.

mod clock;
mod fleet;
mod nginx;
mod random;
mod service;
mod support;

pub use fleet::{FleetSettings, Planted, generate};
