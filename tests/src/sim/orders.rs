//! Orders: what a person tells a run while it runs, at a moment that the seed decides on.
//!
//! A new command of a person goes here: a variant, its [`Command`], and how a run may end because of it.

use super::Ended;
use skein_backend::faulty::Random;
use skein_common::AgentNumber;
use skein_common::run::RunStatus;
use skein_engine::Command;

/// One run of so many is told something.
const ONE_OF: u64 = 5;
/// Most simulated runs last longer than this, ms of virtual time.
const WITHIN_MS: u64 = 12_000;

/// Agents are drawn from the first so many, of which every model has some.
const AGENTS: u64 = 8;
/// How long a person lets a run wait at least before it goes on, ms of virtual time.
pub(super) const PAUSE_MS: u64 = 10_000;

/// What a person can tell a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Stop,
    /// Held, and let go on later.
    Pause,
    StopAgent(AgentNumber),
    RestartAgent(AgentNumber),
    SkipAgent(AgentNumber),
}

impl Order {
    const KINDS: u64 = 5;

    /// The order of this world and its moment, if there is one.
    pub(super) fn draw(random: &mut Random) -> Option<(u64, Order)> {
        if random.below(ONE_OF) > 0 {
            return None;
        }
        let agent = 1 + u32::try_from(random.below(AGENTS)).unwrap_or(0);
        let order = match random.below(Order::KINDS) {
            0 => Order::Stop,
            1 => Order::Pause,
            2 => Order::StopAgent(agent),
            3 => Order::RestartAgent(agent),
            _ => Order::SkipAgent(agent),
        };
        Some((random.below(WITHIN_MS), order))
    }

    pub(super) fn command(self) -> Command {
        match self {
            Order::Stop => Command::Stop,
            Order::Pause => Command::Pause,
            Order::StopAgent(agent) => Command::StopAgent { agent },
            Order::RestartAgent(agent) => Command::RestartAgent { agent },
            Order::SkipAgent(agent) => Command::SkipAgent { agent },
        }
    }

    /// Whether a run that was told so may end like this. An order that a crash swallowed changes nothing: whoever gave
    /// it got no answer.
    #[must_use]
    pub fn explains(self, ended: &Ended, faultless: &Ended, has_budget: bool) -> bool {
        match self {
            Order::Stop => {
                // One that had returned already keeps its result while the rest of it is wound down.
                let result_fits = ended.result.is_none() || ended.result == faultless.result;
                ended == faultless || (ended.status == RunStatus::Stopped && result_fits && ended.error.is_none())
            }
            // A result does not change by it; but it takes time, of which a run may have too little.
            Order::Pause => ended == faultless || is_timed_out(ended),
            // Nor by this; but the attempt that was ended has used tokens too, so a budget is spent with fewer agents.
            Order::RestartAgent(_) => {
                let is_shorter = has_budget && ended.status == faultless.status && ended.agents <= faultless.agents;
                ended == faultless || is_timed_out(ended) || is_shorter
            }
            // One value is null: what the script makes of that is its own business, but nobody stopped the run.
            Order::StopAgent(_) | Order::SkipAgent(_) => ended.status != RunStatus::Stopped,
        }
    }
}

fn is_timed_out(ended: &Ended) -> bool {
    ended.error.as_ref().is_some_and(|error| error.kind == "timeout")
}
