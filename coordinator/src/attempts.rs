//! Attempts: which may run, who runs them, and who is lost. Pure: time and chance come in as arguments.
//!
//! | attempt | claim | heartbeat | result | deadline passes |
//! |---|---|---|---|---|
//! | unknown | gone | gone | dropped, counted | - |
//! | expected | go, claimed | gone | dropped, counted | rejected; lost when later ones were claimed or all is quiet |
//! | claimed | go again to the same worker, else gone | extended | delivered, until its run forgets it | lost, unknown |
//! | claimed, interrupted | gone | extended, and told to end | delivered, until its run forgets it | lost, unknown |
//!
//! An expected attempt that is interrupted is unknown from then on.

use skein_common::agent::Cause;
use skein_common::config::CoordinatorSettings;
use skein_common::wire::{AttemptRef, AttemptReport, Claim, ClaimAnswer, Heartbeat, HeartbeatAnswer};
use skein_common::{AttemptToken, Epoch, RunId, WorkerId};
use skein_engine::Command;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// An attempt that is journalled and not over.
#[derive(Debug)]
struct Expected {
    pool: String,
    /// Counts the attempts of this process, so that first dispatched can be told from later.
    order: u64,
    since: Instant,
    claimed: Option<Claimed>,
    /// A person ends it: its worker is told until it reports.
    interrupted: bool,
}

#[derive(Debug)]
struct Claimed {
    worker: WorkerId,
    token: AttemptToken,
    deadline: Instant,
}

/// What is known of the workers of a pool.
#[derive(Debug, Clone, Copy)]
struct Served {
    /// The newest attempt that was claimed. Tasks are delivered in order, so an older one that nobody claimed for long
    /// went down with a worker.
    newest: u64,
    /// When the last attempt was claimed or over. Where nothing runs and nobody claims for long, the task is with
    /// nobody: its claim was lost, and the worker has dropped it.
    active_at: Instant,
}

/// The attempts of all runs of one coordinator.
#[derive(Debug)]
pub struct Attempts {
    settings: CoordinatorSettings,
    epochs: BTreeMap<RunId, Epoch>,
    attempts: BTreeMap<AttemptRef, Expected>,
    expected_total: u64,
    /// A pool that is not here is served by nobody.
    served: BTreeMap<String, Served>,
    /// Answers that matched no attempt: late, doubled or false (invariant 3).
    stale_answers: u64,
}

impl Attempts {
    #[must_use]
    pub fn new(settings: CoordinatorSettings) -> Attempts {
        Attempts {
            settings,
            epochs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            expected_total: 0,
            served: BTreeMap::new(),
            stale_answers: 0,
        }
    }

    /// A run has an owner here; gives the attempts of it that somebody answers for.
    pub fn register(&mut self, run: &RunId, epoch: Epoch) -> Vec<AttemptRef> {
        // What nobody claimed is dispatched anew by the successor, under its own attempt number.
        self.attempts.retain(|attempt, expected| attempt.run != *run || expected.claimed.is_some());
        self.epochs.insert(run.clone(), epoch);
        self.attempts.keys().filter(|attempt| attempt.run == *run).cloned().collect()
    }

    /// The run is not here any more.
    pub fn forget_run(&mut self, run: &RunId) {
        self.epochs.remove(run);
        self.attempts.retain(|attempt, _| attempt.run != *run);
    }

    /// The attempt is journalled: a worker may claim it from now on.
    pub fn expect(&mut self, attempt: AttemptRef, pool: String, now: Instant) {
        self.expected_total += 1;
        let order = self.expected_total;
        self.attempts.insert(attempt, Expected { pool, order, since: now, claimed: None, interrupted: false });
    }

    /// A person ends the attempt. When no worker has it, what its run has to be told at once.
    pub fn interrupt(&mut self, attempt: &AttemptRef) -> Option<Command> {
        match self.attempts.get_mut(attempt) {
            Some(expected) if expected.claimed.is_some() => {
                expected.interrupted = true;
                None
            }
            _ => {
                self.attempts.remove(attempt);
                Some(Command::Lose { agent: attempt.agent, attempt: attempt.attempt, ours: true })
            }
        }
    }

