//! The coordinators of a simulated cluster: what each does about workers, as the Fleet actor does it.

use super::mutants::ClusterMutant;
use super::queues::Delivery;
use super::world::{Asked, Happening, WORKERS, World};
use bytes::Bytes;
use skein_common::config::CoordinatorSettings;
use skein_common::ports::Target;
use skein_common::wire::{AttemptRef, AttemptReport, Claim, Heartbeat, ResultsMarker, decode, encode};
use skein_common::{AttemptToken, RunId};
use skein_coordinator::attempts::{Attempts, Consequences, Inheritance, News};
use skein_engine::Command;

/// Results taken from the port at once.
const RESULTS_AT_ONCE: usize = 4;
/// Until the table of workers is read or written.
const TABLE_MS: u64 = 60;
/// A message on its way.
const MESSAGE_MS: u64 = 20;

pub(super) fn pool() -> Target {
    Target::Pool(String::from("default"))
}

/// What waits for a driver.
#[derive(Debug)]
pub(super) struct Item {
    pub delivery: Option<Delivery>,
    pub command: Command,
}

/// A driver of the run in this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incarnation {
    pub number: u64,
    /// Its consumer of results.
    pub consumer: u64,
    pub halted: bool,
    /// Its lease has ended: it answers workers nothing about the run.
    pub deposed: bool,
}

/// The process of a coordinator.
#[derive(Debug)]
pub(super) struct Coordinator {
    pub up: bool,
    pub attempts: Attempts,
    pub live: Option<Incarnation>,
    pub inbox: Vec<Item>,
    pub again: Vec<AttemptRef>,
    inherited: Vec<RunId>,
    reads_table: bool,
}

impl Coordinator {
    /// A new process.
    pub fn new(up: bool) -> Coordinator {
        Coordinator {
            up,
            attempts: Attempts::of_cluster(CoordinatorSettings::default()),
            live: None,
            inbox: Vec::new(),
            again: Vec::new(),
            inherited: Vec::new(),
            reads_table: false,
        }
    }

    pub fn push(&mut self, command: Command) {
        self.inbox.push(Item { delivery: None, command });
    }
}

impl World {
    /// A driver begins here, under a new epoch.
    pub fn begin_incarnation(&mut self, place: usize) -> Incarnation {
        self.epoch += 1;
        self.owner = place;
        self.watch.catch_up(&self.memory, &self.run);
        let incarnation =
            Incarnation { number: self.epoch, consumer: self.results.attach(), halted: false, deposed: false };
        let coordinator = &mut self.coordinators[place];
        coordinator.inbox.clear();
        coordinator.again.clear();
        coordinator.live = Some(incarnation);
        coordinator.attempts.register(&self.run, self.epoch);
        self.soon(MESSAGE_MS, Happening::Consume { place });
        incarnation
    }

    /// The driver here is no more; its process goes on.
    pub fn end_incarnation(&mut self, place: usize) {
        let coordinator = &mut self.coordinators[place];
        coordinator.live = None;
        coordinator.attempts.forget_run(&self.run);
        coordinator.inherited.clear();
    }

    pub fn timer_due(&mut self, place: usize, incarnation: u64, command: Command) {
        if self.coordinators[place].live.is_some_and(|live| live.number == incarnation) {
            self.coordinators[place].push(command);
        }
    }

    /// Whether it speaks for the run.
    fn answers(&self, place: usize) -> bool {
        let is_bold = self.mutant == Some(ClusterMutant::DeposedAnswers);
        self.coordinators[place].live.is_some_and(|live| !live.deposed || is_bold)
    }

    pub fn claim_arrived(&mut self, place: usize, asked: Asked, attempt: AttemptRef) {
        if !self.answers(place) {
            return;
        }
        let claim = Claim { attempt: attempt.clone(), worker: asked.by.id() };
        let (token, now) = (AttemptToken(self.random.bits()), self.now());
        let attempts = &mut self.coordinators[place].attempts;
        let answer = match self.mutant {
            Some(mutant) => mutant.claim(attempts, &claim, token, now),
            None => attempts.claim(&claim, token, now),
        };
        if answer.is_none() {
            self.meet("claims without an answer");
        }
        // Chance does not take the last of many answers.
        let is_late = self.workers[asked.by.node].gives_up_soon(&attempt, self.now_ms);
        if self.reaches(asked.by.node) || (is_late && !self.is_cut(asked.by.node)) {
            self.soon(MESSAGE_MS, Happening::ClaimAnswered { asked, attempt, answer });
        }
    }

