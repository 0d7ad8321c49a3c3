//! Takeover: what an owner does about attempts that an earlier owner dispatched. Heartbeats restore who claimed them.
//!
//! | takeover | until | claims of its attempts |
//! |---|---|---|
//! | reading | the journal is read: what runs is inherited | no answer |
//! | waiting | the table says which workers may have an attempt | of inherited ones: no answer |
//! | hearing | each of them reported, fell silent or came back new | the same |
//! | draining | every result that was published before is here: a marker that went the same way came back | the same |
//! | over | - | as the table of attempts says |
//!
//! What nobody named then is with nobody or still in a queue. It is dispatched again under the same number: whichever
//! copy is claimed first is the one.

use super::workers::{News, serves};
use super::{Attempts, Claimed, Consequences, Expected, OwnedRun, Standing, lose};
use skein_common::ports::Target;
use skein_common::wire::{AttemptRef, AttemptReport, Heartbeat, HeartbeatAnswer, WorkerInfo};
use skein_common::{RunId, WorkerId};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How far the takeover of a run is.
#[derive(Debug)]
pub(super) enum Takeover {
    Reading,
    Waiting,
    Hearing {
        /// Heartbeats that know this number were sent after the owner asked.
        round: u64,
        /// Nodes that may have an attempt of the run.
        unheard: BTreeSet<String>,
        /// Whoever said nothing until then has ended what it had: an attempt is not extended for longer.
        until: Instant,
    },
    /// A worker reports after it has handed over its results, but these take another way.
    Draining {
        marker: u64,
    },
    Over,
}

/// What a run was found to have running.
#[derive(Debug, Clone)]
pub struct Inheritance {
    pub run: RunId,
    pub attempts: Vec<(AttemptRef, Target)>,
}

impl Attempts {
    /// The journal of a run is read: its attempts are known from now on.
    pub fn know(&mut self, inherited: &Inheritance, now: Instant) {
        for (attempt, target) in &inherited.attempts {
            match self.attempts.get_mut(attempt) {
                // A person ended it while the journal was read.
                Some(known) if matches!(known.standing, Standing::Inherited) => known.target = target.clone(),
                Some(_) => {}
                None => self.inherit_one(attempt.clone(), target.clone(), now),
            }
        }
        if let Some(owned) = self.runs.get_mut(&inherited.run) {
            // Most runs are new and have nothing that anybody could know of.
            let is_new = !self
                .attempts
                .iter()
                .any(|(attempt, known)| attempt.run == inherited.run && matches!(known.standing, Standing::Inherited));
            owned.takeover = if is_new { Takeover::Over } else { Takeover::Waiting };
        }
    }

    /// Whether a result that is not accepted now may be accepted later. Before all workers were heard nobody knows which
    /// of several that had the attempt one after the other has it still, and would go on when its permit is another's.
    #[must_use]
    pub fn may_accept_later(&self, attempt: &AttemptRef) -> bool {
        let is_inherited = || matches!(self.attempts.get(attempt).map(|one| &one.standing), Some(Standing::Inherited));
        self.is_reading(&attempt.run) || (self.is_hearing(&attempt.run) && is_inherited())
    }

    pub(super) fn is_hearing(&self, run: &RunId) -> bool {
        let is_hearing = |owned: &OwnedRun| matches!(owned.takeover, Takeover::Waiting | Takeover::Hearing { .. });
        self.runs.get(run).is_some_and(is_hearing)
    }

    /// Whether it has to be known first which workers may have attempts of the run.
    #[must_use]
    pub fn waits_for_workers(&self, run: &RunId) -> bool {
        self.runs.get(run).is_some_and(|owned| matches!(owned.takeover, Takeover::Waiting))
    }

    /// `workers` are all that may have an attempt of these runs; they are asked to report, with this number. What
    /// follows when there are none has to be asked for with [`Attempts::markers`].
    pub fn inherit(&mut self, runs: &[RunId], workers: &[WorkerInfo], round: u64, now: Instant) {
        for worker in workers {
            self.workers.learn(worker, now);
        }
        let until = self.deadline(now);
        let unheard: BTreeSet<String> = workers.iter().map(|worker| worker.node.clone()).collect();
        for run in runs {
            if let Some(owned) = self.runs.get_mut(run)
                && matches!(owned.takeover, Takeover::Waiting)
            {
                owned.takeover = Takeover::Hearing { round, unheard: unheard.clone(), until };
            }
        }
    }

    /// The runs whose results have to be drained, each with a marker to be sent after them: `new` makes one.
    pub fn markers(&mut self, mut new: impl FnMut() -> u64, now: Instant) -> Vec<(RunId, u64)> {
        let mut markers = Vec::new();
        for (run, owned) in &mut self.runs {
            if matches!(&owned.takeover, Takeover::Hearing { unheard, until, .. } if unheard.is_empty() || *until <= now)
            {
                owned.takeover = Takeover::Draining { marker: new() };
            }
            if let Takeover::Draining { marker } = owned.takeover {
                markers.push((run.clone(), marker));
            }
        }
        markers
    }

