//! The world of a simulated run: virtual time, the workers, and the messages between them and the owner.

use super::memory::Memory;
use super::models::{AGENT_TOKENS, end_of};
use super::mutants::Mutant;
use super::orders::{Order, PAUSE_MS};
use super::watch::{Try, Watch};
use futures::FutureExt;
use skein_backend::faulty::{Faults, Plan, Random, faulty};
use skein_common::agent::Usage;
use skein_common::config::CoordinatorSettings;
use skein_common::ports::{Ports, Target};
use skein_common::wire::{
    AttemptEnd, AttemptRef, AttemptReport, Claim, ClaimAnswer, Heartbeat, HeartbeatAnswer, RunningAttempt, decode,
    encode,
};
use skein_common::{AttemptToken, RunId, WorkerId};
use skein_coordinator::Clock;
use skein_coordinator::attempts::Attempts;
use skein_engine::Command;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

const WORKERS: u64 = 2;
const HEARTBEAT_MS: u64 = 5_000;
/// A run that is not over after this virtual time hangs.
const PATIENCE_MS: u64 = 4 * 3600 * 1000;
/// When simulated runs are submitted.
pub(super) const BEGINNING_MS: i64 = 1_800_000_000_000;

/// Virtual time as the owner reads it; it may jump.
#[derive(Debug, Default)]
pub(super) struct SimClock(AtomicI64);

impl SimClock {
    pub fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Something that happens at its time.
#[derive(Debug)]
pub(super) enum Happening {
    /// A timer of the owner of this incarnation.
    Due {
        incarnation: u64,
        command: Command,
    },
    Pull {
        worker: u64,
    },
    Claim {
        worker: u64,
        attempt: AttemptRef,
    },
    Finish {
        number: u64,
    },
    /// A worker hears that a person ends this attempt.
    Interrupt {
        attempt: AttemptRef,
    },
    Cancel {
        attempt: AttemptRef,
    },
    Order {
        order: Order,
    },
    /// Whoever paused the run wants it to go on.
    Resume,
    Consume,
    Beat,
    Look,
}

/// One attempt on a worker.
#[derive(Debug)]
struct Execution {
    worker: u64,
    attempt: AttemptRef,
    token: AttemptToken,
    /// The life of the coordinator's process in which it was claimed.
    life: u64,
    silent: bool,
    cancelled: bool,
}

/// What waits for the owner.
#[derive(Debug)]
pub(super) struct Item {
    pub delivery: Option<u64>,
    pub command: Command,
}

/// Everything but the owner.
pub(super) struct World {
    pub run: RunId,
    pub now_ms: u64,
    pub clock: Arc<SimClock>,
    pub random: Random,
    pub memory: Arc<Memory>,
    /// The workers' side of the ports, which does not crash.
    pub edge: Ports,
    pub attempts: Attempts,
    pub watch: Watch,
    pub inbox: Vec<Item>,
    pub incarnation: u64,
    /// Counts the processes of the coordinator: each begins with an empty table of attempts.
    life: u64,
    pub ended: bool,
    /// What a person tells the run.
    pub order: Option<Order>,
    /// Faults that the world may still bring about beside those of the ports.
    is_rough: bool,
    mutant: Option<Mutant>,
    happenings: BTreeMap<(u64, u64), Happening>,
    happenings_total: u64,
    executions: BTreeMap<u64, Execution>,
    executions_total: u64,
    taken_on: BTreeSet<(u64, AttemptRef)>,
    /// The newest life in which a worker claimed something.
    claimed_in: Option<u64>,
    concurrency: u32,
    base: Instant,
}

impl World {
    pub fn new(seed: u64, run: RunId, is_rough: bool, mutant: Option<Mutant>, limits: (u32, u32)) -> World {
        let mut random = Random::new(seed);
        let memory = Arc::new(Memory::default());
        // Every fourth seed delivers everything twice.
        let twice = if !is_rough {
            0
        } else if seed.is_multiple_of(4) {
            1000
        } else {
            150
        };
        let faults = Faults { task_twice: twice, result_twice: twice, ..Faults::default() };
        let edge = faulty(memory.ports(), Plan { seed: random.bits(), faults, crash: None });
        let mut world = World {
            run,
            now_ms: 0,
            clock: Arc::default(),
            random,
            memory,
            edge,
            attempts: Attempts::new(CoordinatorSettings::default()),
            watch: Watch::new(limits.0, limits.1),
            inbox: Vec::new(),
            incarnation: 0,
            life: 0,
            ended: false,
            order: None,
            is_rough,
            mutant,
            happenings: BTreeMap::new(),
            happenings_total: 0,
            executions: BTreeMap::new(),
            executions_total: 0,
            taken_on: BTreeSet::new(),
            claimed_in: None,
            concurrency: limits.0,
            base: Instant::now(),
        };
        world.set_clock();
        world.after(HEARTBEAT_MS, Happening::Beat);
        world.after(HEARTBEAT_MS, Happening::Look);
        if is_rough
            && mutant.is_none()
            && let Some((wait_ms, order)) = Order::draw(&mut world.random)
        {
            world.order = Some(order);
            world.after(wait_ms, Happening::Order { order });
            if order == Order::Pause {
                world.after(wait_ms + PAUSE_MS, Happening::Resume);
            }
        }
        world
    }

