//! The workers of a simulated cluster: processes of their own that outlive coordinators. They keep to the rules of the
//! worker's Link, Attempt and Outbox.

use super::audit::End;
use super::queues::Delivery;
use super::world::{Asked, COORDINATORS, HEARTBEAT_MS, Happening, Life, World};
use bytes::Bytes;
use skein_common::agent::Usage;
use skein_common::wire::{
    AttemptEnd, AttemptRef, AttemptReport, ClaimAnswer, Heartbeat, HeartbeatAnswer, RunningAttempt, WorkerInfo, decode,
    encode,
};
use skein_common::{AgentNumber, AttemptToken, Epoch, WorkerId};
use std::collections::BTreeMap;

const SLOTS: usize = 4;
/// A claim that nobody answers is asked again for so long.
const CLAIM_WAIT_MS: u64 = 10_000;
/// Between two claims of an attempt that nobody answered, at first and at most.
const CLAIM_AGAIN_MS: (u64, u64) = (100, 1_000);
/// A request that nobody answers fails after so long.
const REQUEST_MS: u64 = 2_000;
/// Several reasons for a heartbeat within this moment make one.
const MOMENT_MS: u64 = 50;
/// With one more, an attempt would not be extended before its deadline at the worker.
const LOST_IN_A_ROW: u32 = 1;
const PUBLISH_AGAIN_MS: u64 = 300;
const PULL_MS: u64 = 1_000;
const MESSAGE_MS: u64 = 20;
/// An owner that does not answer an offer in this time is passed by.
const OFFER_MS: u64 = 1_000;
/// Results of a thousand that are offered first; the others go where nobody owned the run when they were ready.
const OFFERED: u32 = 700;
/// Messages of a thousand that take long.
const SLOW_CLAIMS: u32 = 30;
const SLOW_HEARTBEATS: u32 = 250;
/// A message that takes long, at most.
const SLOW_MESSAGE_MS: u64 = 3_000;

/// What a worker does about one attempt.
#[derive(Debug)]
enum Stage {
    Claiming { asked_ms: Option<u64>, give_up_ms: u64, pause_ms: u64 },
    Running(Running),
}

#[derive(Debug)]
struct Running {
    number: u64,
    token: AttemptToken,
    deadline_ms: u64,
    extended_ms: u64,
    /// It is over, and its report on its way.
    report: Option<Bytes>,
}

#[derive(Debug)]
struct Entry {
    delivery: u64,
    stage: Stage,
}

/// One node, life after life.
#[derive(Debug)]
pub(super) struct Worker {
    pub life: u32,
    pub up: bool,
    /// Nothing reaches it, and nothing of it reaches others, until then.
    pub cut_until_ms: u64,
    newest_epoch: Epoch,
    entries: BTreeMap<AttemptRef, Entry>,
    rounds: Vec<u64>,
    beat_is_near: bool,
    /// Heartbeats to each coordinator since the last one that it answered.
    pub lost_in_a_row: [u32; COORDINATORS],
    /// Mutant: what each coordinator heard of all its lives.
    pub named: BTreeMap<usize, BTreeMap<AttemptRef, RunningAttempt>>,
    /// Reports on disk, which outlive the process.
    kept: BTreeMap<u64, Bytes>,
}

/// Why a worker ends an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Cancelled,
    Disowned,
    Abandoned,
}

impl Life {
    pub fn id(self) -> WorkerId {
        WorkerId(format!("node-{}.{}", self.node, self.life))
    }

    fn info(self) -> WorkerInfo {
        WorkerInfo {
            id: self.id(),
            node: format!("node-{}", self.node),
            pools: vec![String::from("default")],
            hosts: Vec::new(),
            slots: u32::try_from(SLOTS).unwrap_or(u32::MAX),
            labels: BTreeMap::new(),
            draining: false,
            version: String::new(),
        }
    }
}