    /// The attempt needs no further answer to its worker.
    pub fn forget(&mut self, attempt: &AttemptRef, now: Instant) {
        let Some(Expected { pool, claimed: Some(_), .. }) = self.attempts.remove(attempt) else { return };
        if let Some(served) = self.served.get_mut(&pool) {
            served.active_at = now;
        }
    }

    /// A worker asks whether an attempt may start; `token` is what it gets for its later messages.
    pub fn claim(&mut self, claim: &Claim, token: AttemptToken, now: Instant) -> ClaimAnswer {
        let deadline = self.deadline(now);
        let Some(epoch) = self.epochs.get(&claim.attempt.run).copied() else { return ClaimAnswer::Gone };
        let Some(expected) = self.attempts.get_mut(&claim.attempt) else { return ClaimAnswer::Gone };
        let token = match &expected.claimed {
            Some(claimed) if claimed.worker == claim.worker && !expected.interrupted => claimed.token,
            Some(_) => return ClaimAnswer::Gone,
            None => token,
        };
        expected.claimed = Some(Claimed { worker: claim.worker.clone(), token, deadline });
        let newest = self.served.get(&expected.pool).map_or(0, |served| served.newest).max(expected.order);
        self.served.insert(expected.pool.clone(), Served { newest, active_at: now });
        ClaimAnswer::Go { token, epoch, deadline_ms: self.settings.attempt_deadline_ms }
    }

