//! Bootstrap: puts a coordinator together from the ports it is given. Which adapters are behind them is the business of
//! whoever starts the process.

use crate::actors::{BeginRun, ControlError, ControlRun, Root, RunEnd, RunToItsEnd, Shutdown};
use crate::clock::{Clock, SystemClock};
use crate::driver::{DriverContext, HibernationRule};
use crate::submission::{IdempotencyKey, SubmitError, Submitted, submit, submit_once};
use crate::watch::Watcher;
use actix::Addr;
use skein_common::RunId;
use skein_common::config::CoordinatorSettings;
use skein_common::ports::Ports;
use skein_common::run::RunSpec;
use skein_engine::Command;
use skein_script::{HostLimits, HostPool};
use std::sync::Arc;

/// How a run's life in this process ended.
pub type RunOutcome = RunEnd;

/// What a coordinator is made from.
pub struct CoordinatorConfig {
    pub ports: Ports,
    pub hosts: HostPool,
    pub host_limits: HostLimits,
    pub settings: CoordinatorSettings,
    /// Names this process in leases.
    pub owner: String,
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
    clock: Arc<dyn Clock>,
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
        let context = DriverContext {
            ports: config.ports.clone(),
            hosts: Arc::new(config.hosts),
            host_limits: config.host_limits,
            clock: clock.clone(),
            replaces_lost_hosts: true,
            hibernation: HibernationRule::of(&config.settings),
        };
        let root = Root::start_all(context, config.settings, config.owner);
        Coordinator { root, ports: config.ports, clock }
    }

    /// Stores a new run and gives its id at once (R2).
    ///
    /// # Errors
    /// The submission is invalid or the store refuses.
    pub async fn submit(&self, spec: RunSpec) -> Result<RunId, SubmitError> {
        submit(&self.ports, self.clock.as_ref(), spec).await
    }

    /// The same under a key: sent again, it gives the same run (R11).
    ///
    /// # Errors
    /// `SubmitError::KeyReused` when the key came with another request before; else as [`Coordinator::submit`].
    pub async fn submit_once(&self, spec: RunSpec, idempotency: &IdempotencyKey) -> Result<Submitted, SubmitError> {
        submit_once(&self.ports, self.clock.as_ref(), spec, idempotency).await
    }

    /// Watches a run from now on.
    #[must_use]
    pub fn watch(&self, run: &RunId) -> Watcher {
        Watcher::new(self.ports.feed.as_ref(), run)
    }

    /// Runs a submitted or interrupted run for a person who wants it to go on, paused or not; answers when it ended or
    /// cannot go on here.
    pub async fn run_to_its_end(&self, run: RunId) -> RunOutcome {
        let end = self.root.send(RunToItsEnd { run, lifts_pause: true }).await;
        end.unwrap_or_else(|_| RunEnd::Interrupted { reason: String::from("the coordinator is gone") })
    }

    /// What this coordinator stands on, for who reads.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Takes a submitted or interrupted run up without waiting for its end; a paused one stays paused.
    ///
    /// # Errors
    /// Why it cannot be taken up here: another process has it.
    pub async fn begin(&self, run: RunId) -> Result<(), String> {
        let begun = self.root.send(BeginRun { run }).await;
        begun.unwrap_or_else(|_| Err(String::from("the coordinator is gone")))
    }

    /// A person pauses, resumes or stops a run that is executed here, or stops, restarts or skips one of its agents.
    /// On return the journal has it.
    ///
    /// # Errors
    /// The run is not executed here, or refuses.
    pub async fn control(&self, run: RunId, command: Command) -> Result<(), ControlError> {
        let answer = self.root.send(ControlRun { run, command }).await;
        answer.unwrap_or(Err(ControlError::Unanswered))
    }

    /// Leaves every run as its journal says.
    pub async fn shutdown(&self) {
        let _gone_already = self.root.send(Shutdown).await;
    }
}