    pub fn heartbeat_arrived(&mut self, place: usize, asked: Asked, mut beat: Heartbeat) {
        if !self.coordinators[place].up {
            return;
        }
        let now = self.now();
        if self.coordinators[place].live.is_some() && !self.answers(place) {
            beat.attempts.clear();
            beat.rounds.clear();
        }
        let attempts = &mut self.coordinators[place].attempts;
        if self.mutant == Some(ClusterMutant::HastyRound) {
            beat.rounds.extend(attempts.rounds());
        }
        if self.mutant == Some(ClusterMutant::ImmortalWorker) {
            let named = self.workers[asked.by.node].named.entry(place).or_default();
            named.extend(beat.attempts.drain(..).map(|running| (running.attempt.clone(), running)));
            beat.attempts = named.values().cloned().collect();
        }
        let (answer, mut consequences, news) = attempts.hear(&beat, now);
        if matches!(news, News::Reborn(_)) {
            self.meet("workers that came back new");
            if self.mutant == Some(ClusterMutant::ImmortalWorker) {
                consequences.verdicts.clear();
            }
        }
        if !self.coordinators[place].attempts.take_wanted_again().is_empty() {
            self.redeliver(place);
        }
        self.follow(place, consequences);
        self.send_markers(place);
        if let (Some(info), true) = (beat.info, news != News::Nothing) {
            self.soon(TABLE_MS, Happening::TablePut { info });
        }
        if self.heartbeat_passes(asked.by.node, place) {
            self.workers[asked.by.node].lost_in_a_row[place] = 0;
            self.soon(MESSAGE_MS, Happening::HeartbeatAnswered { asked, answer });
        }
    }

    pub fn look(&mut self, place: usize) {
        if !self.coordinators[place].up {
            return;
        }
        let now = self.now();
        let (silent, consequences) = self.coordinators[place].attempts.end_silence(now);
        for info in silent {
            self.meet("silent workers");
            self.soon(TABLE_MS, Happening::TableStrike { info });
        }
        self.follow(place, consequences);
        self.send_markers(place);
        let attempts = &self.coordinators[place].attempts;
        let (verdicts, again) = (attempts.verdicts(now), attempts.overdue(now));
        self.follow(place, Consequences { verdicts, again });
        self.ask_for_reports(place);
    }

    fn follow(&mut self, place: usize, consequences: Consequences) {
        let now = self.now();
        let again = consequences.again.len();
        let coordinator = &mut self.coordinators[place];
        if coordinator.live.is_none() {
            return;
        }
        // The fence of a deposed owner lets no verdict into the journal; here the chain alone would, as long as the
        // successor has written nothing, and the result may be with the successor.
        let is_deposed = coordinator.live.is_some_and(|live| live.deposed);
        for (attempt, command) in consequences.verdicts.into_iter().filter(|_| !is_deposed) {
            coordinator.push(command);
            coordinator.attempts.forget(&attempt, now);
        }
        coordinator.again.extend(consequences.again);
        for _ in 0..again {
            self.meet("tasks dispatched again");
        }
    }

    /// Sent until they come back: what was published before them is here then.
    fn send_markers(&mut self, place: usize) {
        let now = self.now();
        let World { coordinators, random, .. } = self;
        let markers = coordinators[place].attempts.markers(|| random.bits(), now);
        for (_, marker) in markers {
            if self.goes_wrong(50) {
                continue;
            }
            if let Ok(bytes) = encode(&ResultsMarker { marker }) {
                self.redeliver(place);
                self.results.publish(bytes);
                self.ring_for_results();
            }
        }
    }

    fn ask_for_reports(&mut self, place: usize) {
        for round in self.coordinators[place].attempts.rounds() {
            for node in 0..WORKERS {
                // One that is lost is sent again with the next look.
                if self.reaches(node) && !self.goes_wrong(300) {
                    self.soon(MESSAGE_MS, Happening::Report { node, round });
                }
            }
        }
    }

    /// The journal is read; who may have its attempts is in the table of workers.
    pub fn hand_over(&mut self, place: usize, inheritance: &Inheritance) {
        for _ in &inheritance.attempts {
            self.meet("attempts inherited");
        }
        let now = self.now();
        let coordinator = &mut self.coordinators[place];
        coordinator.attempts.know(inheritance, now);
        coordinator.inherited.push(inheritance.run.clone());
        self.read_table(place);
    }

    fn read_table(&mut self, place: usize) {
        let coordinator = &mut self.coordinators[place];
        if !coordinator.reads_table && !coordinator.inherited.is_empty() {
            coordinator.reads_table = true;
            self.soon(TABLE_MS, Happening::TableRead { place });
        }
    }