impl Worker {
    pub fn new() -> Worker {
        Worker {
            life: 0,
            up: false,
            cut_until_ms: 0,
            newest_epoch: 0,
            entries: BTreeMap::new(),
            rounds: Vec::new(),
            beat_is_near: false,
            lost_in_a_row: [0; COORDINATORS],
            named: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Whether a newer owner has been heard of; remembers this one if not.
    fn is_stale(&mut self, epoch: Epoch) -> bool {
        let is_stale = epoch < self.newest_epoch;
        self.newest_epoch = self.newest_epoch.max(epoch);
        is_stale
    }

    fn running(&self) -> impl Iterator<Item = (&AttemptRef, &Running)> {
        self.entries.iter().filter_map(|(attempt, entry)| match &entry.stage {
            Stage::Running(running) => Some((attempt, running)),
            Stage::Claiming { .. } => None,
        })
    }

    fn running_mut(&mut self, attempt: &AttemptRef) -> Option<&mut Running> {
        match &mut self.entries.get_mut(attempt)?.stage {
            Stage::Running(running) => Some(running),
            Stage::Claiming { .. } => None,
        }
    }

    /// Whether it will not ask often for this attempt any more.
    pub fn gives_up_soon(&self, attempt: &AttemptRef, now_ms: u64) -> bool {
        match self.entries.get(attempt).map(|entry| &entry.stage) {
            Some(Stage::Claiming { give_up_ms, .. }) => *give_up_ms < now_ms + CLAIM_WAIT_MS / 2,
            Some(Stage::Running(_)) | None => false,
        }
    }

    /// The agents of which it has something in hand.
    pub fn agents(&self) -> impl Iterator<Item = AgentNumber> {
        self.entries.keys().map(|attempt| attempt.agent)
    }

    fn attempt_of(&self, number: u64) -> Option<AttemptRef> {
        self.running().find(|(_, running)| running.number == number).map(|(attempt, _)| attempt.clone())
    }
}

impl World {
    /// A message to or from this worker gets through.
    pub fn reaches(&mut self, node: usize) -> bool {
        !self.is_cut(node) && !self.goes_wrong(30)
    }

    /// A heartbeat or its answer gets through. So many in a row as cost an attempt are not lost by chance.
    pub fn heartbeat_passes(&mut self, node: usize, place: usize) -> bool {
        let passes = self.reaches(node);
        let lost = &mut self.workers[node].lost_in_a_row[place];
        *lost = if passes { *lost } else { *lost + 1 };
        passes || (*lost > LOST_IN_A_ROW && !self.is_cut(node))
    }

    pub fn is_cut(&self, node: usize) -> bool {
        self.now_ms < self.workers[node].cut_until_ms
    }

    fn lives(&self, by: Life) -> bool {
        self.workers[by.node].up && self.workers[by.node].life == by.life
    }

    /// What an earlier life kept is published before the first heartbeat.
    pub fn start_worker(&mut self, node: usize) {
        let worker = &mut self.workers[node];
        let (life, kept) = (worker.life + 1, std::mem::take(&mut worker.kept));
        let named = std::mem::take(&mut worker.named);
        self.workers[node] = Worker { life, up: true, kept, named, ..Worker::new() };
        let by = Life { node, life };
        self.register_worker(by);
        self.after(30_000, Happening::Register { by });
        let kept: Vec<u64> = self.workers[node].kept.keys().copied().collect();
        kept.into_iter().for_each(|number| self.publish(by, number));
        self.beat(by, true);
        if life == 1 {
            self.soon(PULL_MS, Happening::Pull { node, regular: true });
        }
    }

    pub fn register_worker(&mut self, by: Life) {
        if self.lives(by) && !self.is_cut(by.node) {
            self.table.insert(by.info().node, by.info());
        }
    }

    /// Its process is no more, and with it all that was not on disk.
    pub fn kill_worker(&mut self, node: usize) {
        self.meet("workers killed");
        self.excuse_all(node);
        let worker = &mut self.workers[node];
        worker.up = false;
        for entry in std::mem::take(&mut worker.entries).into_values() {
            if let Stage::Running(running) = entry.stage {
                self.audit.end(running.number, End::Killed);
            }
        }
    }

    pub fn cut_worker(&mut self, node: usize, for_ms: u64) {
        self.meet("workers cut off");
        self.excuse_all(node);
        self.workers[node].cut_until_ms = self.now_ms + for_ms;
    }

    fn excuse_all(&mut self, node: usize) {
        for attempt in self.workers[node].entries.keys() {
            self.watch.silenced.insert((attempt.agent, attempt.attempt));
        }
        for (_, running) in self.workers[node].running() {
            self.audit.excuse(running.number);
        }
    }

    pub fn pull(&mut self, node: usize, regular: bool) {
        if regular {
            self.after(PULL_MS, Happening::Pull { node, regular });
        }
        let (free, by) = {
            let worker = &self.workers[node];
            if !worker.up || self.is_cut(node) {
                return;
            }
            (SLOTS.saturating_sub(worker.entries.len()), Life { node, life: worker.life })
        };
        for task in self.tasks.take(self.now_ms, free) {
            let Ok((attempt, epoch)) = decode::<(AttemptRef, Epoch)>(&task.task) else { continue };
            let worker = &mut self.workers[node];
            match worker.entries.get(&attempt).map(|entry| &entry.stage) {
                Some(Stage::Running(_)) => self.finish_task(task.delivery),
                // While nobody has answered the claim it must not be marked done.
                Some(Stage::Claiming { .. }) => {}
                None if epoch < worker.newest_epoch => self.finish_task(task.delivery),
                None => self.take_on(by, task.delivery, attempt, epoch),
            }
        }
    }

    fn take_on(&mut self, by: Life, delivery: u64, attempt: AttemptRef, epoch: Epoch) {
        let give_up_ms = self.now_ms + CLAIM_WAIT_MS;
        let worker = &mut self.workers[by.node];
        let _checked = worker.is_stale(epoch);
        let stage = Stage::Claiming { asked_ms: None, give_up_ms, pause_ms: CLAIM_AGAIN_MS.0 };
        worker.entries.insert(attempt.clone(), Entry { delivery, stage });
        self.ask_for(by, &attempt);
    }

    fn finish_task(&mut self, delivery: u64) {
        if !self.goes_wrong(30) {
            self.tasks.finish(delivery);
        }
    }

    /// Asks whoever serves the run, as often as nobody answers.
    pub fn ask_for(&mut self, by: Life, attempt: &AttemptRef) {
        if !self.lives(by) {
            return;
        }
        let now_ms = self.now_ms;
        let Some(entry) = self.workers[by.node].entries.get_mut(attempt) else { return };
        let Stage::Claiming { asked_ms, give_up_ms, .. } = &mut entry.stage else { return };
        if *give_up_ms <= now_ms {
            // Not marked done, so it is delivered again.
            self.meet("claims given up");
            // Its owner may have let it start, and that answer was lost.
            self.watch.silenced.insert((attempt.agent, attempt.attempt));
            self.workers[by.node].entries.remove(attempt);
            return;
        }
        *asked_ms = Some(now_ms);
        let asked = Asked { by, at_ms: now_ms };
        self.after(REQUEST_MS, Happening::ClaimAnswered { asked, attempt: attempt.clone(), answer: None });
        for place in 0..self.coordinators.len() {
            if self.coordinators[place].live.is_some() && self.reaches(by.node) {
                let wait_ms = self.message_ms(SLOW_CLAIMS);
                self.after(wait_ms, Happening::ClaimArrives { place, asked, attempt: attempt.clone() });
            }
        }
    }

    fn message_ms(&mut self, slow_permille: u32) -> u64 {
        let within_ms = if self.goes_wrong(slow_permille) { SLOW_MESSAGE_MS } else { MESSAGE_MS };
        self.random.below(within_ms)
    }

    pub fn claim_answered(&mut self, asked: Asked, attempt: &AttemptRef, answer: Option<ClaimAnswer>) {
        let by = asked.by;
        if !self.lives(by) || (answer.is_some() && self.is_cut(by.node)) {
            return;
        }
        let Some(entry) = self.workers[by.node].entries.get_mut(attempt) else { return };
        let (delivery, Stage::Claiming { asked_ms, pause_ms, .. }) = (entry.delivery, &mut entry.stage) else { return };
        if *asked_ms != Some(asked.at_ms) {
            return;
        }
        match answer {
            None => {
                *asked_ms = None;
                let wait_ms = *pause_ms;
                *pause_ms = CLAIM_AGAIN_MS.1.min(wait_ms * 2);
                self.after(wait_ms, Happening::ClaimAgain { by, attempt: attempt.clone() });
            }
            Some(ClaimAnswer::Gone) => {
                self.workers[by.node].entries.remove(attempt);
                self.finish_task(delivery);
            }
            Some(ClaimAnswer::Go { token, epoch, deadline_ms }) => {
                if self.workers[by.node].is_stale(epoch) {
                    self.meet("answers of deposed owners");
                    self.workers[by.node].entries.remove(attempt);
                } else {
                    self.begin(asked, attempt, token, deadline_ms);
                }
                self.finish_task(delivery);
            }
        }
    }

    fn begin(&mut self, asked: Asked, attempt: &AttemptRef, token: AttemptToken, deadline_ms: u64) {
        let by = asked.by;
        let (number, broken) = self.audit.begin(attempt, by);
        if let Some(broken) = broken {
            let at = format!("{broken}, at {} ms", self.now_ms);
            self.watch.breaks(at);
        }
        self.watch.carried_out.insert(number, (attempt.agent, attempt.attempt));
        if let Some(entry) = self.workers[by.node].entries.get_mut(attempt) {
            let extended_ms = asked.at_ms;
            entry.stage = Stage::Running(Running { number, token, deadline_ms, extended_ms, report: None });
        }
        let wait_ms = if self.goes_wrong(50) { 5_000 + self.random.below(40_000) } else { self.random.below(3_000) };
        self.after(10 + wait_ms, Happening::Finish { by, number });
    }

    pub fn finish(&mut self, by: Life, number: u64) {
        if !self.lives(by) {
            return;
        }
        let Some(attempt) = self.workers[by.node].attempt_of(number) else { return };
        if self.workers[by.node].running_mut(&attempt).is_none_or(|running| running.report.is_some()) {
            return;
        }
        self.watch.catch_up(&self.memory, &self.run);
        let Some(prompt) = self.watch.prompt_of(attempt.agent, &self.memory) else { return };
        let end = crate::sim::models::end_of(&prompt, attempt.attempt);
        let comes_back = matches!(end, AttemptEnd::Failed { retryable: true, .. });
        self.audit.end(number, if comes_back { End::Failed } else { End::Done });
        self.report(by, &attempt, end);
    }

    fn report(&mut self, by: Life, attempt: &AttemptRef, end: AttemptEnd) {
        let Some(running) = self.workers[by.node].running_mut(attempt) else { return };
        let (number, token) = (running.number, running.token);
        let report = AttemptReport {
            attempt: attempt.clone(),
            token,
            worker: by.id(),
            end,
            // The number tells whose report it is; the budget counts output only.
            usage: Usage { output: crate::sim::models::AGENT_TOKENS, cache_write: number, ..Usage::default() },
            notes: Vec::new(),
            elapsed_ms: 0,
        };
        running.report = encode(&report).ok();
        self.publish(by, number);
    }

    /// Until it is accepted; what is not accepted at once is on disk meanwhile.
    pub fn publish(&mut self, by: Life, number: u64) {
        if !self.lives(by) {
            return;
        }
        match self.report_of(by, number) {
            Some(report) if !self.is_cut(by.node) && self.random.happens(OFFERED) => self.offer(by, number, &report),
            _ => self.queue(by, number),
        }
    }

    fn report_of(&mut self, by: Life, number: u64) -> Option<Bytes> {
        let worker = &mut self.workers[by.node];
        let running = worker.attempt_of(number).and_then(|attempt| worker.running_mut(&attempt)?.report.clone());
        running.or_else(|| worker.kept.get(&number).cloned())
    }

    /// To the owner itself; by the queue when it does not answer.
    fn offer(&mut self, by: Life, number: u64, report: &Bytes) {
        self.meet("results that were offered");
        let delivery = Delivery::Offered { by, number };
        for place in 0..self.coordinators.len() {
            if self.coordinators[place].live.is_some() && self.reaches(by.node) {
                let wait_ms = self.message_ms(SLOW_CLAIMS);
                self.after(wait_ms, Happening::Offer { place, delivery, report: report.clone() });
            }
        }
        self.after(OFFER_MS, Happening::Queue { by, number });
    }

    /// The owner has it.
    pub fn accepted(&mut self, by: Life, number: u64) {
        if !self.lives(by) || self.is_cut(by.node) {
            return;
        }
        let worker = &mut self.workers[by.node];
        worker.kept.remove(&number);
        if let Some(attempt) = worker.attempt_of(number) {
            worker.entries.remove(&attempt);
        }
        self.soon(MESSAGE_MS, Happening::Pull { node: by.node, regular: false });
    }

    pub fn queue(&mut self, by: Life, number: u64) {
        if !self.lives(by) {
            return;
        }
        let (is_cut, loses_answer) = (self.is_cut(by.node), self.goes_wrong(50));
        let Some(report) = self.report_of(by, number) else { return };
        if is_cut || loses_answer {
            self.workers[by.node].kept.insert(number, report.clone());
            self.after(PUBLISH_AGAIN_MS, Happening::Publish { by, number });
        }
        if is_cut {
            return;
        }
        self.results.publish(report);
        self.ring_for_results();
        if !loses_answer {
            self.accepted(by, number);
        }
    }

    fn end(&mut self, by: Life, attempt: &AttemptRef, reason: Reason) {
        let Some(entry) = self.workers[by.node].entries.get(attempt) else { return };
        let Stage::Running(running) = &entry.stage else {
            // A claim that nobody answered yet.
            let delivery = entry.delivery;
            self.workers[by.node].entries.remove(attempt);
            return self.finish_task(delivery);
        };
        let (number, report) = (running.number, running.report.clone());
        let is_over = report.is_some();
        match reason {
            Reason::Cancelled if is_over => {}
            Reason::Cancelled => {
                self.audit.end(number, End::Cancelled);
                self.report(by, attempt, AttemptEnd::Cancelled);
            }
            Reason::Disowned => {
                self.audit.end(number, End::Disowned);
                self.meet("attempts disowned");
                let worker = &mut self.workers[by.node];
                worker.entries.remove(attempt);
                worker.kept.remove(&number);
            }
            Reason::Abandoned => {
                self.audit.end(number, End::Abandoned);
                self.meet("attempts abandoned");
                let worker = &mut self.workers[by.node];
                worker.entries.remove(attempt);
                // It is published beside, however late.
                report.map(|report| worker.kept.insert(number, report));
            }
        }
    }

    pub fn beat(&mut self, by: Life, regular: bool) {
        if !self.lives(by) {
            return;
        }
        if regular {
            self.after(HEARTBEAT_MS, Happening::Beat { by, regular });
        }
        let worker = &mut self.workers[by.node];
        worker.beat_is_near &= regular;
        let running = worker.running();
        let attempts = running.map(|(attempt, running)| (attempt.clone(), running.token));
        let attempts = attempts.map(|(attempt, token)| RunningAttempt { attempt, token }).collect();
        let rounds = std::mem::take(&mut self.workers[by.node].rounds);
        let beat = Heartbeat { worker: by.id(), attempts, info: Some(by.info()), rounds };
        let asked = Asked { by, at_ms: self.now_ms };
        for place in 0..self.coordinators.len() {
            if self.heartbeat_passes(by.node, place) {
                let wait_ms = self.message_ms(SLOW_HEARTBEATS);
                self.after(wait_ms, Happening::HeartbeatArrives { place, asked, beat: beat.clone() });
            }
        }
        self.end_overdue(by);
    }

    /// Ends what no owner extended in time, and comes back for what would be overdue before the next heartbeat.
    pub fn end_overdue(&mut self, by: Life) {
        if !self.lives(by) {
            return;
        }
        let now_ms = self.now_ms;
        let left_ms = |running: &Running| (running.extended_ms + running.deadline_ms).saturating_sub(now_ms);
        let deadlines = self.workers[by.node].running().map(|(attempt, running)| (attempt.clone(), left_ms(running)));
        let (overdue, in_time): (Vec<_>, Vec<_>) = deadlines.partition(|(_, left_ms)| *left_ms == 0);
        for (attempt, _) in overdue {
            self.end(by, &attempt, Reason::Abandoned);
        }
        if let Some(left_ms) = in_time.into_iter().map(|(_, left_ms)| left_ms).min().filter(|left| *left < HEARTBEAT_MS)
        {
            self.after(left_ms, Happening::Overdue { by });
        }
    }

    pub fn heartbeat_answered(&mut self, asked: Asked, answer: &HeartbeatAnswer) {
        let by = asked.by;
        if !self.lives(by) || self.is_cut(by.node) || self.now_ms - asked.at_ms > HEARTBEAT_MS {
            return;
        }
        for attempt in &answer.extended {
            if let Some(running) = self.workers[by.node].running_mut(attempt) {
                running.extended_ms = running.extended_ms.max(asked.at_ms);
            }
        }
        answer.gone.iter().for_each(|attempt| self.end(by, attempt, Reason::Disowned));
        answer.interrupted.iter().for_each(|attempt| self.end(by, attempt, Reason::Cancelled));
    }

    pub fn report_wanted(&mut self, node: usize, round: u64) {
        let worker = &mut self.workers[node];
        if !worker.up || self.now_ms < worker.cut_until_ms {
            return;
        }
        worker.rounds.push(round);
        if !std::mem::replace(&mut worker.beat_is_near, true) {
            let by = Life { node, life: worker.life };
            self.after(MOMENT_MS, Happening::Beat { by, regular: false });
        }
    }

    pub fn cancel_heard(&mut self, node: usize, epoch: Epoch, attempt: &AttemptRef) {
        let worker = &mut self.workers[node];
        if worker.up && self.now_ms >= worker.cut_until_ms && !worker.is_stale(epoch) {
            let by = Life { node, life: worker.life };
            self.end(by, attempt, Reason::Cancelled);
        }
    }
}
