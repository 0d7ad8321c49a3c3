//! Messages of the worker's actors: intent, sender, answer.

use crate::process::Moment;
use crate::runner::Asked;
use actix::Message;
use skein_common::ports::TaskDelivery;
use skein_common::wire::{Cancel, HeartbeatAnswer, WorkerInfo, WorkerOrder};
use skein_common::{AttemptToken, Epoch, RunId};
use std::time::Duration;

/// Numbers the attempts of one Link.
pub(crate) type Serial = u64;

/// Brings tasks. Sent by: the pull loop of a target. Answered when each has a slot or waits for one.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TasksPulled {
    pub deliveries: Vec<TaskDelivery>,
}

/// The owner said `go`. Sent by: Attempt. The answer says whether to carry it out.
#[derive(Debug, Message)]
#[rtype(result = "Verdict")]
pub(crate) struct AttemptClaimed {
    pub serial: Serial,
    pub token: AttemptToken,
    pub epoch: Epoch,
    /// Without an answer to a heartbeat for so long it ends.
    pub deadline: Duration,
    /// The deadline counts from here.
    pub asked_at: Moment,
}

/// What becomes of an attempt that was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, actix::MessageResponse)]
pub(crate) enum Verdict {
    CarryOut,
    /// A newer owner has been heard of, or the worker stops.
    Drop,
}

/// The attempt is over and its slot free. Sent by: Attempt when it is dropped. Not answered.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AttemptGone {
    pub serial: Serial,
    /// It did not come to its own end: it panicked.
    pub died: bool,
}

/// An owner cancels. Sent by: the broadcast listener. Answered when the attempts were told.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CancelHeard {
    pub cancel: Cancel,
}

/// An owner tells workers what to do. Sent by: the broadcast listener. Answered when it is under way.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct OrderHeard {
    pub order: WorkerOrder,
}

/// An owner answered a heartbeat. Sent by: who listens to the answers to it. Answered when it is obeyed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct OwnerHeard {
    pub answer: HeartbeatAnswer,
    /// When the heartbeat was sent: deadlines count from here.
    pub asked_at: Moment,
}

/// Something came that is no message of ours. Sent by: the broadcast listener, Attempt, who listens to the answers to a
/// heartbeat. Not answered.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct NonsenseHeard;

/// Broadcasts were lost, so the owners are asked. Sent by: the broadcast listener. Not answered.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct BroadcastsMissed;

/// Takes nothing new (A8). Sent by: the worker's handle. Answered when the last attempt is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// Ends all attempts. Sent by: the worker's handle. Answered when every process is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StopWorker;

/// The run ended. Sent by: the worker's handle. Answered when other owners may start attempts of it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ReleaseRun {
    pub run: RunId,
}

/// Asks for numbers. Sent by: the worker's handle. Answered at once.
#[derive(Debug, Message)]
#[rtype(result = "Observed")]
pub(crate) struct Observe;

/// What tests and operators see of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, actix::MessageResponse)]
pub struct Observed {
    pub slots_free: usize,
    pub attempts: usize,
    /// Tasks that were pulled and wait for a slot.
    pub backlog: usize,
    pub attempts_begun_total: u64,
    /// Attempts that panicked.
    pub attempts_died_total: u64,
    /// Attempts ended because no owner answered in time.
    pub deadlines_passed_total: u64,
    /// Bytes that were no message of this version.
    pub bad_messages_total: u64,
    /// Messages of owners older than the newest heard of.
    pub stale_owners_total: u64,
}

/// Ends the attempt. Sent by: Link. Not answered; `AttemptGone` follows.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct EndAttempt {
    pub reason: EndReason,
}

/// Why an attempt is ended before its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The owner cancelled it and wants to hear so.
    Cancelled,
    /// Its owner says that it does not know it (any more): nobody waits for a report.
    Disowned,
    /// No owner answered in time, or the session died. A report that is finished may still be of use to a successor.
    Abandoned,
    /// The worker ends.
    WorkerStops,
}

impl EndReason {
    /// An attempt without an owner must be over when its deadline passes there: the next one may begin then, and the
    /// agents of a run are counted (L1).
    pub(crate) fn asks(self) -> Asked {
        match self {
            EndReason::Disowned | EndReason::Abandoned => Asked::AtOnce,
            EndReason::Cancelled | EndReason::WorkerStops => Asked::Gracefully,
        }
    }
}

/// Where a worker is in its life. Survives a fault of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Working,
    /// Takes nothing new (A8).
    Draining,
    /// And has nothing left to do.
    Drained,
    /// Another process speaks for its node: whatever ran here is taken for lost, and it is given nothing more.
    Superseded,
}

impl Phase {
    /// What the worker tells of itself in this phase.
    pub(crate) fn told_in(self, info: &WorkerInfo) -> WorkerInfo {
        WorkerInfo { draining: self != Phase::Working, ..info.clone() }
    }
}

/// Panics. Sent by: a test. Not answered.
#[cfg(test)]
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct DieForTest;