    pub fn table_was_read(&mut self, place: usize) {
        if !self.coordinators[place].reads_table {
            return;
        }
        let (round, now) = (self.random.bits(), self.now());
        let workers: Vec<_> = self.table.values().cloned().collect();
        let coordinator = &mut self.coordinators[place];
        coordinator.reads_table = false;
        let inherited = std::mem::take(&mut coordinator.inherited);
        coordinator.attempts.inherit(&inherited, &workers, round, now);
        self.send_markers(place);
        self.ask_for_reports(place);
        self.read_table(place);
    }

    fn redeliver(&mut self, place: usize) {
        if let Some(live) = self.coordinators[place].live {
            self.results.redeliver(live.consumer);
            self.ring_for_results();
        }
    }

    /// Results that wait are on their way to their owner.
    pub fn ring_for_results(&mut self) {
        for place in 0..self.coordinators.len() {
            self.soon(MESSAGE_MS, Happening::Consume { place });
        }
    }

    pub fn consume(&mut self, place: usize) {
        let Some(live) = self.coordinators[place].live else { return };
        let results = self.results.consume(live.consumer, RESULTS_AT_ONCE);
        if !results.is_empty() {
            self.soon(MESSAGE_MS, Happening::Consume { place });
        }
        let mut drained = Vec::new();
        for (delivery, bytes) in results {
            if let Ok(report) = decode::<AttemptReport>(&bytes) {
                self.take_report(place, delivery, report);
            } else if let Ok(ResultsMarker { marker }) = decode(&bytes) {
                self.finish_result(delivery);
                drained.push(marker);
            }
        }
        for marker in drained {
            let consequences = self.coordinators[place].attempts.drained(&self.run, marker);
            self.follow(place, consequences);
        }
    }

    /// Its owner has it in the journal, or does not need it.
    pub fn finish_result(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Queued { consumer, id } => self.results.finish(consumer, id),
            Delivery::Offered { by, number } if !self.goes_wrong(50) => {
                self.soon(MESSAGE_MS, Happening::OfferTaken { by, number });
            }
            Delivery::Offered { .. } => {}
        }
    }

    /// Whoever had the run hears it, and takes it who is certain to have it still.
    pub fn offer_arrived(&mut self, place: usize, delivery: Delivery, report: &Bytes) {
        if !self.answers(place) {
            return self.meet("offers to deposed owners");
        }
        if let Ok(report) = decode(report) {
            self.take_report(place, delivery, report);
        }
    }

    fn take_report(&mut self, place: usize, delivery: Delivery, report: AttemptReport) {
        let coordinator = &mut self.coordinators[place];
        if coordinator.attempts.accepts(&report) {
            let AttemptRef { agent, attempt, .. } = report.attempt;
            let (end, usage, notes) = (report.end, report.usage, report.notes);
            let command = Command::Report { agent, attempt, end, usage, notes };
            coordinator.inbox.push(Item { delivery: Some(delivery), command });
        } else if coordinator.attempts.may_accept_later(&report.attempt) {
            self.meet("results before the workers were heard");
        } else {
            self.meet("stale results");
            self.finish_result(delivery);
        }
    }

    /// An owner ends an attempt.
    pub fn cancel(&mut self, place: usize, epoch: u64, attempt: AttemptRef) {
        let now = self.now();
        self.audit.cancel(attempt.clone());
        self.coordinators[place].attempts.forget(&attempt, now);
        self.broadcast_cancel(epoch, &attempt);
    }

    /// A person ends an attempt.
    pub fn interrupt(&mut self, place: usize, epoch: u64, attempt: AttemptRef) {
        let now = self.now();
        self.audit.interrupt(attempt.clone());
        match self.coordinators[place].attempts.interrupt(&attempt, now) {
            Some(command) => self.coordinators[place].push(command),
            None => self.broadcast_cancel(epoch, &attempt),
        }
    }

    fn broadcast_cancel(&mut self, epoch: u64, attempt: &AttemptRef) {
        for node in 0..WORKERS {
            if self.reaches(node) && !self.goes_wrong(100) {
                self.soon(MESSAGE_MS, Happening::Cancel { node, epoch, attempt: attempt.clone() });
            }
        }
    }

    pub fn attempt(&self, agent: u32, attempt: u32) -> AttemptRef {
        let run: RunId = self.run.clone();
        AttemptRef { run, agent, attempt }
    }
}
