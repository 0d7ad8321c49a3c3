//! Metrics of a coordinator: moved by what is in journals, by scripts and by workers. What stands now, as against what
//! happened, is in [`crate::standing_gauges`].

use crate::standing_gauges::{LiveRun, StandingGauges, WorkerCounts};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use skein_common::RunId;
use skein_common::agent::Usage;
use skein_common::metrics::{AllowedNames, Deliveries, Meters, MetricsError};
use skein_common::run::RunStatus;
use skein_common::script::{ScriptErrorKind, TurnEnd};
use skein_engine::{Agent, Event, RunState, TaskEnd};
use std::time::Duration;

/// Seconds: of a store or a script, which take from some 100 µs (a turn, a group commit) to their limits (10 s).
const SHORT: &[f64] = &[0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Seconds: of an agent or what it waits for, from simulated ones to the half hour that an attempt may take.
const LONG: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
/// Events of one batch; 4096 are appended in any case.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0];
/// More tokens than any attempt uses: a worker that reports more cannot make the counter run over.
const TOKENS_MAX: u64 = 1 << 40;

/// Permits of a run, the only scope there is so far.
pub(crate) const SCOPE_RUN: &str = "run";

/// What ends a script before its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// One stretch without an `await` took too long.
    Time,
    Memory,
    Stack,
    /// A counted cap.
    Limit,
    /// The interpreter failed, or its process is gone.
    Crash,
    /// The run was stopped, and the script did not come to rest.
    Stop,
}

impl Kill {
    const ALL: [Kill; 6] = [Kill::Time, Kill::Memory, Kill::Stack, Kill::Limit, Kill::Crash, Kill::Stop];

    fn name(self) -> &'static str {
        match self {
            Kill::Time => "time",
            Kill::Memory => "memory",
            Kill::Stack => "stack",
            Kill::Limit => "limit",
            Kill::Crash => "crash",
            Kill::Stop => "stop",
        }
    }

    /// `None` for a script that failed by itself.
    fn of(kind: ScriptErrorKind) -> Option<Kill> {
        match kind {
            ScriptErrorKind::Time => Some(Kill::Time),
            ScriptErrorKind::Memory => Some(Kill::Memory),
            ScriptErrorKind::Stack => Some(Kill::Stack),
            ScriptErrorKind::Limit => Some(Kill::Limit),
            ScriptErrorKind::Engine => Some(Kill::Crash),
            ScriptErrorKind::Syntax
            | ScriptErrorKind::Meta
            | ScriptErrorKind::Thrown
            | ScriptErrorKind::Stuck
            | ScriptErrorKind::Serialization => None,
        }
    }
}

/// The metrics of one coordinator.
#[derive(Debug)]
pub struct Metrics {
    runs: IntCounterVec,
    agents: IntCounterVec,
    agent_duration: HistogramVec,
    agent_queue: Histogram,
    permit_wait: HistogramVec,
    limit_refusals: IntCounterVec,
    tokens: IntCounterVec,
    journal_append: Histogram,
    journal_batch: Histogram,
    takeovers: IntCounter,
    takeover: Histogram,
    replay_events: IntCounter,
    divergences: IntCounter,
    script_turn: Histogram,
    script_kills: IntCounterVec,
    feed_dropped: IntCounter,
    standing: StandingGauges,
    pub(crate) deliveries: Deliveries,
    models: AllowedNames,
}

