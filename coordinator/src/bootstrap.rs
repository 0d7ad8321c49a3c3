//! Bootstrap: puts a coordinator together from the ports it is given. Which adapters are behind them is the business of
//! whoever starts the process.

use crate::actors::{BeginRun, ControlError, ControlRun, CountRuns, Root, RunEnd, RunToItsEnd, Shutdown};
use crate::clock::{Clock, SystemClock};
use crate::counted_feed::CountedFeed;
use crate::driver::{DriverContext, HibernationRule, Scripts};
use crate::event_stream::Streams;
use crate::folded_runs::FoldedRuns;
use crate::ownership::ShardOwner;
use crate::retention::{RemoveFiles, Retention};
use crate::standing::{ShardsStanding, Standing};
use crate::steering::{OwnerQuestion, OwnerReply, Steer, ask_owner};
use crate::submission::{IdempotencyKey, SubmitError, Submitted, new_run_id, submit_as, submit_once_as};
use crate::telemetry::{MemberReadiness, Telemetry, Watched};
use crate::watch::Watcher;
use actix::Addr;
use skein_common::RunId;
use skein_common::config::CoordinatorSettings;
use skein_common::ports::{Control, Ports, Shard};
use skein_common::run::RunSpec;
use skein_common::script::Loaded;
use skein_engine::Command;
use skein_script::{HostLimits, HostPool, LoadError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Scripts that are looked at at the same time for whoever asks; others wait.
const CHECKS: usize = 4;

/// Between two looks whether a process owns more shards by now. They are taken one beside the other within less.
const SHARDS_AGAIN: Duration = Duration::from_secs(1);

/// How a run's life in this process ended.
pub type RunOutcome = RunEnd;

/// What a coordinator is made from.
pub struct CoordinatorConfig {
    pub ports: Ports,
    pub hosts: HostPool,
    pub host_limits: HostLimits,
    pub settings: CoordinatorSettings,
    /// Names this process in leases of runs, to people.
    pub owner: String,
    /// Names this process among those that share the runs, when `ports.shards` says that several do. No two that live
    /// have the same; it stays when the process is started again on the same node.
    pub node: String,
    /// After so long without a renewal the store lets others have what this process held; at least a second.
    pub lease: Duration,
    pub telemetry: Telemetry,
}

impl std::fmt::Debug for CoordinatorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CoordinatorConfig").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// A running coordinator.
#[derive(Clone)]
pub struct Coordinator {
    root: Addr<Root>,
    ports: Ports,
    streams: Streams,
    folded: FoldedRuns,
    scripts: Arc<dyn Scripts>,
    host_limits: HostLimits,
    checks: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    owner: String,
    /// `None` where each run is owned by itself.
    shards: Option<ShardOwner>,
    watched: Watched,
}

impl std::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Coordinator")
    }
}

impl Coordinator {
    /// Starts the actors on the current arbiter; call it inside an actix system.
    #[must_use]
    pub fn start(config: CoordinatorConfig) -> Coordinator {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        tracing::info!(durability = config.ports.journal.durability(), "journal");
        let Telemetry { meters, metrics, readiness: process } = config.telemetry;
        let (ports, shards) = ShardOwner::share(config.ports, config.node, config.lease);
        let ports = Ports { feed: Arc::new(CountedFeed::new(ports.feed.clone(), metrics.clone())), ..ports };
        let holdings = shards.as_ref().map(|shards| shards.holdings.clone());
        if let Some(holdings) = &holdings {
            metrics.standing().tell_only_of(holdings.clone());
        }
        let watched = Watched { meters, readiness: Arc::new(MemberReadiness { process, holdings }) };
        let (scripts, host_limits): (Arc<dyn Scripts>, _) = (Arc::new(config.hosts), config.host_limits);
        let context = DriverContext {
            ports: ports.clone(),
            hosts: scripts.clone(),
            host_limits: host_limits.clone(),
            clock: clock.clone(),
            replaces_lost_hosts: true,
            hibernation: HibernationRule::of(&config.settings),
            metrics,
        };
        let root = Root::start_all(context, config.settings, config.owner.clone(), shards.clone());
        let streams = Streams::new(ports.clone());
        let folded = FoldedRuns::new(ports.clone());
        let checks = Arc::new(Semaphore::new(CHECKS));
        let owner = config.owner;
        Coordinator { root, ports, streams, folded, scripts, host_limits, checks, clock, owner, shards, watched }
    }

    /// Stores a new run and gives its id at once (R2).
    ///
    /// # Errors
    /// The submission is invalid or the store refuses.
    pub async fn submit(&self, spec: RunSpec) -> Result<RunId, SubmitError> {
        let run = self.new_run_id();
        submit_as(&self.ports, self.clock.as_ref(), &run, spec).await?;
        Ok(run)
    }

    /// The same under a key: sent again, it gives the same run (R11).
    ///
    /// # Errors
    /// `SubmitError::KeyReused` when the key came with another request before; else as [`Coordinator::submit`].
    pub async fn submit_once(&self, spec: RunSpec, idempotency: &IdempotencyKey) -> Result<Submitted, SubmitError> {
        submit_once_as(&self.ports, self.clock.as_ref(), self.new_run_id(), spec, idempotency).await
    }

    /// A new run belongs to who was asked, when that is possible.
    fn new_run_id(&self) -> RunId {
        self.shards.as_ref().map_or_else(new_run_id, |shards| shards.holdings.new_run_id())
    }

    /// Watches a run from now on.
    #[must_use]
    pub fn watch(&self, run: &RunId) -> Watcher {
        Watcher::new(self.ports.feed.as_ref(), run)
    }

