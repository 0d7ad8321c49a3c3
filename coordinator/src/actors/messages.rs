//! The messages between the actors of a coordinator.

use crate::attempts::Inheritance;
use crate::driver::Journalled;
use actix::Message;
use skein_common::RunId;
use skein_common::ports::{ControlRequest, ResultDelivery, Shard, Target};
use skein_common::view::RunView;
use skein_common::wire::AttemptRef;
use skein_engine::{Command, Refused};
use tokio::sync::oneshot;

/// How the life of a run in this process ended.
#[derive(Debug, Clone)]
pub enum RunEnd {
    /// The run has its end in the journal.
    Ended(Box<RunView>),
    /// It stands as its journal says and can be taken up again.
    Interrupted { reason: String },
}

/// Runs a submitted or interrupted run to its end. Sent by: the command line or the API. Answered when it ended.
#[derive(Debug, Message)]
#[rtype(result = "RunEnd")]
pub(crate) struct RunToItsEnd {
    pub run: RunId,
    /// A person wants it to go on: a pause that its journal has is over.
    pub lifts_pause: bool,
    /// An earlier owner left it: it is opened in turn, as there may be many.
    pub is_left: bool,
}

/// Takes a run up without waiting for its end; a pause stays. Sent by: the API. Answered when it lives here.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), String>")]
pub(crate) struct BeginRun {
    pub run: RunId,
    /// An earlier owner left it: it is opened in turn, as there may be many.
    pub is_left: bool,
}

/// Leaves every run as its journal says. Sent by: the process, at its end. Answered when all Run actors are gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Shutdown;

/// Leaves the runs of one shard as their journals say: it comes to another process. Sent by: Shards. Answered when none
/// of them lives here. With a full mailbox Shards waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HaltShard {
    pub shard: Shard,
}

/// Gives back whatever this process owns. Sent by: Root, at its end. Answered when others may take it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct LeaveShards;

/// The Shards actor went away: it panicked. Sent by: its death watch.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ShardsDied;

/// How many runs live here. Sent by: the API.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub(crate) struct CountRuns;

/// A Run actor is done. Sent by: Run, by its loop.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RunFinished {
    pub run: RunId,
    pub incarnation: u64,
    pub end: RunEnd,
    /// A new incarnation may get further: nothing says that the run or the store is to blame.
    pub try_again: bool,
    /// An agent ended under this incarnation: whatever stopped it is not what stopped the one before.
    pub got_further: bool,
}

/// A Run actor went away without a word: it panicked. Sent by: its death watch.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RunDied {
    pub run: RunId,
    pub incarnation: u64,
}

/// Things that happened to a run. Sent by: Fleet.
#[derive(Debug, Default, Message)]
#[rtype(result = "()")]
pub(crate) struct Deliver {
    pub items: Vec<Incoming>,
    /// Attempts whose task may be with nobody: to be dispatched once more, under the same number.
    pub again: Vec<AttemptRef>,
}

/// Where the answer to a person goes.
pub(crate) type Asker = oneshot::Sender<Result<(), ControlError>>;

/// One thing for a run.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub command: Command,
    /// To be marked done once the journal has what follows from it.
    pub delivery: Option<u64>,
    /// Who waits for what became of it.
    pub answer: Option<Asker>,
}

impl From<Command> for Incoming {
    fn from(command: Command) -> Incoming {
        Incoming { command, delivery: None, answer: None }
    }
}

/// A person does something to a run or one of its agents. Sent by: the API. Answered when the journal has it.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), ControlError>")]
pub(crate) struct ControlRun {
    pub run: RunId,
    pub command: Command,
}

/// Why a run did not do what a person asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Another process owns it, or nobody does.
    #[error("run {0} is not executed by this process")]
    NotHere(RunId),
    #[error(transparent)]
    Refused(Refused),
    /// Its incarnation ended before it had answered.
    #[error("the run is being taken up again or has just ended: look at it, then try again")]
    Unanswered,
}

/// Leave the run as its journal says. Sent by: Root.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Halt;

/// Where messages for a run go from now on. Sent by: Run, when it starts. Answered with the attempts that are alive:
/// claimed under an earlier incarnation in this process, so that they need not start again.
#[derive(Message)]
#[rtype(result = "Vec<AttemptRef>")]
pub(crate) struct RegisterRun {
    pub run: RunId,
    pub epoch: skein_common::Epoch,
    pub recipient: actix::Recipient<Deliver>,
}

/// What the journal of a run that was taken over says runs. Sent by: Run, once it has read it; not where workers live
/// and die with this process.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Inherit(pub Inheritance);

/// The queue of tasks may have lost some. Sent by: who watches it. Answered when their runs were told.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct QueueDied;

/// Nothing of this run is expected any more: it ended or is left. Sent by: Root.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ForgetRun {
    pub run: RunId,
}

/// These attempts are journalled and may be claimed. Sent by: Run, before it dispatches them. Answered for each, in
/// their order: `None` when a worker has it already, else whether a worker is known that takes it.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Option<bool>>")]
pub(crate) struct Expect {
    pub attempts: Vec<ExpectedAttempt>,
}

/// A person ends this attempt. Sent by: Run. Answered with what the run has to be told at once, when no worker has it.
#[derive(Debug, Message)]
#[rtype(result = "Option<Command>")]
pub(crate) struct Interrupt {
    pub attempt: AttemptRef,
}

/// An attempt and whose workers may claim it.
#[derive(Debug)]
pub(crate) struct ExpectedAttempt {
    pub attempt: AttemptRef,
    pub target: Target,
}

/// These attempts are over for their run: their end is in the journal. Sent by: Run.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Forget {
    pub attempts: Vec<AttemptRef>,
}

/// A worker asks. Sent by: the pump of the Control port.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct WorkerAsked(pub ControlRequest);

/// Workers report. Sent by: the pump of the Results port.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ResultsArrived(pub Vec<ResultDelivery>);

/// A batch is in the journal. Sent by: Run. Dropped when Feed's mailbox is full: watchers get the next view.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Publish {
    pub run: RunId,
    pub journalled: Option<Journalled>,
    /// The run as it stands, when it is time to show it again.
    pub view: Option<Box<RunView>>,
}
