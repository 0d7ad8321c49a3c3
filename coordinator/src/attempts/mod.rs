//! Attempts: which may run, who runs them, and who is lost. Pure: time and chance come in as arguments.
//!
//! | attempt | claim | heartbeat | result | deadline passes |
//! |---|---|---|---|---|
//! | unknown | gone | gone | dropped, counted | - |
//! | inherited | no answer yet | claimed | delivered | dispatched again, see [`takeover`] |
//! | dispatched | go, claimed; no answer yet to a worker of a cluster that was not heard | gone | dropped, counted | rejected; lost or dispatched again, see [`Attempts::verdicts`] |
//! | claimed | go again to the same worker, gone to others and once its result is here | extended | delivered, until its run forgets it | lost, unknown |
//! | claimed, interrupted | gone | extended, and told to end | delivered, until its run forgets it | lost, unknown |
//!
//! A dispatched attempt that is interrupted is unknown from then on. An attempt of a run that is not known here, or not
//! yet taken over, is answered with silence where several owners share the workers: its own owner answers.

mod pools;
mod takeover;
mod workers;

pub use takeover::Inheritance;
pub use workers::{News, Workers};

use crate::standing_gauges::WorkerCounts;
use pools::Pools;
use skein_common::agent::Cause;
use skein_common::config::CoordinatorSettings;
use skein_common::ports::Target;
use skein_common::wire::{AttemptRef, AttemptReport, Claim, ClaimAnswer, Heartbeat, HeartbeatAnswer};
use skein_common::{AttemptToken, Epoch, RunId, WorkerId};
use skein_engine::Command;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use takeover::Takeover;

/// A task that nobody claims is published again after the wait for a claim, then after twice as long, and so on: so
/// many times doubled at most.
const DOUBLED_MAX: u32 = 6;
/// A quarter of the deadline is for ending processes: 5 s of the usual 20 s, more than they ever took.
const MARGIN_PART: u64 = 4;
/// A worker is suspect for the last quarter of the time after which it is lost.
const SUSPECT_PART: u32 = 4;

/// An attempt that is journalled and not over.
#[derive(Debug)]
struct Expected {
    target: Target,
    /// Counts the attempts of this process, so that first dispatched can be told from later.
    order: u64,
    since: Instant,
    /// How often it was dispatched again.
    again: u32,
    /// Its queue died after it was dispatched.
    is_doubted: bool,
    /// An earlier owner may have let a worker start it.
    is_inherited: bool,
    standing: Standing,
    /// A person ends it: its worker is told until it reports.
    interrupted: bool,
    /// Its result is here, though not in the journal yet.
    is_reported: bool,
    /// A result came when it was not known who has the attempt.
    came_early: bool,
}

/// What is known of an attempt that is not over.
#[derive(Debug)]
enum Standing {
    /// An earlier owner dispatched it. A worker may have it.
    Inherited,
    /// Nobody has claimed it.
    Dispatched,
    Claimed(Claimed),
}

#[derive(Debug)]
struct Claimed {
    worker: WorkerId,
    token: AttemptToken,
    deadline: Instant,
}

impl Expected {
    fn new(target: Target, order: u64, standing: Standing, since: Instant) -> Expected {
        let is_inherited = matches!(standing, Standing::Inherited);
        Expected {
            target,
            order,
            since,
            again: 0,
            is_doubted: false,
            is_inherited,
            standing,
            interrupted: false,
            is_reported: false,
            came_early: false,
        }
    }

    fn claimed(&self) -> Option<&Claimed> {
        match &self.standing {
            Standing::Claimed(claimed) => Some(claimed),
            Standing::Inherited | Standing::Dispatched => None,
        }
    }

    fn claimed_mut(&mut self) -> Option<&mut Claimed> {
        match &mut self.standing {
            Standing::Claimed(claimed) => Some(claimed),
            Standing::Inherited | Standing::Dispatched => None,
        }
    }
}

