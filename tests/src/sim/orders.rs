//! Orders: what a person tells a run while it runs, at a moment that the seed decides on.
//!
//! A new command of a person goes here: a variant, its [`Command`], and how a run may end because of it.

use super::Ended;
use skein_backend::faulty::Random;
use skein_common::run::RunStatus;
use skein_engine::Command;

/// One run of so many is told something.
const ONE_OF: u64 = 5;
/// Most simulated runs last longer than this, ms of virtual time.
const WITHIN_MS: u64 = 12_000;

/// What a person can tell a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Stop,
}

impl Order {
    const ALL: [Order; 1] = [Order::Stop];

    /// The order of this world and its moment, if there is one.
    pub(super) fn draw(random: &mut Random) -> Option<(u64, Order)> {
        if random.below(ONE_OF) > 0 {
            return None;
        }
        let order = Order::ALL[random.index(Order::ALL.len())];
        Some((random.below(WITHIN_MS), order))
    }

    pub(super) fn command(self) -> Command {
        match self {
            Order::Stop => Command::Stop,
        }
    }

    /// Whether a run that was told so may end like this. An order that a crash swallowed changes nothing: whoever gave
    /// it got no answer.
    #[must_use]
    pub fn explains(self, ended: &Ended, faultless: &Ended) -> bool {
        match self {
            Order::Stop => {
                // One that had returned already keeps its result while the rest of it is wound down.
                let result_fits = ended.result.is_none() || ended.result == faultless.result;
                ended == faultless || (ended.status == RunStatus::Stopped && result_fits && ended.error.is_none())
            }
        }
    }
}
