//! Performer: carries out what a run decided, once it is in the journal.

use super::dispatcher::{Dispatched, Dispatcher, rejection};
use super::feed::{Feed, items_of};
use super::fleet::Fleet;
use super::inbox::Inbox;
use super::messages::{Expect, ExpectedAttempt, Forget, Inherit, Interrupt, Publish};
use super::timers::Timers;
use crate::attempts::Inheritance;
use crate::clock::Clock;
use crate::driver::{Journalled, Performer};
use crate::journal::load_text;
use crate::metrics::Metrics;
use crate::script_files::read_script;
use actix::Addr;
use async_trait::async_trait;
use skein_common::ports::{Ports, Target, TasksError};
use skein_common::view::RunView;
use skein_common::wire::{AttemptRef, Cancel, Task, encode};
use skein_common::{AgentNumber, AttemptNumber, Epoch, RunId};
use skein_engine::{AgentSpec, Command, Effect, Event, RunState, run_view};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The pool of agents that name none.
const DEFAULT_POOL: &str = "default";
/// Watchers see the run as a whole at most this often.
pub(super) const VIEW_INTERVAL: Duration = Duration::from_millis(100);

fn default_pool() -> Target {
    Target::Pool(DEFAULT_POOL.to_owned())
}

fn target_of(spec: &AgentSpec) -> Target {
    match (&spec.host, &spec.pool) {
        (Some(host), _) => Target::Host(host.clone()),
        (None, Some(pool)) => Target::Pool(pool.clone()),
        (None, None) => default_pool(),
    }
}

/// Carries out the effects of one run.
pub(super) struct RunPerformer {
    pub run: RunId,
    pub epoch: Epoch,
    pub ports: Ports,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub fleet: Addr<Fleet>,
    pub feed: Addr<Feed>,
    pub inbox: Inbox,
    pub grace_ms: u64,
    /// How long a task waits for a worker of its host.
    pub host_wait_ms: u64,
    pub last_view: Option<Instant>,
    /// Something changed since the last view.
    pub view_is_due: bool,
    pub timers: Timers,
    /// When a script that returned or was stopped has had its grace.
    pub grace_ends: Option<Instant>,
    /// An agent of this run ended under this incarnation.
    pub got_further: bool,
    /// The run as it ended.
    pub ended: Option<Box<RunView>>,
}

#[async_trait(?Send)]
impl Performer for RunPerformer {
    async fn perform(&mut self, state: &RunState, journalled: &Journalled, effects: Vec<Effect>) {
        self.got_further |= journalled.events.iter().any(|event| matches!(event, Event::TaskEnded { .. }));
        self.publish(state, Some(journalled.clone()));
        // What was started and cancelled in one batch has to be cancelled after it was started.
        let is_dispatch = |effect: &Effect| matches!(effect, Effect::Dispatch { .. });
        let (dispatches, others): (Vec<Effect>, Vec<Effect>) = effects.into_iter().partition(is_dispatch);
        if !state.is_ended() {
            self.dispatch(state, dispatches).await;
        }
        for effect in others {
            match effect {
                Effect::Dispatch { .. } => {}
                Effect::Cancel { agent, attempt } => self.cancel(agent, attempt).await,
                Effect::Interrupt { agent, attempt } => self.interrupt(agent, attempt).await,
                Effect::StartTimer { call, due_ms } => {
                    // Both are journal time, which does not jump with the machine's clock.
                    let wait_ms = due_ms.saturating_sub(journalled.at_ms);
                    self.timers.start(u64::try_from(wait_ms).unwrap_or(0), Command::Fire { call });
                }
                Effect::StartGrace => {
                    self.timers.start(self.grace_ms, Command::EndGrace);
                    self.grace_ends = Some(Instant::now() + Duration::from_millis(self.grace_ms));
                }
                Effect::LoadWorkflow { call, path } => self.load_workflow(state, call, path).await,
                Effect::Announce => self.announce(state).await,
            }
        }
    }

