//! Live: a run of another process as it happens, from the event stream of its API.

mod frames;
mod run;

pub use run::{Live, LiveRun};
