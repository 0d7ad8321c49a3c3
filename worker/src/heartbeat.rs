//! The part of Link that keeps owners informed of its attempts, and ends those that no owner vouches for.

use crate::attempt::Shared;
use crate::link::{Claimed, Entry, Link};
use crate::messages::EndReason;
use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use skein_common::RunId;
use skein_common::wire::{Heartbeat, HeartbeatAnswer, OwnerAnswer, RunningAttempt, WorkerRequest, decode, encode};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tracing::warn;

impl Link {
    /// Tells each owner which of its attempts run here.
    pub(crate) fn heartbeat(&mut self, context: &mut Context<Link>) {
        let mut by_run: BTreeMap<RunId, Vec<RunningAttempt>> = BTreeMap::new();
        for Entry { attempt, claimed, .. } in self.attempts.values() {
            if let Some(Claimed { token, .. }) = claimed {
                let running = RunningAttempt { attempt: attempt.clone(), token: *token };
                by_run.entry(attempt.run.clone()).or_default().push(running);
            }
        }
        for (run, attempts) in by_run {
            let asked_at = Instant::now();
            let ask = ask_owner(Rc::clone(&self.config.shared), run.clone(), attempts, self.config.heartbeat);
            context.spawn(ask.into_actor(self).map(move |answer, link, _| match answer {
                Asked::Answered(answer) => link.hear_owner(&run, asked_at, answer),
                Asked::Nobody => {}
                Asked::Nonsense => link.observed.bad_messages_total += 1,
            }));
        }
        self.end_overdue(context);
    }

    fn hear_owner(&mut self, run: &RunId, asked_at: Instant, answer: HeartbeatAnswer) {
        let HeartbeatAnswer { extended, gone, interrupted } = answer;
        // An owner speaks for the run it was asked about only.
        for attempt in extended.iter().filter(|attempt| attempt.run == *run) {
            let entry = self.serials.get(attempt).and_then(|serial| self.attempts.get_mut(serial));
            if let Some(claimed) = entry.and_then(|entry| entry.claimed.as_mut()) {
                claimed.extended_at = asked_at.max(claimed.extended_at);
            }
        }
        let gone = gone.iter().map(|attempt| (attempt, EndReason::Disowned));
        // The cancel that was broadcast did not come through.
        let interrupted = interrupted.iter().map(|attempt| (attempt, EndReason::Cancelled));
        for (attempt, reason) in gone.chain(interrupted).filter(|(attempt, _)| attempt.run == *run) {
            if let Some(serial) = self.serials.get(attempt) {
                self.end(*serial, reason);
            }
        }
    }

    /// Ends what no owner extended in time, and comes back for what would be overdue before the next heartbeat.
    pub(crate) fn end_overdue(&mut self, context: &mut Context<Link>) {
        let now = Instant::now();
        let deadlines = self.attempts.iter().filter_map(|(serial, entry)| Some((*serial, entry.claimed?)));
        let until_deadline = |claimed: Claimed| (claimed.extended_at + claimed.deadline).duration_since(now);
        let (overdue, in_time): (Vec<_>, Vec<_>) =
            deadlines.map(|(serial, claimed)| (serial, until_deadline(claimed))).partition(|(_, left)| left.is_zero());
        for (serial, _) in overdue {
            self.observed.deadlines_passed_total += 1;
            warn!(serial, "no owner answered in time; the attempt is ended");
            self.end(serial, EndReason::Disowned);
        }
        let next = in_time.into_iter().map(|(_, left)| left).min().filter(|left| *left < self.config.heartbeat);
        if let Some(next) = next {
            context.run_later(next, |link, context| link.end_overdue(context));
        }
    }
}

enum Asked {
    Answered(HeartbeatAnswer),
    Nobody,
    Nonsense,
}

async fn ask_owner(shared: Rc<Shared>, run: RunId, attempts: Vec<RunningAttempt>, wait: Duration) -> Asked {
    let heartbeat = Heartbeat { worker: shared.worker.clone(), attempts, info: None, rounds: Vec::new() };
    let Ok(request) = encode(&WorkerRequest::Heartbeat(heartbeat)) else { return Asked::Nobody };
    let Ok(Ok(answer)) = timeout(wait, shared.ports.control.request(&run, request)).await else { return Asked::Nobody };
    match decode(&answer) {
        Ok(OwnerAnswer::Heartbeat(answer)) => Asked::Answered(answer),
        Ok(OwnerAnswer::Claim(_)) | Err(_) => Asked::Nonsense,
    }
}