/// What is known of the workers of a pool or host.
#[derive(Debug, Clone, Copy)]
struct Served {
    /// The newest attempt that was claimed. Tasks are delivered in order, so an older one that nobody claimed for long
    /// went down with a worker.
    newest: u64,
    /// When the last attempt was claimed or over. Where nothing runs and nobody claims for long, the task is with
    /// nobody: its claim was lost, and the worker has dropped it.
    active_at: Instant,
}

/// A run that is executed here.
#[derive(Debug)]
struct OwnedRun {
    epoch: Epoch,
    /// While it is being taken over: what its journal says runs is not known yet, or not who has it.
    takeover: Takeover,
}

/// The attempts of all runs of one coordinator.
#[derive(Debug)]
pub struct Attempts {
    settings: CoordinatorSettings,
    /// Other coordinators use the same workers, and workers outlive coordinators.
    shares_workers: bool,
    runs: BTreeMap<RunId, OwnedRun>,
    attempts: BTreeMap<AttemptRef, Expected>,
    expected_total: u64,
    /// A target that is not here was served by nobody so far.
    served: BTreeMap<Target, Served>,
    workers: Workers,
    pools: Pools,
    /// Answers that matched no attempt: late, doubled or false (invariant 3).
    stale_answers: u64,
    /// Runs of which results came early that can be accepted now.
    wanted_again: BTreeSet<RunId>,
}

/// What follows from a heartbeat beside its answer.
#[derive(Debug, Default, PartialEq)]
pub struct Consequences {
    /// For the runs. Who has told a run forgets the attempt.
    pub verdicts: Vec<(AttemptRef, Command)>,
    /// To be dispatched once more, under the same number.
    pub again: Vec<AttemptRef>,
}

impl Attempts {
    /// Where the workers live and die with this process.
    #[must_use]
    pub fn new(settings: CoordinatorSettings) -> Attempts {
        Attempts {
            settings,
            shares_workers: false,
            runs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            expected_total: 0,
            served: BTreeMap::new(),
            workers: Workers::default(),
            pools: Pools::default(),
            stale_answers: 0,
            wanted_again: BTreeSet::new(),
        }
    }

    /// Where coordinators share workers that are processes of their own.
    #[must_use]
    pub fn of_cluster(settings: CoordinatorSettings) -> Attempts {
        Attempts { shares_workers: true, ..Attempts::new(settings) }
    }

    /// A run has an owner here; gives the attempts of it that somebody answers for.
    pub fn register(&mut self, run: &RunId, epoch: Epoch) -> Vec<AttemptRef> {
        // What nobody claimed is dispatched anew by the successor.
        self.attempts.retain(|attempt, expected| attempt.run != *run || expected.claimed().is_some());
        let takeover = if self.shares_workers { Takeover::Reading } else { Takeover::Over };
        self.runs.insert(run.clone(), OwnedRun { epoch, takeover });
        self.attempts.keys().filter(|attempt| attempt.run == *run).cloned().collect()
    }

    /// The run is not here any more.
    pub fn forget_run(&mut self, run: &RunId) {
        self.runs.remove(run);
        self.attempts.retain(|attempt, _| attempt.run != *run);
    }

    /// Whether questions and results of this run are answered here.
    #[must_use]
    pub fn knows(&self, run: &RunId) -> bool {
        !self.shares_workers || self.runs.contains_key(run)
    }

    /// Whether it is not known yet what of this run is executed.
    #[must_use]
    pub fn is_reading(&self, run: &RunId) -> bool {
        self.runs.get(run).is_some_and(|run| matches!(run.takeover, Takeover::Reading))
    }

    /// The attempt is journalled: a worker may claim it from now on. One that is dispatched again and was claimed just
    /// before stays with its worker (L1): `None`, it is not to be dispatched. Else whether a worker is known that
    /// takes it.
    pub fn expect(&mut self, attempt: AttemptRef, target: Target, now: Instant) -> Option<bool> {
        let before = self.attempts.get(&attempt);
        if before.is_some_and(|before| before.claimed().is_some()) {
            return None;
        }
        self.expected_total += 1;
        let (again, interrupted, is_inherited) = match before {
            Some(before) => (before.again + 1, before.interrupted, before.is_inherited),
            None => (0, false, false),
        };
        let is_served = self.workers.serve(&target);
        let dispatched = Expected::new(target, self.expected_total, Standing::Dispatched, now);
        self.attempts.insert(attempt, Expected { again, is_inherited, interrupted, ..dispatched });
        Some(is_served)
    }

