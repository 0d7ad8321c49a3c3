//! Workers: who has been heard of, as what, and when.

use crate::standing_gauges::WorkerCounts;
use skein_common::WorkerId;
use skein_common::ports::Target;
use skein_common::wire::WorkerInfo;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Earlier lives of a node that are remembered: a heartbeat is not late for longer than a few starts take.
const ENDED_MAX: usize = 8;

/// The workers of a cluster, by node.
#[derive(Debug, Default)]
pub struct Workers {
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    info: WorkerInfo,
    /// Of the last heartbeat, or of when it was read of in the table.
    at: Instant,
    /// Its earlier lives, newest last, of which heartbeats may still be on their way.
    ended: Vec<WorkerId>,
}

impl Known {
    fn new(info: &WorkerInfo, at: Instant) -> Known {
        Known { info: info.clone(), at, ended: Vec::new() }
    }
}

/// What is new about a worker that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Nothing,
    /// It was not known, or not so: the table of workers has to have it.
    Changed,
    /// It was started again: this earlier life of it has ended, with every attempt.
    Reborn(WorkerId),
}

impl Workers {
    /// A heartbeat came.
    pub fn hear(&mut self, info: &WorkerInfo, now: Instant) -> News {
        match self.known.get_mut(&info.node) {
            Some(known) if known.info == *info => {
                known.at = now;
                News::Nothing
            }
            Some(known) if known.info.id != info.id => {
                let earlier = std::mem::replace(&mut known.info, info.clone()).id;
                known.at = now;
                known.ended.push(earlier.clone());
                let forgotten = known.ended.len().saturating_sub(ENDED_MAX);
                known.ended.drain(..forgotten);
                News::Reborn(earlier)
            }
            Some(known) => {
                (known.info, known.at) = (info.clone(), now);
                News::Changed
            }
            None => {
                self.known.insert(info.node.clone(), Known::new(info, now));
                News::Changed
            }
        }
    }

    /// Whether its node is known to have begun a newer life: what it says was said before it ended.
    #[must_use]
    pub fn has_ended(&self, info: &WorkerInfo) -> bool {
        self.known.get(&info.node).is_some_and(|known| known.ended.contains(&info.id))
    }

    /// The table of workers has it; it has a deadline to be heard in.
    pub fn learn(&mut self, info: &WorkerInfo, now: Instant) {
        self.known.entry(info.node.clone()).or_insert_with(|| Known::new(info, now));
    }

    /// Whether a newer life of its node was heard: this one has ended, or somebody else speaks in its name.
    #[must_use]
    pub fn is_superseded(&self, worker: &WorkerId) -> bool {
        self.known.values().any(|known| known.ended.contains(worker))
    }

    /// Takes out those that were not heard of for so long.
    pub fn take_silent(&mut self, now: Instant, deadline: Duration) -> Vec<WorkerInfo> {
        let is_silent = |known: &mut Known| now.duration_since(known.at) >= deadline;
        self.known.extract_if(.., |_, known| is_silent(known)).map(|(_, known)| known.info).collect()
    }

    /// How many stand where; those that were not heard of for so long are suspect.
    #[must_use]
    pub fn count(&self, now: Instant, suspect_after: Duration) -> WorkerCounts {
        let mut counts = WorkerCounts::default();
        for known in self.known.values() {
            let count = if now.duration_since(known.at) >= suspect_after {
                &mut counts.suspect
            } else if known.info.draining {
                &mut counts.draining
            } else {
                &mut counts.working
            };
            *count += 1;
        }
        counts
    }

    /// Whether one of them takes new tasks of this target.
    #[must_use]
    pub fn serve(&self, target: &Target) -> bool {
        self.known.values().any(|known| !known.info.draining && serves(&known.info, target))
    }

    /// The node of this life of a worker.
    #[must_use]
    pub fn node_of(&self, worker: &WorkerId) -> Option<&str> {
        self.known.iter().find(|(_, known)| known.info.id == *worker).map(|(node, _)| node.as_str())
    }
}

/// Whether this worker takes tasks of the target.
#[must_use]
pub fn serves(info: &WorkerInfo, target: &Target) -> bool {
    match target {
        Target::Pool(pool) => info.pools.contains(pool),
        Target::Host(host) => info.hosts.contains(host),
    }
}
