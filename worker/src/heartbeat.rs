//! The part of Link that keeps owners informed of its attempts, and ends those that no owner vouches for.

use crate::attempt::Shared;
use crate::link::{Claimed, Entry, Link};
use crate::messages::{EndReason, NonsenseHeard, OwnerHeard};
use crate::process::Moment;
use actix::{Addr, AsyncContext as _, Context, Handler, WrapFuture as _};
use skein_common::wire::{AttemptRef, Heartbeat, OwnerAnswer, RunningAttempt, WorkerRequest, decode, encode};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

/// Several reasons for a heartbeat within this moment make one. New owners wait for it before they give out anything.
const MOMENT: Duration = Duration::from_millis(10);

impl Link {
    /// Tells all owners who this worker is and which attempts run here. Answers are taken as they come, until the next
    /// heartbeat is due.
    pub(crate) fn heartbeat(&mut self, context: &mut Context<Link>) {
        let running = |entry: &Entry| {
            let Claimed { token, .. } = entry.claimed?;
            Some(RunningAttempt { attempt: entry.attempt.clone(), token })
        };
        let shared = Rc::clone(&self.config.shared);
        // Who reports has handed over its results: what it does not name then is with nobody, and begins anew. Owners
        // ask again until they hear it.
        let rounds = if shared.outbox.is_clear() { std::mem::take(&mut self.rounds) } else { BTreeSet::new() };
        let heartbeat = Heartbeat {
            worker: shared.info.id.clone(),
            attempts: self.attempts.values().filter_map(running).collect(),
            info: Some(self.phase().told_in(&shared.info)),
            rounds: rounds.into_iter().collect(),
        };
        let (interval, link) = (self.config.heartbeat, context.address());
        let asking = async move { drop(timeout(interval, ask_owners(shared, heartbeat, link)).await) };
        context.spawn(asking.into_actor(self));
        self.end_overdue(context);
    }

    /// A heartbeat in a moment, also for those who ask for one until then.
    pub(crate) fn heartbeat_soon(&mut self, context: &mut Context<Link>) {
        if !std::mem::replace(&mut self.heartbeat_is_near, true) {
            context.run_later(MOMENT, |link, context| {
                link.heartbeat_is_near = false;
                link.heartbeat(context);
            });
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
            if let Some(Entry { attempt, .. }) = self.attempts.get(&serial) {
                let AttemptRef { run, agent, attempt } = attempt;
                warn!(run_id = %run, agent, attempt, "no owner answered in time; the attempt is ended");
            }
            self.end(serial, EndReason::Abandoned);
        }
        let next = in_time.into_iter().map(|(_, left)| left).min().filter(|left| *left < self.config.heartbeat);
        if let Some(next) = next {
            context.run_later(next, |link, context| link.end_overdue(context));
        }
    }
}

/// Brings Link each answer as it comes.
async fn ask_owners(shared: Rc<Shared>, heartbeat: Heartbeat, link: Addr<Link>) {
    let Ok(request) = encode(&WorkerRequest::Heartbeat(heartbeat)) else { return };
    let asked_at = Moment::now();
    let mut answers = match shared.ports.control.ask_owners(request).await {
        Ok(answers) => answers,
        Err(error) => return debug!(%error, "a heartbeat was not sent"),
    };
    while let Some(answer) = answers.next().await {
        let heard = match decode(&answer) {
            Ok(OwnerAnswer::Heartbeat(answer)) => link.send(OwnerHeard { answer, asked_at }).await,
            Ok(OwnerAnswer::Claim(_)) | Err(_) => link.send(NonsenseHeard).await,
        };
        if heard.is_err() {
            return;
        }
    }
}

impl Handler<OwnerHeard> for Link {
    type Result = ();

    /// An owner speaks for the runs that it has, and names no others.
    fn handle(&mut self, message: OwnerHeard, _: &mut Context<Link>) {
        let OwnerHeard { answer, asked_at } = message;
        if answer.superseded {
            return self.give_way();
        }
        let mut extended = Vec::new();
        for attempt in &answer.extended {
            let entry = self.serials.get(attempt).and_then(|serial| self.attempts.get_mut(serial));
            if let Some(claimed) = entry.and_then(|entry| entry.claimed.as_mut()) {
                claimed.extended_at = asked_at.instant.max(claimed.extended_at);
                extended.push((attempt, asked_at, claimed.deadline));
            }
        }
        self.vouch_for(extended);
        let gone = answer.gone.iter().map(|attempt| (attempt, EndReason::Disowned));
        // The cancel that was broadcast did not come through.
        let interrupted = answer.interrupted.iter().map(|attempt| (attempt, EndReason::Cancelled));
        for (attempt, reason) in gone.chain(interrupted) {
            if let Some(serial) = self.serials.get(attempt) {
                self.end(*serial, reason);
            }
        }
    }
}