    /// A person ends the attempt. When no worker has it, what its run has to be told at once.
    pub fn interrupt(&mut self, attempt: &AttemptRef, now: Instant) -> Option<Command> {
        if self.is_reading(&attempt.run) && !self.attempts.contains_key(attempt) {
            self.inherit_one(attempt.clone(), Target::Pool(String::new()), now);
        }
        match self.attempts.get_mut(attempt) {
            Some(expected) if !matches!(expected.standing, Standing::Dispatched) => {
                expected.interrupted = true;
                None
            }
            _ => {
                self.attempts.remove(attempt);
                Some(lose(attempt, true))
            }
        }
    }

    /// The attempt needs no further answer to its worker.
    pub fn forget(&mut self, attempt: &AttemptRef, now: Instant) {
        let Some(Expected { target, standing: Standing::Claimed(_), .. }) = self.attempts.remove(attempt) else {
            return;
        };
        if let Some(served) = self.served.get_mut(&target) {
            served.active_at = now;
        }
    }

    /// A worker asks whether an attempt may start; `token` is what it gets for its later messages. Without an answer
    /// it asks again.
    pub fn claim(&mut self, claim: &Claim, token: AttemptToken, now: Instant) -> Option<ClaimAnswer> {
        let deadline = self.deadline(now);
        let Some(run) = self.runs.get(&claim.attempt.run) else {
            return (!self.shares_workers).then_some(ClaimAnswer::Gone);
        };
        let epoch = run.epoch;
        if self.workers.is_superseded(&claim.worker) {
            return None;
        }
        let Some(expected) = self.attempts.get_mut(&claim.attempt) else {
            return (!matches!(run.takeover, Takeover::Reading)).then_some(ClaimAnswer::Gone);
        };
        let token = match &expected.standing {
            Standing::Inherited => return None,
            // A second copy of its task must not be carried out again.
            Standing::Claimed(_) if expected.is_reported => return Some(ClaimAnswer::Gone),
            Standing::Claimed(claimed) if claimed.worker == claim.worker && !expected.interrupted => claimed.token,
            Standing::Claimed(_) => return Some(ClaimAnswer::Gone),
            // The next owner could not know that it may have the attempt: it has to be in the table first.
            Standing::Dispatched if self.shares_workers && self.workers.node_of(&claim.worker).is_none() => {
                return None;
            }
            Standing::Dispatched => token,
        };
        expected.standing = Standing::Claimed(Claimed { worker: claim.worker.clone(), token, deadline });
        let newest = self.served.get(&expected.target).map_or(0, |served| served.newest).max(expected.order);
        self.served.insert(expected.target.clone(), Served { newest, active_at: now });
        Some(ClaimAnswer::Go { token, epoch, deadline_ms: self.deadline_of_workers_ms() })
    }

    /// A worker says what it runs.
    pub fn heartbeat(&mut self, beat: &Heartbeat, now: Instant) -> HeartbeatAnswer {
        let deadline = self.deadline(now);
        let mut answer = HeartbeatAnswer::default();
        for running in &beat.attempts {
            let attempt = running.attempt.clone();
            if !self.knows(&attempt.run) {
                continue;
            }
            if self.is_reading(&attempt.run) && !self.attempts.contains_key(&attempt) {
                // Its journal is being read, which may take longer than a worker waits for a word.
                answer.extended.push(attempt);
                continue;
            }
            let Some(expected) = self.attempts.get_mut(&attempt) else {
                answer.gone.push(attempt);
                continue;
            };
            if matches!(expected.standing, Standing::Inherited) {
                // The earlier owner let this worker start, or nobody did: an attempt has one token.
                let (worker, token) = (beat.worker.clone(), running.token);
                expected.standing = Standing::Claimed(Claimed { worker, token, deadline });
                if expected.came_early {
                    self.wanted_again.insert(attempt.run.clone());
                }
                let served = Served { newest: 0, active_at: now };
                self.served.entry(expected.target.clone()).or_insert(served).active_at = now;
            }
            let interrupted = expected.interrupted;
            match expected.claimed_mut().filter(|claimed| claimed.token == running.token) {
                Some(claimed) => {
                    claimed.deadline = deadline;
                    if interrupted {
                        answer.interrupted.push(attempt.clone());
                    }
                    answer.extended.push(attempt);
                }
                None => answer.gone.push(attempt),
            }
        }
        answer
    }

