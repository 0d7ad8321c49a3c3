//! Troubles: what goes wrong with the processes of a cluster, and what people ask of its run.

use super::coordinator::{Coordinator, Incarnation};
use super::world::{Happening, WORKERS, World};
use crate::sim::orders::{Order, PAUSE_MS};
use skein_common::AgentNumber;

/// Incarnations that may meet trouble; fewer than a run may have without getting further.
pub(super) const ROUGH_INCARNATIONS: u64 = 4;
const WORKER_TROUBLES: u64 = 4;
/// A lease that nobody renews is free after so long.
const LEASE_MS: u64 = 3_000;
/// A deposed owner notices within so long.
const DEPOSED_MS: u64 = 4_000;
/// A trouble that would be too much waits.
const TROUBLE_AGAIN_MS: u64 = 700;
/// Whoever finds no owner asks again.
const ORDER_AGAIN_MS: u64 = 300;

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    Kill {
        node: usize,
        for_ms: u64,
    },
    Start {
        node: usize,
    },
    Cut {
        node: usize,
        for_ms: u64,
    },
    /// Somebody else takes the run over while its owner goes on.
    Depose {
        incarnation: u64,
    },
    /// The owner gives the run up.
    HandOver {
        incarnation: u64,
    },
    Halt {
        place: usize,
        incarnation: u64,
    },
    /// The process of a coordinator is there again.
    Up {
        place: usize,
    },
    TakeOver {
        place: Option<usize>,
        after: u64,
    },
}

impl World {
    /// Workers get into trouble one after the other, so that there is always one that works.
    pub fn draw_troubles(&mut self) {
        let mut at_ms = 0;
        for _ in 0..self.random.below(WORKER_TROUBLES) {
            let node = self.random.index(WORKERS);
            at_ms += self.random.below(6_000);
            let (trouble, for_ms) = if self.random.happens(500) {
                let for_ms = 100 + self.random.below(5_000);
                (Trouble::Kill { node, for_ms }, for_ms)
            } else {
                let for_ms = 1_000 + self.random.below(40_000);
                (Trouble::Cut { node, for_ms }, for_ms)
            };
            self.after(at_ms, Happening::Trouble(trouble));
            at_ms += for_ms;
        }
        if let Some((wait_ms, order)) = Order::draw(&mut self.random) {
            self.order = Some(order);
            self.after(wait_ms, Happening::Order { order });
            if order == Order::Pause {
                self.after(wait_ms + PAUSE_MS, Happening::Resume);
            }
        }
    }

    /// An owner that will not live to the end, unless it crashes first.
    pub fn draw_deposition(&mut self, incarnation: u64) {
        let at_ms = 20 + self.random.below(5_000);
        let trouble = match self.random.below(3) {
            0 => Trouble::Depose { incarnation },
            1 => Trouble::HandOver { incarnation },
            _ => return,
        };
        self.after(at_ms, Happening::Trouble(trouble));
    }

    pub fn trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Kill { node, .. } | Trouble::Cut { node, .. } if self.is_spared(node) => {
                self.after(TROUBLE_AGAIN_MS, Happening::Trouble(trouble));
            }
            Trouble::Kill { node, for_ms } => {
                self.kill_worker(node);
                self.after(for_ms, Happening::Trouble(Trouble::Start { node }));
            }
            Trouble::Start { node } => self.start_worker(node),
            Trouble::Cut { node, for_ms } => self.cut_worker(node, for_ms),
            Trouble::Depose { incarnation } if self.is_owner(incarnation) => {
                self.meet("owners deposed");
                let place = self.owner;
                self.depose(place, incarnation);
                self.soon(DEPOSED_MS, Happening::Trouble(Trouble::Halt { place, incarnation }));
                self.take_over_at(None);
            }
            Trouble::HandOver { incarnation } if self.is_owner(incarnation) => {
                self.meet("owners that gave up the run");
                self.halt(self.owner, incarnation);
                let wait_ms = self.random.below(100);
                self.take_over_after(wait_ms, None);
            }
            // There is another owner already.
            Trouble::Depose { .. } | Trouble::HandOver { .. } => {}
            Trouble::Halt { place, incarnation } => self.halt(place, incarnation),
            Trouble::Up { place } => self.coordinators[place].up = true,
            Trouble::TakeOver { place, after } => {
                if after == self.epoch && self.takeovers.is_empty() {
                    self.take_over_at(place);
                }
            }
        }
    }

    /// An agent has two retries, of which the model may take one: no second trouble befalls it. Nor is there any for a
    /// worker that has some.
    fn is_spared(&self, node: usize) -> bool {
        let worker = &self.workers[node];
        let befallen = |agent: AgentNumber| self.watch.silenced.iter().any(|(known, _)| *known == agent);
        !worker.up || self.is_cut(node) || worker.agents().any(befallen)
    }

    fn is_owner(&self, incarnation: u64) -> bool {
        self.epoch == incarnation
            && self.takeovers.is_empty()
            && self.coordinators[self.owner].live.is_some_and(|live| live.number == incarnation)
    }

    fn depose(&mut self, place: usize, incarnation: u64) {
        if let Some(live) = self.coordinators[place].live.as_mut().filter(|live| live.number == incarnation) {
            live.deposed = true;
        }
    }

    fn halt(&mut self, place: usize, incarnation: u64) {
        if let Some(live) = self.coordinators[place].live.as_mut().filter(|live| live.number == incarnation) {
            live.halted = true;
        }
    }

    /// Unless somebody else did so by then.
    pub fn take_over_after(&mut self, wait_ms: u64, place: Option<usize>) {
        let after = self.epoch;
        self.after(wait_ms, Happening::Trouble(Trouble::TakeOver { place, after }));
    }

    fn take_over_at(&mut self, place: Option<usize>) {
        let is_free = |place: &usize| self.coordinators[*place].up && self.coordinators[*place].live.is_none();
        let free: Vec<usize> = (0..self.coordinators.len()).filter(is_free).collect();
        match place.filter(|place| free.contains(place)).or_else(|| free.get(self.random.index(free.len())).copied()) {
            Some(place) => self.takeovers.push(place),
            None => self.take_over_after(100, None),
        }
    }

    /// The process died: nothing is left of it, and its lease is free when it ends, or when the process is back.
    pub fn coordinator_died(&mut self, place: usize, incarnation: Incarnation) {
        self.meet("coordinators that died");
        self.coordinators[place] = Coordinator::new(false);
        let down_ms = 100 + self.random.below(6_000);
        self.after(down_ms, Happening::Trouble(Trouble::Up { place }));
        if self.epoch == incarnation.number {
            let wait_ms = if down_ms < LEASE_MS { down_ms + 10 } else { LEASE_MS + self.random.below(1_000) };
            self.take_over_after(wait_ms, (down_ms < LEASE_MS).then_some(place));
        }
    }

    pub fn give_order(&mut self, order: Order) {
        match self.coordinators[self.owner].live {
            Some(_) => self.coordinators[self.owner].push(order.command()),
            None => self.after(ORDER_AGAIN_MS, Happening::Order { order }),
        }
    }

    /// A word that a crash swallowed is said again.
    pub fn resume(&mut self) {
        self.watch.catch_up(&self.memory, &self.run);
        if self.watch.state().is_some_and(|state| state.paused) && self.coordinators[self.owner].live.is_some() {
            self.coordinators[self.owner].push(skein_engine::Command::Resume);
        }
        self.after(PAUSE_MS, Happening::Resume);
    }
}
