//! The world of a simulated cluster: virtual time, and everything that happens in it.

use super::audit::Audit;
use super::coordinator::Coordinator;
use super::journal::Desk;
use super::mutants::{ClusterMutant, OpenJournal};
use super::queues::{Delivery, ResultQueue, TaskQueue};
use super::troubles::Trouble;
use super::worker::Worker;
use crate::sim::memory::Memory;
use crate::sim::orders::Order;
use crate::sim::watch::Watch;
use crate::sim::world::{BEGINNING_MS, SimClock};
use bytes::Bytes;
use skein_backend::faulty::Random;
use skein_common::RunId;
use skein_common::ports::Journal;
use skein_common::wire::{AttemptRef, ClaimAnswer, Heartbeat, HeartbeatAnswer, WorkerInfo};
use skein_engine::Command;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const WORKERS: usize = 3;
pub(super) const COORDINATORS: usize = 3;
pub(super) const HEARTBEAT_MS: u64 = 5_000;
/// A task that was taken and is not done comes again after so long.
pub(super) const ACK_WAIT_MS: u64 = 25_000;
/// Between two looks of a coordinator for what became of its attempts.
const LOOK_MS: u64 = 1_000;
/// Workers put themselves into the table of workers again and again.
const REGISTER_MS: u64 = 30_000;
/// A run that is not over after this virtual time hangs.
const PATIENCE_MS: u64 = 3600 * 1000;

/// A life of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    pub node: usize,
    pub life: u32,
}

/// One question of a worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub by: Life,
    pub at_ms: u64,
}

/// Something that happens at its time.
#[derive(Debug)]
pub(super) enum Happening {
    /// A timer of the owner of this incarnation.
    Due {
        place: usize,
        incarnation: u64,
        command: Command,
    },
    /// An append reaches the store.
    Append {
        append: u64,
    },
    Look {
        place: usize,
    },
    Consume {
        place: usize,
    },
    TableRead {
        place: usize,
    },
    TablePut {
        info: WorkerInfo,
    },
    TableStrike {
        info: WorkerInfo,
    },
    ClaimArrives {
        place: usize,
        asked: Asked,
        attempt: AttemptRef,
    },
    ClaimAnswered {
        asked: Asked,
        attempt: AttemptRef,
        answer: Option<ClaimAnswer>,
    },
    ClaimAgain {
        by: Life,
        attempt: AttemptRef,
    },
    HeartbeatArrives {
        place: usize,
        asked: Asked,
        beat: Heartbeat,
    },
    HeartbeatAnswered {
        asked: Asked,
        answer: HeartbeatAnswer,
    },
    /// A coordinator wants every worker to say what it runs.
    Report {
        node: usize,
        round: u64,
    },
    Cancel {
        node: usize,
        epoch: u64,
        attempt: AttemptRef,
    },
    Beat {
        by: Life,
        regular: bool,
    },
    Overdue {
        by: Life,
    },
    Register {
        by: Life,
    },
    Pull {
        node: usize,
        regular: bool,
    },
    Finish {
        by: Life,
        number: u64,
    },
    Publish {
        by: Life,
        number: u64,
    },
    Offer {
        place: usize,
        delivery: Delivery,
        report: Bytes,
    },
    OfferTaken {
        by: Life,
        number: u64,
    },
    Queue {
        by: Life,
        number: u64,
    },
    Trouble(Trouble),
    Order {
        order: Order,
    },
    /// Whoever paused the run wants it to go on.
    Resume,
}

/// Everything but the drivers of the run.
pub(super) struct World {
    pub run: RunId,
    pub now_ms: u64,
    pub steps: u64,
    pub clock: Arc<SimClock>,
    pub random: Random,
    pub memory: Arc<Memory>,
    pub desk: Arc<Desk>,
    pub tasks: Arc<TaskQueue>,
    pub results: ResultQueue,
    pub table: BTreeMap<String, WorkerInfo>,
    pub workers: Vec<Worker>,
    pub coordinators: Vec<Coordinator>,
    pub watch: Watch,
    pub audit: Audit,
    pub mutant: Option<ClusterMutant>,
    /// Things go wrong.
    pub is_rough: bool,
    pub order: Option<Order>,
    pub ended: bool,
    /// The newest owner's, and its place.
    pub epoch: u64,
    pub owner: usize,
    /// The places of takeovers that are to begin.
    pub takeovers: Vec<usize>,
    /// What came about, for the test to see that it did.
    pub met: BTreeMap<&'static str, u64>,
    happenings: BTreeMap<(u64, u64), Happening>,
    happenings_total: u64,
    base: Instant,
}