    /// A worker says what it runs.
    pub fn heartbeat(&mut self, beat: &Heartbeat, now: Instant) -> HeartbeatAnswer {
        let deadline = self.deadline(now);
        let mut answer = HeartbeatAnswer::default();
        for running in &beat.attempts {
            let attempt = running.attempt.clone();
            let Some(expected) = self.attempts.get_mut(&attempt) else {
                answer.gone.push(attempt);
                continue;
            };
            match expected.claimed.as_mut().filter(|claimed| claimed.token == running.token) {
                Some(claimed) => {
                    claimed.deadline = deadline;
                    if expected.interrupted {
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
        let claimed = self.attempts.get(&report.attempt).and_then(|expected| expected.claimed.as_ref());
        if claimed.is_some_and(|claimed| claimed.token == report.token) {
            return true;
        }
        self.stale_answers += 1;
        let (run_id, agent, stale_answers) = (&report.attempt.run, report.attempt.agent, self.stale_answers);
        tracing::debug!(%run_id, agent, stale_answers, "stale result dropped");
        false
    }

    /// What runs have to be told of attempts that nobody answers for: their worker fell silent, or no worker ever took
    /// them. Who has told a run forgets the attempt.
    #[must_use]
    pub fn verdicts(&self, now: Instant) -> Vec<(AttemptRef, Command)> {
        let busy: BTreeSet<&str> =
            self.attempts.values().filter(|known| known.claimed.is_some()).map(|known| known.pool.as_str()).collect();
        let verdict = |attempt: &AttemptRef, expected: &Expected| {
            let is_busy = busy.contains(expected.pool.as_str());
            Some((attempt.clone(), self.verdict(attempt, expected, is_busy, now)?))
        };
        self.attempts.iter().filter_map(|(attempt, expected)| verdict(attempt, expected)).collect()
    }

    fn verdict(&self, attempt: &AttemptRef, expected: &Expected, is_busy: bool, now: Instant) -> Option<Command> {
        let AttemptRef { agent, attempt, .. } = *attempt;
        if let Some(claimed) = &expected.claimed {
            return (claimed.deadline <= now).then_some(Command::Lose { agent, attempt, ours: false });
        }
        let claim_wait = Duration::from_millis(self.settings.claim_wait_ms);
        if now.duration_since(expected.since) < claim_wait {
            return None;
        }
        match self.served.get(&expected.pool) {
            None => Some(Command::Reject {
                agent,
                attempt,
                cause: Cause::Failed,
                detail: String::from("no_worker"),
                message: format!("no worker serves pool {}", expected.pool),
            }),
            Some(served) => {
                let is_quiet = !is_busy && now.duration_since(served.active_at) >= claim_wait;
                (served.newest > expected.order || is_quiet).then_some(Command::Lose { agent, attempt, ours: true })
            }
        }
    }

    fn deadline(&self, now: Instant) -> Instant {
        now + Duration::from_millis(self.settings.attempt_deadline_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(agent: u32) -> AttemptRef {
        AttemptRef { run: RunId::from_uuid(uuid::Uuid::nil()), agent, attempt: 1 }
    }

    fn claim(attempts: &mut Attempts, agent: u32, now: Instant) -> ClaimAnswer {
        let claim = Claim { attempt: attempt(agent), worker: WorkerId(String::from("worker")) };
        attempts.claim(&claim, AttemptToken(u64::from(agent)), now)
    }

    fn two_expected(now: Instant) -> Attempts {
        let mut attempts = Attempts::new(CoordinatorSettings::default());
        attempts.register(&attempt(1).run, 1);
        for agent in [1, 2] {
            attempts.expect(attempt(agent), String::from("default"), now);
        }
        attempts
    }

    #[test]
    fn the_newest_attempt_whose_claim_was_lost_does_not_wait_for_ever() {
        let begun = Instant::now();
        let wait = Duration::from_millis(CoordinatorSettings::default().claim_wait_ms);
        let mut attempts = two_expected(begun);
        assert!(matches!(claim(&mut attempts, 1, begun), ClaimAnswer::Go { .. }));
        let over = begun + wait * 3;
        attempts.forget(&attempt(1), over);
        assert_eq!(attempts.verdicts(over), [], "a worker has a slot for it from now on");
        let lost = Command::Lose { agent: 2, attempt: 1, ours: true };
        assert_eq!(attempts.verdicts(over + wait), [(attempt(2), lost)]);
    }

    #[test]
    fn an_attempt_that_waits_for_a_slot_is_not_lost() {
        let begun = Instant::now();
        let mut attempts = two_expected(begun);
        claim(&mut attempts, 1, begun);
        let mut now = begun;
        for _ in 0..100 {
            now += Duration::from_secs(5);
            let running = vec![skein_common::wire::RunningAttempt { attempt: attempt(1), token: AttemptToken(1) }];
            attempts
                .heartbeat(&Heartbeat { worker: WorkerId(String::from("worker")), attempts: running, info: None }, now);
            assert_eq!(attempts.verdicts(now), []);
        }
    }

    fn beat(attempts: &mut Attempts, agent: u32, now: Instant) -> HeartbeatAnswer {
        let token = AttemptToken(u64::from(agent));
        let running = vec![skein_common::wire::RunningAttempt { attempt: attempt(agent), token }];
        attempts.heartbeat(&Heartbeat { worker: WorkerId(String::from("worker")), attempts: running, info: None }, now)
    }

    #[test]
    fn a_worker_hears_of_an_interruption_with_every_heartbeat_until_it_reports() {
        let now = Instant::now();
        let mut attempts = two_expected(now);
        claim(&mut attempts, 1, now);
        assert_eq!(attempts.interrupt(&attempt(1)), None);
        for _ in 0..2 {
            let answer = beat(&mut attempts, 1, now);
            assert_eq!((answer.extended, answer.interrupted), (vec![attempt(1)], vec![attempt(1)]));
        }
        attempts.forget(&attempt(1), now);
        assert_eq!(beat(&mut attempts, 1, now).gone, [attempt(1)]);
    }

    #[test]
    fn an_interrupted_attempt_that_no_worker_has_is_over_at_once_and_cannot_be_claimed() {
        let now = Instant::now();
        let mut attempts = two_expected(now);
        let over = Command::Lose { agent: 1, attempt: 1, ours: true };
        assert_eq!(attempts.interrupt(&attempt(1)), Some(over));
        assert!(matches!(claim(&mut attempts, 1, now), ClaimAnswer::Gone));
    }

    #[test]
    fn an_interrupted_attempt_whose_worker_falls_silent_is_lost() {
        let now = Instant::now();
        let mut attempts = two_expected(now);
        claim(&mut attempts, 1, now);
        attempts.interrupt(&attempt(1));
        let silent = now + Duration::from_millis(CoordinatorSettings::default().attempt_deadline_ms);
        let lost = Command::Lose { agent: 1, attempt: 1, ours: false };
        assert_eq!(attempts.verdicts(silent).first(), Some(&(attempt(1), lost)));
    }
}
