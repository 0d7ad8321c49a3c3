//! A decorator over any ports that loses, delays, repeats and crashes by a seeded plan.
//!
//! What it does stays within the contracts, so whoever works on it must come to the same end. Whoever makes a [`Plan`]
//! prints its seed.

mod journal;
mod messages;
mod plan;
mod random;
mod stores;
#[cfg(test)]
mod tests;

pub use plan::{Crash, Faults, Plan};
pub use random::Random;

use plan::Dice;
use skein_common::ports::Ports;
use std::sync::Arc;

/// The ports with the faults of this plan. Leases and shards are untouched: a fault there is a
/// process that does not start.
#[must_use]
pub fn faulty(ports: Ports, plan: Plan) -> Ports {
    let dice = Arc::new(Dice::new(plan));
    Ports {
        journal: Arc::new(journal::FaultyJournal { inner: ports.journal, dice: dice.clone() }),
        leases: ports.leases,
        tasks: Arc::new(messages::FaultyTasks { inner: ports.tasks, dice: dice.clone() }),
        results: Arc::new(messages::FaultyResults::new(ports.results, dice.clone())),
        control: Arc::new(messages::FaultyControl { inner: ports.control, dice: dice.clone() }),
        steering: ports.steering,
        shards: ports.shards,
        feed: Arc::new(messages::FaultyFeed { inner: ports.feed, dice: dice.clone() }),
        blobs: Arc::new(stores::FaultyBlobs { inner: ports.blobs, dice: dice.clone() }),
        directory: Arc::new(stores::FaultyDirectory { inner: ports.directory, dice }),
    }
}