impl Metrics {
    /// Registers all of them. `models` are the names that the label `model` may have.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(meters: &Meters, deliveries: Deliveries, models: AllowedNames) -> Result<Metrics, MetricsError> {
        let metrics = Metrics {
            runs: meters.counters("skein_runs_total", "Runs that ended, by how.", &["outcome"])?,
            agents: meters.counters(
                "skein_agents_total",
                "Agents that ended for good, by how; each accepted call of agent() is one.",
                &["outcome", "runner", "model"],
            )?,
            agent_duration: meters.histograms(
                "skein_agent_duration_seconds",
                "From the permit of an agent's last attempt to the agent's end.",
                &["runner"],
                LONG,
            )?,
            agent_queue: meters.histogram(
                "skein_agent_queue_seconds",
                "From an accepted call of agent() to the permit of its first attempt.",
                LONG,
            )?,
            permit_wait: meters.histograms(
                "skein_permit_wait_seconds",
                "How long an attempt, the first or a later one, waited for its permit.",
                &["scope"],
                LONG,
            )?,
            limit_refusals: meters.counters(
                "skein_limit_refusals_total",
                "Calls of agent() that a limit of their run refused.",
                &["limit"],
            )?,
            tokens: meters.counters(
                "skein_tokens_total",
                "Tokens that attempts reported when they ended.",
                &["model", "kind"],
            )?,
            journal_append: meters.histogram(
                "skein_journal_append_seconds",
                "Time until a batch of a run was in its journal.",
                SHORT,
            )?,
            journal_batch: meters.histogram("skein_journal_batch_events", "Events in one batch of a run.", BATCH)?,
            takeovers: meters.counter(
                "skein_takeovers_total",
                "Runs taken up here that had an owner before: another process, an earlier life of this one, or an \
                 incarnation that failed.",
            )?,
            takeover: meters.histogram(
                "skein_takeover_seconds",
                "From the first look at a journal until its run goes on here.",
                SHORT,
            )?,
            replay_events: meters.counter(
                "skein_replay_events_total",
                "Events read back from journals to take runs over or to wake their scripts.",
            )?,
            divergences: meters.counter(
                "skein_divergences_total",
                "Replays in which a script did something else than its journal says; such a run fails.",
            )?,
            script_turn: meters.histogram(
                "skein_script_turn_seconds",
                "One turn of a script, from its settlements to its rest.",
                SHORT,
            )?,
            script_kills: meters.counters(
                "skein_script_kills_total",
                "Scripts that were ended before their own end, by what ended them.",
                &["cause"],
            )?,
            feed_dropped: meters.counter(
                "skein_feed_dropped_total",
                "Items that watchers of runs missed because they were slow. Events of journals are never missed.",
            )?,
            standing: meters.register(StandingGauges::new()?)?,
            deliveries,
            models,
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// A series that appears with its first event has no rate of it: those that are known beforehand are there from the
    /// start.
    fn begin_at_zero(&self) {
        for status in [RunStatus::Completed, RunStatus::Failed, RunStatus::Stopped] {
            self.runs.with_label_values(&[status.name()]);
        }
        for limit in [Limit::Agents, Limit::Budget] {
            self.limit_refusals.with_label_values(&[limit.name()]);
        }
        for kill in Kill::ALL {
            self.script_kills.with_label_values(&[kill.name()]);
        }
        self.permit_wait.with_label_values(&[SCOPE_RUN]);
    }

    /// A run lives here until this is dropped.
    pub(crate) fn begin_run(&self, run: &RunId) -> LiveRun {
        self.standing.begin_run(run)
    }

    pub(crate) fn standing(&self) -> &StandingGauges {
        &self.standing
    }

    /// The workers that are known, as they are now.
    pub(crate) fn see_workers(&self, counts: WorkerCounts) {
        self.standing.see_workers(counts);
    }

    /// A batch is in the journal, after so long; `state` is the one after it.
    pub(crate) fn journalled(&self, state: &RunState, events: &[Event], at_ms: i64, took: Duration, run: &mut LiveRun) {
        self.journal_append.observe(took.as_secs_f64());
        self.journal_batch.observe(events.len() as f64);
        for event in events {
            self.count(state, event, at_ms, run);
        }
        run.show(state);
    }

    fn count(&self, state: &RunState, event: &Event, at_ms: i64, run: &mut LiveRun) {
        match event {
            Event::TaskStarted { agent, attempt, .. } => {
                let Some(agent) = state.agent(*agent) else { return };
                let waits_since = run.take_waiting(agent.number);
                if *attempt == 1 {
                    self.agent_queue.observe(seconds(agent.queued_at_ms, at_ms));
                }
                // Of an attempt that waited when the run was taken over, nobody knows since when.
                if let Some(since_ms) = waits_since.or((*attempt == 1).then_some(agent.queued_at_ms)) {
                    self.permit_wait.with_label_values(&[SCOPE_RUN]).observe(seconds(since_ms, at_ms));
                }
            }
            Event::AttemptEnded { agent, usage, .. } => {
                run.waits(*agent, at_ms);
                self.count_tokens(state.agent(*agent), usage);
            }
            Event::TaskEnded { agent, end, usage, elapsed_ms, .. } => {
                let _it_waits_no_more = run.take_waiting(*agent);
                let agent = state.agent(*agent);
                self.count_tokens(agent, usage);
                self.count_agent(agent, outcome(end));
                if let Some(agent) = agent.filter(|agent| agent.attempts > 0) {
                    let elapsed = Duration::from_millis(*elapsed_ms).as_secs_f64();
                    self.agent_duration.with_label_values(&[agent.spec.runner.name()]).observe(elapsed);
                }
            }
            Event::AgentRefused { agent, name, limit, .. } => {
                if *limit {
                    self.limit_refusals.with_label_values(&[Limit::of(name).name()]).inc();
                }
                if let Some(agent) = agent {
                    self.count_agent(state.agent(*agent), "refused");
                }
            }
            Event::RunEnded { status, .. } => self.runs.with_label_values(&[status.name()]).inc(),
            _ => {}
        }
    }

    fn count_agent(&self, agent: Option<&Agent>, outcome: &str) {
        let Some(agent) = agent else { return };
        let model = self.models.label(agent.spec.model.as_deref());
        self.agents.with_label_values(&[outcome, agent.spec.runner.name(), model]).inc();
    }

    fn count_tokens(&self, agent: Option<&Agent>, usage: &Usage) {
        let model = self.models.label(agent.and_then(|agent| agent.spec.model.as_deref()));
        let kinds = [
            ("input", usage.input),
            ("cache_read", usage.cache_read),
            ("cache_write", usage.cache_write),
            ("output", usage.output),
        ];
        for (kind, tokens) in kinds.into_iter().filter(|(_, tokens)| *tokens > 0) {
            self.tokens.with_label_values(&[model, kind]).inc_by(tokens.min(TOKENS_MAX));
        }
    }

    /// A journal of so many events was read back.
    pub(crate) fn replayed(&self, events: usize) {
        self.replay_events.inc_by(events as u64);
    }

    /// A run that had an owner before goes on here, after so long.
    pub(crate) fn taken_over(&self, took: Duration) {
        self.takeovers.inc();
        self.takeover.observe(took.as_secs_f64());
    }

    pub(crate) fn diverged(&self) {
        self.divergences.inc();
    }

    /// A turn of a script is over; `None`: it was ended because its run was to be stopped.
    pub(crate) fn turned(&self, end: Option<&TurnEnd>, took: Duration) {
        self.script_turn.observe(took.as_secs_f64());
        match end {
            None => self.killed(Kill::Stop),
            Some(TurnEnd::Failed { error, .. }) => self.script_failed(error.kind),
            Some(TurnEnd::Waiting { .. } | TurnEnd::Done { .. }) => {}
        }
    }

    /// A script failed, perhaps because a cap ended it.
    pub(crate) fn script_failed(&self, kind: ScriptErrorKind) {
        if let Some(kill) = Kill::of(kind) {
            self.killed(kill);
        }
    }

    fn killed(&self, kill: Kill) {
        self.script_kills.with_label_values(&[kill.name()]).inc();
    }

    /// Watchers do not get so many items.
    pub(crate) fn dropped(&self, items: u64) {
        self.feed_dropped.inc_by(items);
    }
}

/// A limit of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// `limits.agents`, the calls of one run's life.
    Agents,
    Budget,
}

impl Limit {
    /// By the name of the error that the script gets.
    fn of(error: &str) -> Limit {
        if error == "WorkflowAgentCapError" { Limit::Agents } else { Limit::Budget }
    }

    fn name(self) -> &'static str {
        match self {
            Limit::Agents => "agents",
            Limit::Budget => "budget",
        }
    }
}

fn outcome(end: &TaskEnd) -> &'static str {
    match end {
        TaskEnd::Done { .. } => "done",
        TaskEnd::RunStopped {} => "stopped",
        TaskEnd::Null { cause, .. } | TaskEnd::Thrown { cause, .. } => cause.name(),
    }
}

/// Between two times of a journal.
fn seconds(from_ms: i64, to_ms: i64) -> f64 {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0)).as_secs_f64()
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