    /// Whether the report comes from the worker that was told to start this attempt.
    pub fn accepts(&mut self, report: &AttemptReport) -> bool {
        // It stays expected until its run has journalled it: should the run's actor die before, its successor is told
        // of the attempt, and gets the result again.
        let is_from_its_worker = match self.attempts.get(&report.attempt).map(|expected| &expected.standing) {
            Some(Standing::Claimed(claimed)) => claimed.token == report.token,
            // Nobody has it, or who has it would have said so: the first result there is.
            Some(Standing::Inherited) => !self.is_hearing(&report.attempt.run),
            // Its report was late, and nobody has begun it anew.
            Some(Standing::Dispatched) => self.attempts.get(&report.attempt).is_some_and(|known| known.is_inherited),
            None => false,
        };
        if is_from_its_worker {
            self.settle_inherited(report);
            if let Some(expected) = self.attempts.get_mut(&report.attempt) {
                expected.is_reported = true;
            }
            return true;
        }
        if self.may_accept_later(&report.attempt) {
            if let Some(expected) = self.attempts.get_mut(&report.attempt) {
                expected.came_early = true;
            }
            return false;
        }
        self.stale_answers += 1;
        let (run_id, agent, stale_answers) = (&report.attempt.run, report.attempt.agent, self.stale_answers);
        tracing::debug!(%run_id, agent, stale_answers, "stale result dropped");
        false
    }

    /// Whether the end of this attempt is here, though not in the journal yet.
    #[must_use]
    pub fn is_reported(&self, attempt: &AttemptRef) -> bool {
        self.attempts.get(attempt).is_some_and(|expected| expected.is_reported)
    }

    /// How many workers stand where. One that is silent for three quarters of the deadline, three of the usual
    /// heartbeats, is suspect.
    #[must_use]
    pub fn count_workers(&self, now: Instant) -> WorkerCounts {
        let deadline = Duration::from_millis(self.settings.attempt_deadline_ms);
        self.workers.count(now, deadline - deadline / SUSPECT_PART)
    }

    /// Runs whose results have to be delivered again: it is known by now who has their attempts.
    pub fn take_wanted_again(&mut self) -> BTreeSet<RunId> {
        std::mem::take(&mut self.wanted_again)
    }

    /// Answers that matched no attempt, so far.
    #[must_use]
    pub fn stale_answers(&self) -> u64 {
        self.stale_answers
    }

    /// What runs have to be told of attempts that nobody answers for: their worker fell silent, or no worker ever took
    /// them. Who has told a run forgets the attempt.
    #[must_use]
    pub fn verdicts(&self, now: Instant) -> Vec<(AttemptRef, Command)> {
        let claimed = self.attempts.values().filter(|known| known.claimed().is_some());
        let busy: BTreeSet<&Target> = claimed.map(|known| &known.target).collect();
        let verdict = |attempt: &AttemptRef, expected: &Expected| {
            let is_busy = busy.contains(&expected.target);
            Some((attempt.clone(), self.verdict(attempt, expected, is_busy, now)?))
        };
        self.attempts.iter().filter_map(|(attempt, expected)| verdict(attempt, expected)).collect()
    }