    async fn script_is_overdue(&self) {
        let ends = match self.grace_ends {
            Some(ends) => ends,
            None => {
                self.inbox.has_stop().await;
                Instant::now() + Duration::from_millis(self.grace_ms)
            }
        };
        tokio::time::sleep_until(ends.into()).await;
    }
}

impl RunPerformer {
    fn attempt(&self, agent: AgentNumber, attempt: AttemptNumber) -> AttemptRef {
        AttemptRef { run: self.run.clone(), agent, attempt }
    }

    /// Journalled events go to watchers at once, the whole view not more often than they can read.
    pub fn publish(&mut self, state: &RunState, journalled: Option<Journalled>) {
        let due = self.last_view.is_none_or(|last| last.elapsed() >= VIEW_INTERVAL);
        self.view_is_due = !due;
        let view = due.then(|| {
            self.last_view = Some(Instant::now());
            Box::new(run_view(&self.run, state, self.clock.now_ms(), None))
        });
        let message = Publish { run: self.run.clone(), journalled, view };
        if let Err(refused) = self.feed.try_send(message) {
            tracing::debug!(run_id = %self.run, "feed is full: items dropped");
            self.metrics.dropped(items_of(&refused.into_inner()));
        }
    }

    /// What the journal says runs may be with workers of an earlier owner.
    pub async fn hand_over(&self, state: &RunState) {
        if self.ports.shards.is_none() {
            return;
        }
        let running = state.running.iter().map(|(agent, attempt)| {
            (
                self.attempt(*agent, *attempt),
                state.agent(*agent).map_or_else(default_pool, |agent| target_of(&agent.spec)),
            )
        });
        let inheritance = Inheritance { run: self.run.clone(), attempts: running.collect() };
        if self.fleet.send(Inherit(inheritance)).await.is_err() {
            tracing::error!(run_id = %self.run, "fleet is gone");
        }
    }

    /// Tasks that may be with nobody, unless their attempts are over by now.
    pub async fn dispatch_again(&self, state: &RunState, attempts: BTreeSet<AttemptRef>) {
        let still_runs = |attempt: &AttemptRef| state.running.get(&attempt.agent) == Some(&attempt.attempt);
        let attempts = attempts.iter().filter(|attempt| still_runs(attempt));
        let effects: Vec<Effect> =
            attempts.map(|again| Effect::Dispatch { agent: again.agent, attempt: again.attempt }).collect();
        if !state.is_ended() {
            self.dispatch(state, effects).await;
        }
    }

