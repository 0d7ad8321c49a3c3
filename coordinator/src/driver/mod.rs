//! Driver: the one loop of a run.
//!
//! Take what arrived, apply it, settle it into the script host, decide on the calls that come back, append all
//! resulting events as one batch, and only then perform the effects. State and host may be ahead of the journal by
//! that batch; if the append fails they are thrown away (the driver ends) and rebuilt from the journal.

mod hibernation;
mod recovery;
mod reported;
mod script;
mod step;

pub use hibernation::HibernationRule;
pub use script::{Script, Scripts};

use crate::clock::Clock;
use crate::journal::LoadError;
use crate::metrics::Metrics;
use crate::standing_gauges::LiveRun;
use async_trait::async_trait;
use skein_common::ports::{BlobError, JournalError, Ports};
use skein_common::wire::AttemptRef;
use skein_common::{AgentNumber, AttemptNumber, Digest, Epoch, RunId};
use skein_engine::{Effect, Event, JournalSettlement, RecordError, Refused, Run, RunState};
use skein_script::HostLimits;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a driver cannot go on. The run itself is as its journal says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Somebody killed it, or it crashed.
    #[error("the script host is gone: {reason}")]
    HostLost { reason: String },
    #[error("script host: {0}")]
    Host(#[source] skein_script::LoadError),
    #[error(transparent)]
    Engine(#[from] Refused),
    /// What is in the journal is for the next owner to act on.
    #[error("the run belongs to another process by now, or may do so")]
    NotOurs,
    /// A newer owner has it.
    #[error("deposed: {0}")]
    Deposed(Refused),
    #[error("the run has ended already")]
    Ended,
}

/// Performs effects once their events are in the journal. Implemented by the Run actor; tests record.
#[async_trait(?Send)]
pub trait Performer {
    /// Carries these out, in order. `events` are the journalled events they come from, for watchers.
    async fn perform(&mut self, state: &RunState, journalled: &Journalled, effects: Vec<Effect>);

    /// Waits until a script that does not come to rest has to end all the same: the run is to be stopped, and the
    /// script has had its grace. For ever, unless somebody wants that.
    async fn script_is_overdue(&self) {
        std::future::pending().await
    }
}

/// A batch that is in the journal.
#[derive(Debug, Clone)]
pub struct Journalled {
    pub at_ms: i64,
    pub events: Arc<Vec<Event>>,
}

/// What a driver needs of the process it runs in.
#[derive(Clone)]
pub struct DriverContext {
    pub ports: Ports,
    pub hosts: Arc<dyn Scripts>,
    pub host_limits: HostLimits,
    pub clock: Arc<dyn Clock>,
    /// A host that went away is replaced by a replay into a fresh one; off for the last incarnation, whose end it is.
    pub replaces_lost_hosts: bool,
    pub hibernation: HibernationRule,
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for DriverContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DriverContext")
    }
}

/// Which attempts that the journal says run are not known to be over.
#[derive(Debug, Clone)]
pub enum Alive {
    /// Workers are processes of their own: whoever took the run over finds out.
    All,
    /// The others went down with their owner.
    These(Vec<AttemptRef>),
}

impl Alive {
    fn includes(&self, agent: AgentNumber, attempt: AttemptNumber) -> bool {
        match self {
            Alive::All => true,
            Alive::These(known) => known.iter().any(|known| (known.agent, known.attempt) == (agent, attempt)),
        }
    }
}

/// Owns one run: its engine state, its script host, its place in the journal.
pub struct Driver {
    run_id: RunId,
    epoch: Epoch,
    context: DriverContext,
    run: Run,
    /// `None` before the script is loaded, while it hibernates and after it ended.
    host: Option<Box<dyn Script>>,
    hibernates: bool,
    /// Records in the journal.
    records: u64,
    batches: u64,
    /// Decided but not journalled yet.
    pending: Vec<Event>,
    pending_at_ms: i64,
    /// How far the journal's time is ahead of a clock that jumped back: it goes on from where it was.
    ahead_ms: i64,
    /// Settlements decided but not delivered to the script, with their time.
    unsettled: Vec<(i64, JournalSettlement)>,
    /// Large texts of the pending batch, for settlements that need them at once.
    texts: BTreeMap<Digest, String>,
    unstored: Vec<Digest>,
    /// How the run stands, for the metrics.
    live: LiveRun,
}

impl Driver {
    #[must_use]
    pub fn state(&self) -> &RunState {
        self.run.state()
    }

    #[must_use]
    pub fn run_id(&self) -> &RunId {
        &self.run_id
    }

    #[must_use]
    pub fn context(&self) -> &DriverContext {
        &self.context
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("run", &self.run_id).field("records", &self.records).finish_non_exhaustive()
    }
}