    pub fn now(&self) -> Instant {
        self.base + Duration::from_millis(self.now_ms)
    }

    pub fn after(&mut self, wait_ms: u64, happening: Happening) {
        self.happenings_total += 1;
        self.happenings.insert((self.now_ms + wait_ms, self.happenings_total), happening);
    }

    fn soon(&mut self, within_ms: u64, happening: Happening) {
        let wait_ms = self.random.below(within_ms);
        self.after(wait_ms, happening);
    }

    /// A task was dispatched: some worker looks, or both do.
    pub fn ring(&mut self) {
        let worker = self.random.below(WORKERS);
        self.soon(20, Happening::Pull { worker });
        self.soon(200, Happening::Pull { worker: (worker + 1) % WORKERS });
    }

    /// The owner of the run is another actor in the same process, or another process; gives what is still alive.
    pub fn take_over(&mut self, process_died: bool) -> Vec<AttemptRef> {
        self.incarnation += 1;
        self.inbox.clear();
        self.watch.catch_up(&self.memory, &self.run);
        if process_died {
            self.life += 1;
            self.attempts = Attempts::new(CoordinatorSettings::default());
            self.memory.process_died();
            // Workers of the same process go down with it, others go on and report late.
            let survives = self.random.happens(500);
            self.executions.retain(|_, _| survives);
        }
        let alive = self.attempts.register(&self.run, self.incarnation);
        let lives = |tried: &Try| alive.iter().any(|known| (known.agent, known.attempt) == *tried);
        let down: Vec<Try> = self.watch.running().into_iter().filter(|tried| !lives(tried)).collect();
        self.watch.went_down.extend(down);
        self.after(0, Happening::Consume);
        alive
    }

    /// Brings the next thing about; `false` when the run hangs.
    pub fn step(&mut self) -> bool {
        let Some(((at_ms, _), happening)) = self.happenings.pop_first() else { return false };
        self.now_ms = at_ms.max(self.now_ms);
        self.set_clock();
        match happening {
            Happening::Due { incarnation, command } => {
                if incarnation == self.incarnation {
                    self.inbox.push(Item { delivery: None, command });
                }
            }
            Happening::Pull { worker } => self.pull(worker),
            Happening::Claim { worker, attempt } => self.claim(worker, attempt),
            Happening::Finish { number } => self.finish(number),
            Happening::Cancel { attempt } => self.executions.retain(|_, known| known.attempt != attempt),
            Happening::Interrupt { attempt } => self.end_and_report(&attempt),
            Happening::Order { order } => self.inbox.push(Item { delivery: None, command: order.command() }),
            Happening::Resume => self.resume(),
            Happening::Consume => self.consume(),
            Happening::Beat => self.beat(),
            Happening::Look => self.look(),
        }
        self.now_ms < PATIENCE_MS
    }

