//! Claim: asks the owner of a run whether an attempt may start.

use crate::attempt::Shared;
use crate::link::Link;
use crate::messages::NonsenseHeard;
use crate::process::Moment;
use actix::Addr;
use skein_common::wire::{AttemptRef, Claim, ClaimAnswer, OwnerAnswer, WorkerRequest, decode, encode};
use skein_common::{AttemptToken, Epoch};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

/// A run without an owner gets one within seconds. One that has none for so long is left to others: the task is not
/// marked done, so it is delivered again.
const CLAIM_WAIT: Duration = Duration::from_secs(10);
/// Between two claims of an attempt that nobody answered, at first and at most.
const CLAIM_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What came of asking for an attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ClaimOutcome {
    Go(Go),
    /// The task is to be dropped.
    Gone,
    /// There is no owner.
    Nobody,
}

/// The owner's leave to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Go {
    pub token: AttemptToken,
    pub epoch: Epoch,
    pub deadline: Duration,
    /// The deadline counts from here.
    pub asked_at: Moment,
}

/// Asks the owner, again and again while there is none.
pub(crate) async fn claim(shared: &Shared, attempt: &AttemptRef, link: &Addr<Link>) -> ClaimOutcome {
    let claim = Claim { attempt: attempt.clone(), worker: shared.info.id.clone() };
    let Ok(request) = encode(&WorkerRequest::Claim(claim)) else { return ClaimOutcome::Gone };
    let give_up_at = Instant::now() + CLAIM_WAIT;
    let (mut pause, pause_max) = CLAIM_AGAIN;
    loop {
        let asked_at = Moment::now();
        let asking = shared.ports.control.request(&attempt.run, request.clone());
        let asked = tokio::select! {
            biased;
            asked = timeout_at(give_up_at, asking) => asked,
            // Whoever was asked may have died with the question. If it was the new one, it answers the same again.
            () = shared.owner_came.notified() => continue,
        };
        match asked {
            Ok(Ok(answer)) => return understand(&answer, asked_at, attempt, link).await,
            Ok(Err(error)) => debug!(run_id = %attempt.run, agent = attempt.agent, %error, "claim not answered"),
            Err(_) => return ClaimOutcome::Nobody,
        }
        tokio::select! {
            () = tokio::time::sleep_until(give_up_at) => return ClaimOutcome::Nobody,
            () = tokio::time::sleep(pause) => pause = pause_max.min(pause * 2),
            // It answers once it has heard all workers, so a long pause would be one too many.
            () = shared.owner_came.notified() => pause = CLAIM_AGAIN.0,
        }
    }
}

async fn understand(answer: &[u8], asked_at: Moment, attempt: &AttemptRef, link: &Addr<Link>) -> ClaimOutcome {
    match decode(answer) {
        Ok(OwnerAnswer::Claim(ClaimAnswer::Go { token, epoch, deadline_ms })) => {
            ClaimOutcome::Go(Go { token, epoch, deadline: Duration::from_millis(deadline_ms), asked_at })
        }
        Ok(OwnerAnswer::Claim(ClaimAnswer::Gone)) => ClaimOutcome::Gone,
        Ok(OwnerAnswer::Heartbeat(_)) | Err(_) => {
            warn!(run_id = %attempt.run, agent = attempt.agent, "the answer to a claim is none");
            let _ = link.send(NonsenseHeard).await;
            ClaimOutcome::Gone
        }
    }
}