    /// A marker came back: what nobody has named and no result was for is with nobody.
    pub fn drained(&mut self, run: &RunId, marker: u64) -> Consequences {
        let mut consequences = Consequences::default();
        let Some(owned) = self.runs.get_mut(run) else { return consequences };
        if !matches!(owned.takeover, Takeover::Draining { marker: sent } if sent == marker) {
            return consequences;
        }
        owned.takeover = Takeover::Over;
        for (attempt, expected) in self.attempts.iter().filter(|(attempt, _)| attempt.run == *run) {
            match expected.standing {
                Standing::Inherited if expected.interrupted => {
                    consequences.verdicts.push((attempt.clone(), lose(attempt, true)));
                }
                Standing::Inherited => consequences.again.push(attempt.clone()),
                Standing::Dispatched | Standing::Claimed(_) => {}
            }
        }
        consequences
    }

    pub(super) fn inherit_one(&mut self, attempt: AttemptRef, target: Target, now: Instant) {
        self.expected_total += 1;
        let inherited = Expected::new(target, self.expected_total, Standing::Inherited, now);
        self.attempts.insert(attempt, inherited);
    }

    /// Whether workers have to be asked to report, and with which numbers.
    #[must_use]
    pub fn rounds(&self) -> BTreeSet<u64> {
        let round = |takeover: &Takeover| match takeover {
            Takeover::Hearing { round, .. } => Some(*round),
            _ => None,
        };
        self.runs.values().filter_map(|run| round(&run.takeover)).collect()
    }

    /// A heartbeat came: its answer, and what follows beside it.
    pub fn hear(&mut self, beat: &Heartbeat, now: Instant) -> (HeartbeatAnswer, Consequences, News) {
        if beat.info.as_ref().is_some_and(|info| self.workers.has_ended(info)) {
            let told = HeartbeatAnswer { superseded: true, ..HeartbeatAnswer::default() };
            return (told, Consequences::default(), News::Nothing);
        }
        let answer = self.heartbeat(beat, now);
        let Some(info) = &beat.info else { return (answer, Consequences::default(), News::Nothing) };
        self.pools.hear(info);
        let news = self.workers.hear(info, now);
        let consequences = match &news {
            News::Reborn(earlier) => self.ended_with(earlier, info),
            // What it had taken for its hosts and not begun it has dropped.
            News::Changed if info.draining => {
                Consequences { again: self.dispatched_to_hosts_of(info), ..Consequences::default() }
            }
            News::Nothing | News::Changed => Consequences::default(),
        };
        for run in self.runs.values_mut() {
            if let Takeover::Hearing { round, unheard, .. } = &mut run.takeover
                && beat.rounds.contains(round)
            {
                unheard.remove(&info.node);
            }
        }
        (answer, consequences, news)
    }

    /// Workers that fell silent are taken off the list; what only they can have had goes to others. What they had
    /// claimed, and takeovers that wait for them, have deadlines of their own.
    pub fn end_silence(&mut self, now: Instant) -> (Vec<WorkerInfo>, Consequences) {
        let silent = self.workers.take_silent(now, Duration::from_millis(self.settings.attempt_deadline_ms));
        let mut again: Vec<AttemptRef> = Vec::new();
        for worker in &silent {
            again.extend(self.dispatched_to_hosts_of(worker));
        }
        (silent, Consequences { again, ..Consequences::default() })
    }

    /// A worker was started again: what it had claimed is lost, and what it may have had in hand unclaimed is
    /// dispatched again.
    fn ended_with(&self, earlier: &WorkerId, info: &WorkerInfo) -> Consequences {
        let mut consequences = Consequences::default();
        for (attempt, expected) in &self.attempts {
            match &expected.standing {
                Standing::Claimed(claimed) if claimed.worker == *earlier => {
                    consequences.verdicts.push((attempt.clone(), lose(attempt, false)));
                }
                // Those of a pool come again by themselves, later. Once is enough: a worker that dies again and again
                // must not fill the queue with copies.
                Standing::Dispatched if serves(info, &expected.target) => {
                    if expected.again == 0 || matches!(expected.target, Target::Host(_)) {
                        consequences.again.push(attempt.clone());
                    }
                }
                Standing::Claimed(_) | Standing::Dispatched | Standing::Inherited => {}
            }
        }
        consequences
    }

    /// A task for a host is in the memory of the worker that took it; one for a pool stays in its queue.
    fn dispatched_to_hosts_of(&self, worker: &WorkerInfo) -> Vec<AttemptRef> {
        let was_with_it = |expected: &Expected| {
            matches!((&expected.standing, &expected.target), (Standing::Dispatched, Target::Host(_)))
                && serves(worker, &expected.target)
        };
        let with_it = self.attempts.iter().filter(|(_, expected)| was_with_it(expected));
        with_it.map(|(attempt, _)| attempt.clone()).collect()
    }

    /// A result for an inherited attempt says who had it.
    pub(super) fn settle_inherited(&mut self, report: &AttemptReport) {
        let Some(expected) = self.attempts.get_mut(&report.attempt) else { return };
        if let Standing::Inherited | Standing::Dispatched = expected.standing {
            // Until its run has journalled the result nobody else may start it.
            let deadline = expected.since + Duration::from_millis(self.settings.attempt_deadline_ms);
            let (worker, token) = (report.worker.clone(), report.token);
            expected.standing = Standing::Claimed(Claimed { worker, token, deadline });
        }
    }
}