impl World {
    pub fn new(seed: u64, run: RunId, is_rough: bool, mutant: Option<ClusterMutant>, limits: (u32, u32)) -> World {
        let mut world = World {
            run,
            now_ms: 0,
            steps: 0,
            clock: Arc::default(),
            random: Random::new(seed),
            memory: Arc::default(),
            desk: Arc::default(),
            tasks: Arc::default(),
            results: ResultQueue::default(),
            table: BTreeMap::new(),
            workers: (0..WORKERS).map(|_| Worker::new()).collect(),
            coordinators: (0..COORDINATORS).map(|_| Coordinator::new(true)).collect(),
            watch: Watch::new(limits.0, limits.1),
            audit: Audit::new(limits.0),
            mutant,
            is_rough,
            order: None,
            ended: false,
            epoch: 0,
            owner: 0,
            takeovers: vec![0],
            met: BTreeMap::new(),
            happenings: BTreeMap::new(),
            happenings_total: 0,
            base: Instant::now(),
        };
        world.set_clock();
        for node in 0..WORKERS {
            world.start_worker(node);
        }
        for place in 0..COORDINATORS {
            world.soon(LOOK_MS, Happening::Look { place });
        }
        if is_rough {
            world.draw_troubles();
        }
        world
    }

    pub fn now(&self) -> Instant {
        self.base + Duration::from_millis(self.now_ms)
    }

    pub fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    pub fn after(&mut self, wait_ms: u64, happening: Happening) {
        self.happenings_total += 1;
        self.happenings.insert((self.now_ms + wait_ms, self.happenings_total), happening);
    }

    pub fn soon(&mut self, within_ms: u64, happening: Happening) {
        let wait_ms = self.random.below(within_ms);
        self.after(wait_ms, happening);
    }

    /// True so many times in a thousand where things go wrong.
    pub fn goes_wrong(&mut self, permille: u32) -> bool {
        self.is_rough && self.random.happens(permille)
    }

    /// Appends that owners began take their time: most little, some long enough for another owner to come between.
    pub fn send_appends(&mut self) {
        for append in self.desk.take_new() {
            let wait_ms = if self.goes_wrong(30) { self.random.below(3_000) } else { self.random.below(4) };
            self.after(wait_ms, Happening::Append { append });
        }
    }

    /// Brings the next thing about; `false` when the run hangs.
    pub fn step(&mut self) -> bool {
        let Some(((at_ms, _), happening)) = self.happenings.pop_first() else { return false };
        self.now_ms = at_ms.max(self.now_ms);
        self.steps += 1;
        self.set_clock();
        self.bring_about(happening);
        self.now_ms < PATIENCE_MS
    }

    fn bring_about(&mut self, happening: Happening) {
        match happening {
            Happening::Due { place, incarnation, command } => self.timer_due(place, incarnation, command),
            Happening::Append { append } => {
                if self.desk.clone().arrive(append, self.store().as_ref()) {
                    self.meet("appends refused");
                }
            }
            Happening::Look { place } => {
                self.look(place);
                self.after(LOOK_MS, Happening::Look { place });
            }
            Happening::Consume { place } => self.consume(place),
            Happening::TableRead { place } => self.table_was_read(place),
            Happening::TablePut { info } => drop(self.table.insert(info.node.clone(), info)),
            Happening::TableStrike { info } => {
                if self.table.get(&info.node).is_some_and(|known| known.id == info.id) {
                    self.table.remove(&info.node);
                }
            }
            Happening::ClaimArrives { place, asked, attempt } => self.claim_arrived(place, asked, attempt),
            Happening::ClaimAnswered { asked, attempt, answer } => self.claim_answered(asked, &attempt, answer),
            Happening::ClaimAgain { by, attempt } => self.ask_for(by, &attempt),
            Happening::HeartbeatArrives { place, asked, beat } => self.heartbeat_arrived(place, asked, beat),
            Happening::HeartbeatAnswered { asked, answer } => self.heartbeat_answered(asked, &answer),
            Happening::Report { node, round } => self.report_wanted(node, round),
            Happening::Cancel { node, epoch, attempt } => self.cancel_heard(node, epoch, &attempt),
            Happening::Beat { by, regular } => self.beat(by, regular),
            Happening::Overdue { by } => self.end_overdue(by),
            Happening::Register { by } => {
                self.register_worker(by);
                self.after(REGISTER_MS, Happening::Register { by });
            }
            Happening::Pull { node, regular } => self.pull(node, regular),
            Happening::Finish { by, number } => self.finish(by, number),
            Happening::Publish { by, number } => self.publish(by, number),
            Happening::Offer { place, delivery, report } => self.offer_arrived(place, delivery, &report),
            Happening::OfferTaken { by, number } => self.accepted(by, number),
            Happening::Queue { by, number } => self.queue(by, number),
            Happening::Trouble(trouble) => self.trouble(trouble),
            Happening::Order { order } => self.give_order(order),
            Happening::Resume => self.resume(),
        }
    }

    /// Time goes on, but a machine's clock may be wrong by some seconds.
    fn set_clock(&mut self) {
        let skew = if self.goes_wrong(50) { self.random.below(8000).cast_signed() - 4000 } else { 0 };
        self.clock.set(BEGINNING_MS + self.now_ms.cast_signed() + skew);
    }
}

impl World {
    /// Where appends arrive.
    fn store(&self) -> Arc<dyn Journal> {
        match self.mutant {
            Some(ClusterMutant::OpenJournal) => Arc::new(OpenJournal(self.memory.clone())),
            _ => self.memory.clone(),
        }
    }

    /// A task was dispatched: some worker looks.
    pub fn ring_for_tasks(&mut self) {
        let node = self.random.index(WORKERS);
        self.soon(20, Happening::Pull { node, regular: false });
    }
}
