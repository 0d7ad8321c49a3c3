//! The conformance suite: each sentence of a port's contract is a check, and every backend passes all of them.
//!
//! A backend implements [`World`] and names it: `skein_backend::conformance_suite!(MyWorld::fresh);` makes one test of
//! each check. Checks tolerate what the contracts allow (an unknown outcome, a second delivery), so they hold for a
//! backend that loses, delays and repeats, too.

pub mod blobs;
pub mod control;
pub mod directory;
pub mod feed;
pub mod journal;
pub mod leases;
pub mod results;
pub mod tasks;

mod suite;
mod world;

pub use world::{Checked, World, eventually, new_run, within_deadline};