    /// Time goes on, but a machine's clock may be wrong by some seconds.
    fn set_clock(&mut self) {
        let skew =
            if self.is_rough && self.random.happens(50) { self.random.below(8000).cast_signed() - 4000 } else { 0 };
        self.clock.set(BEGINNING_MS + self.now_ms.cast_signed() + skew);
    }

    /// A word that a crash swallowed is said again.
    fn resume(&mut self) {
        self.watch.catch_up(&self.memory, &self.run);
        if self.watch.state().is_some_and(|state| state.paused) {
            self.inbox.push(Item { delivery: None, command: Command::Resume });
        }
        self.after(PAUSE_MS, Happening::Resume);
    }

    fn pull(&mut self, worker: u64) {
        let target = Target::Pool(String::from("default"));
        let pulled = self.edge.tasks.pull(&target, 4).now_or_never();
        for delivery in pulled.into_iter().flatten().flatten() {
            let Ok(attempt) = decode::<AttemptRef>(&delivery.task) else { continue };
            // A worker takes a task on once, however often it is delivered.
            if self.taken_on.insert((worker, attempt.clone())) {
                self.soon(30, Happening::Claim { worker, attempt });
            }
        }
    }

    fn claim(&mut self, worker: u64, attempt: AttemptRef) {
        let tried = (attempt.agent, attempt.attempt);
        let spared = self.watch.silenced.iter().any(|(agent, _)| *agent == attempt.agent);
        // An owner that no worker ever claimed from takes its pool for one that nobody serves.
        let is_known = self.claimed_in == Some(self.life);
        let bad_luck = if self.is_rough && !spared && is_known && self.random.happens(50) {
            self.random.below(3)
        } else {
            u64::MAX
        };
        if bad_luck < 3 {
            self.watch.silenced.insert(tried);
        }
        if bad_luck == 0 {
            return; // The request was lost, and the worker dropped the task.
        }
        let claim = Claim { attempt: attempt.clone(), worker: worker_id(worker) };
        let (token, now) = (AttemptToken(self.random.bits()), self.now());
        let Some(ClaimAnswer::Go { token, .. }) = self.attempts.claim(&claim, token, now) else { return };
        self.claimed_in = Some(self.life);
        if bad_luck == 1 || self.executions.values().any(|known| known.token == token) {
            return; // The answer was lost, or this worker carries it out already.
        }
        let unlucky = bad_luck == 2;
        self.executions_total += 1;
        let number = self.executions_total;
        self.watch.carried_out.insert(number, tried);
        let life = self.life;
        self.executions.insert(number, Execution { worker, attempt, token, life, silent: unlucky, cancelled: false });
        self.check_workers();
        let wait_ms = if unlucky { 15_000 + self.random.below(60_000) } else { 10 + self.random.below(3000) };
        self.after(wait_ms, Happening::Finish { number });
    }

    /// Never more than the cap at once on the workers of one owner.
    fn check_workers(&mut self) {
        let counts = |known: &&Execution| known.life == self.life && !known.silent && !known.cancelled;
        let running = self.executions.values().filter(counts).count();
        if running > usize::try_from(self.concurrency).unwrap_or(usize::MAX) {
            self.watch.breaks(format!("{running} agents run on workers, the cap is {}", self.concurrency));
        }
    }

    fn finish(&mut self, number: u64) {
        let Some(execution) = self.executions.remove(&number) else { return };
        if self.mutant == Some(Mutant::LostResult) && self.random.happens(20) {
            return;
        }
        let Some(end) = self.end_of(&execution) else { return };
        self.report(number, execution, end);
    }

    fn report(&mut self, number: u64, execution: Execution, end: AttemptEnd) {
        let report = AttemptReport {
            attempt: execution.attempt,
            token: execution.token,
            worker: worker_id(execution.worker),
            end,
            // The number tells whose report it is; the budget counts output only.
            usage: Usage { output: AGENT_TOKENS, cache_write: number, ..Usage::default() },
            notes: Vec::new(),
            elapsed_ms: 0,
        };
        if let Ok(bytes) = encode(&report) {
            let _handed_over = self.edge.results.publish(&self.run, bytes).now_or_never();
        }
        self.soon(10, Happening::Consume);
        self.soon(20, Happening::Pull { worker: execution.worker });
    }