    /// The events of runs, for many who watch from outside.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Runs as they stand, for who looks often.
    #[must_use]
    pub fn folded(&self) -> &FoldedRuns {
        &self.folded
    }

    /// Reads a script as a run would, in the sandbox; nothing of it runs.
    ///
    /// # Errors
    /// The script or the infrastructure is at fault.
    pub async fn check(&self, source: &str) -> Result<Loaded, LoadError> {
        // It is never closed.
        let _one_of_few = self.checks.acquire().await.ok();
        let (_host, loaded) = self.scripts.load(source, &self.host_limits).await?;
        Ok(loaded)
    }

    /// Runs a submitted or interrupted run for a person who wants it to go on, paused or not; answers when it ended or
    /// cannot go on here.
    pub async fn run_to_its_end(&self, run: RunId) -> RunOutcome {
        let end = self.root.send(RunToItsEnd { run, lifts_pause: true, is_left: false }).await;
        end.unwrap_or_else(|_| RunEnd::Interrupted { reason: String::from("the coordinator is gone") })
    }

    /// What this coordinator stands on, for who reads, and for who removes runs. Leases of runs are taken, and journals
    /// written, only for runs that belong to this process.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Takes a submitted or interrupted run up without waiting for its end; a paused one stays paused. A run that
    /// belongs to another coordinator is taken up there.
    ///
    /// # Errors
    /// Why it cannot be taken up: another process has it, or its coordinator does not answer. That one takes it up later.
    pub async fn begin(&self, run: RunId) -> Result<(), String> {
        if let Some(owner) = self.owner_elsewhere(&run).await {
            return match ask_owner(owner, &run, &OwnerQuestion::Begin { run: run.clone() }).await {
                Some(OwnerReply::Done) => Ok(()),
                Some(OwnerReply::NotBegun { reason }) => Err(reason),
                _ => Err(String::from("the coordinator that owns it does not answer")),
            };
        }
        let begun = self.root.send(BeginRun { run, is_left: false }).await;
        begun.unwrap_or_else(|_| Err(String::from("the coordinator is gone")))
    }

    /// A person pauses, resumes or stops a run, or stops, restarts or skips one of its agents; where several
    /// coordinators share the runs, whichever of them executes it. On return the journal has it.
    ///
    /// # Errors
    /// The run is not executed, or refuses.
    pub async fn control(&self, run: RunId, command: Command) -> Result<(), ControlError> {
        if let (Some(owner), Some(steer)) = (self.owner_elsewhere(&run).await, Steer::of(&command)) {
            return match ask_owner(owner, &run, &OwnerQuestion::Steer { run: run.clone(), steer }).await {
                Some(OwnerReply::Done) => Ok(()),
                Some(OwnerReply::Refused { refused }) => Err(ControlError::Refused(refused)),
                Some(OwnerReply::NotHere) => Err(ControlError::NotHere(run)),
                // Its owner may just be dying, and another takes the run up then.
                Some(OwnerReply::Unanswered | OwnerReply::NotBegun { .. }) | None => Err(ControlError::Unanswered),
            };
        }
        let answer = self.root.send(ControlRun { run, command }).await;
        answer.unwrap_or(Err(ControlError::Unanswered))
    }

    /// The way to the coordinator that owns the run, when that is another one.
    async fn owner_elsewhere(&self, run: &RunId) -> Option<&dyn Control> {
        if self.shards.as_ref().is_none_or(|shards| shards.holdings.is_ours(run)) {
            return None;
        }
        let holder = self.ports.leases.holder(run.as_str()).await;
        holder.ok().flatten().map(|_another| self.ports.steering.as_ref())
    }

    /// What removes runs that ended. Where several coordinators share them, the sweeps of each remove its own.
    #[must_use]
    pub fn retention(&self, remove_files: RemoveFiles) -> Retention {
        let retention = Retention::new(self.ports.clone(), self.owner.clone(), remove_files);
        let Some(ShardOwner { holdings, .. }) = self.shards.clone() else { return retention };
        let retention = retention.of_node(holdings.node());
        // What is executed here has not ended.
        retention.of_owned(Box::new(move |run| holdings.is_free_here(run)))
    }

    /// Waits until a shard belongs to this process that is not among these; gives all that do.
    pub async fn more_shards(&self, known: &BTreeSet<Shard>) -> BTreeSet<Shard> {
        loop {
            let owned = self.shards.iter().flat_map(|shards| shards.holdings.open_shards());
            let owned: BTreeSet<Shard> = owned.collect();
            if !owned.is_subset(known) {
                return owned;
            }
            tokio::time::sleep(SHARDS_AGAIN).await;
        }
    }

    /// For who watches the process.
    #[must_use]
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// How this coordinator stands.
    pub async fn standing(&self) -> Standing {
        let shards = self.shards.as_ref().map(|ShardOwner { holdings, counters, .. }| ShardsStanding {
            node: holdings.node().to_owned(),
            owned: holdings.open_shards(),
            count: holdings.count(),
            members: holdings.seen().map(|seen| seen.members.into_iter().collect()).unwrap_or_default(),
            refused_appends: counters.refused_appends(),
        });
        let live_runs = self.root.send(CountRuns).await.unwrap_or_default();
        Standing { owner: self.owner.clone(), live_runs, shards }
    }

    /// Leaves every run as its journal says, and lets other coordinators have them at once.
    pub async fn shutdown(&self) {
        let _gone_already = self.root.send(Shutdown).await;
    }
}