    fn verdict(&self, attempt: &AttemptRef, expected: &Expected, is_busy: bool, now: Instant) -> Option<Command> {
        match &expected.standing {
            Standing::Claimed(claimed) => return (claimed.deadline <= now).then(|| lose(attempt, false)),
            Standing::Inherited => {
                let is_with_nobody = expected.interrupted && self.is_taken_over(&attempt.run);
                return is_with_nobody.then(|| lose(attempt, true));
            }
            Standing::Dispatched => {}
        }
        if now.duration_since(expected.since) < self.claim_wait() {
            return None;
        }
        match self.served.get(&expected.target) {
            _ if self.workers.serve(&expected.target) && self.shares_workers => None,
            // Workers may be busy with runs of others, or away: it is dispatched again, see `overdue`.
            Some(_) if self.shares_workers => None,
            None if self.shares_workers && self.pools.may_be_served(&expected.target) => None,
            None => Some(no_worker(attempt, &expected.target)),
            Some(served) => {
                let is_quiet = !is_busy && now.duration_since(served.active_at) >= self.claim_wait();
                (served.newest > expected.order || is_quiet).then(|| lose(attempt, true))
            }
        }
    }

    /// Attempts whose task may be with nobody, where the queue is shared and nobody can tell: a second copy is refused
    /// when it is claimed. The waits double, so that a long queue is not filled with copies.
    #[must_use]
    pub fn overdue(&self, now: Instant) -> Vec<AttemptRef> {
        let is_overdue = |attempt: &AttemptRef, expected: &Expected| match expected.standing {
            Standing::Dispatched if expected.is_doubted => true,
            Standing::Dispatched => {
                let wait = self.claim_wait() * 2u32.pow(expected.again.min(DOUBLED_MAX));
                now.duration_since(expected.since) >= wait && !self.moves_towards(expected, now)
            }
            // Its run was too busy to be told when the hearing was over.
            Standing::Inherited => !expected.interrupted && self.is_taken_over(&attempt.run),
            Standing::Claimed(_) => false,
        };
        let overdue = self.attempts.iter().filter(|(attempt, known)| self.shares_workers && is_overdue(attempt, known));
        overdue.map(|(attempt, _)| attempt.clone()).collect()
    }

    /// What waits in the queues of pools may be gone.
    pub fn doubt_queues(&mut self) {
        let waits = |expected: &&mut Expected| {
            matches!((&expected.standing, &expected.target), (Standing::Dispatched, Target::Pool(_)))
        };
        self.attempts.values_mut().filter(waits).for_each(|expected| expected.is_doubted = true);
    }

    /// Tasks of a target are claimed in their order: while others are claimed, and none after this one, its turn comes.
    fn moves_towards(&self, expected: &Expected, now: Instant) -> bool {
        self.served.get(&expected.target).is_some_and(|served| {
            served.newest < expected.order && now.duration_since(served.active_at) < self.claim_wait()
        })
    }

    fn is_taken_over(&self, run: &RunId) -> bool {
        self.runs.get(run).is_some_and(|run| matches!(run.takeover, Takeover::Over))
    }

    fn claim_wait(&self) -> Duration {
        Duration::from_millis(self.settings.claim_wait_ms)
    }

    /// A worker that hears nothing ends the attempt earlier than it is lost here: its processes are gone before another
    /// worker begins the same (L1).
    fn deadline_of_workers_ms(&self) -> u64 {
        let deadline_ms = self.settings.attempt_deadline_ms;
        deadline_ms - deadline_ms / MARGIN_PART
    }

    fn deadline(&self, now: Instant) -> Instant {
        now + Duration::from_millis(self.settings.attempt_deadline_ms)
    }
}

fn lose(attempt: &AttemptRef, ours: bool) -> Command {
    Command::Lose { agent: attempt.agent, attempt: attempt.attempt, ours }
}

fn no_worker(attempt: &AttemptRef, target: &Target) -> Command {
    let message = match target {
        Target::Pool(pool) => format!("no worker serves pool {pool}"),
        Target::Host(host) => format!("no worker serves host {host}"),
    };
    let AttemptRef { agent, attempt, .. } = *attempt;
    Command::Reject { agent, attempt, cause: Cause::Failed, detail: String::from("no_worker"), message }
}

#[cfg(test)]
mod takeover_tests;

#[cfg(test)]
mod tests;