    fn end_of(&mut self, execution: &Execution) -> Option<AttemptEnd> {
        self.watch.catch_up(&self.memory, &self.run);
        let prompt = self.watch.prompt_of(execution.attempt.agent, &self.memory)?;
        Some(end_of(&prompt, execution.attempt.attempt))
    }

    fn consume(&mut self) {
        let Some(Ok(deliveries)) = self.edge.results.consume(16).now_or_never() else { return };
        for delivery in deliveries {
            let Ok(report) = decode::<AttemptReport>(&delivery.result) else { continue };
            let AttemptRef { agent, mut attempt, .. } = report.attempt;
            if !self.attempts.accepts(&report) {
                let _done = self.edge.results.done(delivery.delivery).now_or_never();
                if self.mutant != Some(Mutant::MissingFence) {
                    continue;
                }
                let running = self.watch.running().into_iter().find(|(number, _)| *number == agent);
                attempt = running.map_or(attempt, |(_, attempt)| attempt);
            }
            let command = Command::Report { agent, attempt, end: report.end, usage: report.usage, notes: report.notes };
            self.inbox.push(Item { delivery: Some(delivery.delivery), command });
        }
        self.soon(20, Happening::Consume);
    }

    fn beat(&mut self) {
        for worker in 0..WORKERS {
            let own = self.executions.values().filter(|known| known.worker == worker && !known.silent);
            let attempts: Vec<RunningAttempt> =
                own.map(|known| RunningAttempt { attempt: known.attempt.clone(), token: known.token }).collect();
            let beat = Heartbeat { worker: worker_id(worker), attempts, info: None, rounds: Vec::new() };
            let now = self.now();
            let HeartbeatAnswer { gone, interrupted, .. } = self.attempts.heartbeat(&beat, now);
            self.executions.retain(|_, known| known.worker != worker || known.silent || !gone.contains(&known.attempt));
            interrupted.iter().for_each(|attempt| self.end_and_report(attempt));
        }
        self.after(HEARTBEAT_MS, Happening::Beat);
    }

    fn look(&mut self) {
        let now = self.now();
        for (attempt, command) in self.attempts.verdicts(now) {
            self.attempts.forget(&attempt, now);
            self.inbox.push(Item { delivery: None, command });
        }
        self.after(HEARTBEAT_MS, Happening::Look);
    }

    /// The owner ends an attempt; the message may be lost, and then the next heartbeat ends it.
    pub fn cancel(&mut self, attempt: AttemptRef) {
        let now = self.now();
        self.attempts.forget(&attempt, now);
        for known in self.executions.values_mut().filter(|known| known.attempt == attempt) {
            known.cancelled = true;
        }
        if !(self.is_rough && self.random.happens(200)) {
            self.soon(50, Happening::Cancel { attempt });
        }
    }

    /// A person ends an attempt; the message may be lost, and then the next heartbeat repeats it.
    pub fn interrupt(&mut self, attempt: AttemptRef) {
        let now = self.now();
        match self.attempts.interrupt(&attempt, now) {
            Some(command) => self.inbox.push(Item { delivery: None, command }),
            None if self.is_rough && self.random.happens(200) => {}
            None => self.soon(50, Happening::Interrupt { attempt }),
        }
    }

    fn end_and_report(&mut self, attempt: &AttemptRef) {
        let is_meant = |known: &Execution| known.attempt == *attempt && !known.silent;
        let number = self.executions.iter().find(|(_, known)| is_meant(known)).map(|(number, _)| *number);
        if let Some((number, execution)) = number.and_then(|number| self.executions.remove_entry(&number)) {
            self.report(number, execution, AttemptEnd::Cancelled);
        }
    }
}

fn worker_id(worker: u64) -> WorkerId {
    WorkerId(format!("worker-{worker}"))
}