    /// The attempts are expected before anybody can claim them.
    async fn dispatch(&self, state: &RunState, dispatches: Vec<Effect>) {
        if dispatches.is_empty() {
            return;
        }
        let dispatches: Vec<(AgentNumber, AttemptNumber)> = dispatches
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Dispatch { agent, attempt } => Some((agent, attempt)),
                _ => None,
            })
            .collect();
        let expected = |(agent, attempt): &(AgentNumber, AttemptNumber)| {
            let target = state.agent(*agent).map_or_else(default_pool, |agent| target_of(&agent.spec));
            ExpectedAttempt { attempt: self.attempt(*agent, *attempt), target }
        };
        let attempts = dispatches.iter().map(expected).collect();
        let Ok(answers) = self.fleet.send(Expect { attempts }).await else {
            return tracing::error!(run_id = %self.run, "fleet is gone");
        };
        let to_send = dispatches.into_iter().zip(answers).filter_map(|(task, is_served)| Some((task, is_served?)));
        let tasks = to_send.filter_map(|((agent, attempt), is_served)| self.task(state, agent, attempt, is_served));
        self.dispatcher().dispatch(tasks.collect()).await;
    }

    fn dispatcher(&self) -> Dispatcher {
        Dispatcher {
            run: self.run.clone(),
            tasks: self.ports.tasks.clone(),
            inbox: self.inbox.clone(),
            fleet: self.fleet.clone(),
            host_wait_ms: self.host_wait_ms,
            is_cluster: self.ports.shards.is_some(),
        }
    }

    /// What a worker gets to know of an attempt.
    fn task(
        &self,
        state: &RunState,
        number: AgentNumber,
        attempt: AttemptNumber,
        is_served: bool,
    ) -> Option<Dispatched> {
        let spec = &state.agent(number)?.spec;
        let definition = spec
            .agent_type
            .as_ref()
            .and_then(|name| state.spec.definitions.iter().find(|definition| definition.name == *name));
        let task = Task {
            attempt: self.attempt(number, attempt),
            epoch: self.epoch,
            runner: spec.runner,
            prompt: spec.prompt.clone(),
            schema: spec.schema.clone(),
            label: spec.label.clone(),
            phase: spec.phase.clone(),
            model: spec.model.clone(),
            host: spec.host.clone(),
            definition: definition.cloned(),
            command: state.spec.command.clone(),
            args: state.spec.args.clone(),
            project_dir: state.spec.project_dir.clone(),
            simulation: state.spec.simulation,
            timeout_ms: spec.timeout_ms,
            stall_ms: spec.stall_ms,
            isolation: spec.isolation,
            traceparent: state.spec.traceparent.clone(),
        };
        match encode(&task) {
            Ok(task) => Some(Dispatched { agent: number, attempt, target: target_of(spec), task, is_served }),
            Err(error) => {
                let error = TasksError::Unavailable { source: Box::new(error) };
                self.inbox.push(rejection(number, attempt, &error));
                None
            }
        }
    }

    /// A file may be slow to read: the loop does not wait for it.
    async fn load_workflow(&self, state: &RunState, call: u32, path: String) {
        let (roots, inbox) = (state.spec.script_roots.clone(), self.inbox.clone());
        actix::spawn(async move {
            let read = tokio::task::spawn_blocking(move || read_script(&roots, &path)).await;
            let read = read.unwrap_or_else(|error| Err(format!("it cannot be read: {error}")));
            inbox.push(Command::ProvideScript { call, read });
        });
    }

    /// These attempts need no further answer to their worker.
    pub async fn forget(&self, attempts: Vec<AttemptRef>) {
        if !attempts.is_empty() && self.fleet.send(Forget { attempts }).await.is_err() {
            tracing::error!(run_id = %self.run, "fleet is gone");
        }
    }

    /// Its permit comes back when its end is known, so it stays expected.
    async fn interrupt(&self, agent: AgentNumber, attempt: AttemptNumber) {
        let attempt = self.attempt(agent, attempt);
        match self.fleet.send(Interrupt { attempt: attempt.clone() }).await {
            Ok(Some(over)) => self.inbox.push(over),
            Ok(None) => self.broadcast_cancel(attempt).await,
            Err(_) => tracing::error!(run_id = %self.run, "fleet is gone"),
        }
    }

    async fn cancel(&self, agent: AgentNumber, attempt: AttemptNumber) {
        let attempt = self.attempt(agent, attempt);
        self.forget(vec![attempt.clone()]).await;
        self.broadcast_cancel(attempt).await;
    }

    async fn broadcast_cancel(&self, attempt: AttemptRef) {
        let agent = attempt.agent;
        let cancel = Cancel { run: self.run.clone(), epoch: self.epoch, attempt: Some(attempt) };
        match encode(&cancel) {
            Ok(message) => {
                if let Err(error) = self.ports.control.broadcast(message).await {
                    tracing::warn!(run_id = %self.run, agent, %error, "cancel not sent; the heartbeat will end the attempt");
                }
            }
            Err(error) => tracing::error!(run_id = %self.run, agent, %error, "cancel not sent"),
        }
    }

    /// The end, once: into the index of runs and to the watchers.
    async fn announce(&mut self, state: &RunState) {
        let result = match &state.result {
            Some(payload) => load_text(self.ports.blobs.as_ref(), &self.run, payload).await.ok(),
            None => None,
        };
        let view = Box::new(run_view(&self.run, state, self.clock.now_ms(), result.as_deref()));
        crate::submission::index(&self.ports, &view).await;
        let message = Publish { run: self.run.clone(), journalled: None, view: Some(view.clone()) };
        let _dropped = self.feed.send(message).await;
        self.ended = Some(view);
    }
}
