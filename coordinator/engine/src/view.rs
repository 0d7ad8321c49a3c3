//! View: a run as people and programs see it. Every screen and every number comes from here.

use crate::agent::{Agent, AgentState, Ended, Interruption};
use crate::phase::NO_PHASE;
use crate::state::{RunState, Stage};
use serde_json::value::RawValue;
use skein_common::RunId;
use skein_common::agent::Cause;
use skein_common::run::RunStatus;
use skein_common::view::{AgentView, Census, ErrorView, ModelView, PhaseView, RunView, TokensView};
use std::collections::BTreeMap;

/// The run at `now_ms`; `result` is the result's JSON text once the caller has it.
#[must_use]
pub fn run_view(run: &RunId, state: &RunState, now_ms: i64, result: Option<&str>) -> RunView {
    let agents = census(state);
    let status = run_status(state);
    RunView {
        run: run.clone(),
        parent: state.spec.parent.clone(),
        workflow: if state.meta.name.is_empty() { state.spec.origin.clone() } else { state.meta.name.clone() },
        description: state.meta.description.clone(),
        status,
        degraded: status == RunStatus::Completed && agents.failed + agents.refused > 0,
        result: result.and_then(|json| RawValue::from_string(json.to_owned()).ok()),
        error: state.error.as_ref().map(|error| ErrorView {
            kind: error.kind.clone(),
            message: error.message.clone(),
            line: error.line,
            column: error.column,
            stack: error.stack.clone(),
            source_line: error.source_line.clone(),
        }),
        elapsed_ms: elapsed(state.submitted_at_ms, if state.is_ended() { state.ended_at_ms } else { now_ms }),
        agents,
        tokens: TokensView::new(&state.usage, state.spec.budget),
        phases: phases(state, now_ms),
        models: models(state),
        failures: failures(state),
        warnings: state.warnings.clone(),
        started_at_ms: state.submitted_at_ms,
        continue_with: None,
    }
}

/// How the run stands, as far as its journal tells.
#[must_use]
pub fn run_status(state: &RunState) -> RunStatus {
    match state.stage {
        Stage::Submitted => RunStatus::Queued,
        Stage::Running | Stage::Returned if state.stop_requested => RunStatus::Stopping,
        Stage::Running if state.paused && state.running.is_empty() => RunStatus::Paused,
        Stage::Running if state.paused => RunStatus::Pausing,
        Stage::Running | Stage::Returned => RunStatus::Running,
        Stage::Ended(status) => status,
    }
}

fn elapsed(from_ms: i64, to_ms: i64) -> u64 {
    u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0)
}

fn census(state: &RunState) -> Census {
    let reused = state.reused.values().sum();
    let mut census = Census { refused: state.refused_calls, reused, ..Census::default() };
    for agent in &state.agents {
        census.started += 1;
        match &agent.state {
            AgentState::Queued => census.queued += 1,
            AgentState::Running { .. } => census.running += 1,
            AgentState::Ended(Ended::Done) => census.done += 1,
            AgentState::Ended(Ended::Refused) => census.refused += 1,
            AgentState::Ended(Ended::Null { cause: Cause::Skipped, .. }) => census.skipped += 1,
            AgentState::Ended(Ended::Null { cause: Cause::Stopped, .. }) => census.stopped += 1,
            AgentState::Ended(Ended::Null { .. }) => census.failed += 1,
        }
    }
    census
}

/// Up to ten lines and a count of the rest (R10).
fn failures(state: &RunState) -> Vec<String> {
    let mut lines = state.failures.clone();
    let kept = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    if state.failures_total > kept {
        lines.truncate(crate::state::FAILURES_KEPT - 1);
        lines.push(format!("and {} more", state.failures_total - kept + 1));
    }
    lines
}

#[derive(Default)]
struct PhaseSum {
    agents: u32,
    tokens: u64,
    done: u32,
    running: u32,
    queued: u32,
    failed: u32,
    from_ms: Option<i64>,
    to_ms: i64,
}

/// Declared phases that nothing used show 0/0 while the run lasts and are hidden at its end (C35).
fn phases(state: &RunState, now_ms: i64) -> Vec<PhaseView> {
    let mut sums: BTreeMap<&str, PhaseSum> = BTreeMap::new();
    for agent in &state.agents {
        let sum = sums.entry(agent.spec.phase.as_deref().unwrap_or(NO_PHASE)).or_default();
        sum.agents += 1;
        sum.tokens = sum.tokens.saturating_add(agent.usage.total());
        sum.from_ms = Some(sum.from_ms.map_or(agent.queued_at_ms, |from| from.min(agent.queued_at_ms)));
        match &agent.state {
            AgentState::Queued => sum.queued += 1,
            AgentState::Running { .. } => sum.running += 1,
            AgentState::Ended(Ended::Done) => sum.done += 1,
            AgentState::Ended(_) => sum.failed += 1,
        }
        let end_ms = agent.started_at_ms.saturating_add_unsigned(agent.elapsed_ms);
        sum.to_ms = sum.to_ms.max(if agent.is_open() && !state.is_ended() { now_ms } else { end_ms });
    }
    state
        .phases
        .titles()
        .iter()
        .filter_map(|title| {
            let sum = sums.remove(title.as_str());
            let reused = state.reused.get(title).copied();
            if sum.is_none() && reused.is_none() && state.is_ended() {
                return None;
            }
            let (mut sum, reused) = (sum.unwrap_or_default(), reused.unwrap_or(0));
            sum.agents += reused;
            sum.done += reused;
            Some(PhaseView {
                title: title.clone(),
                agents: sum.agents,
                tokens: sum.tokens,
                elapsed_ms: sum.from_ms.map_or(0, |from_ms| elapsed(from_ms, sum.to_ms)),
                done: sum.done,
                running: sum.running,
                queued: sum.queued,
                failed: sum.failed,
            })
        })
        .collect()
}

fn models(state: &RunState) -> Vec<ModelView> {
    let mut models: BTreeMap<&str, (u32, u64)> = BTreeMap::new();
    for agent in &state.agents {
        let Some(model) = agent.spec.model.as_deref() else { continue };
        let (agents, tokens) = models.entry(model).or_default();
        *agents += 1;
        *tokens = tokens.saturating_add(agent.usage.total());
    }
    models.into_iter().map(|(model, (agents, tokens))| ModelView { model: model.to_owned(), agents, tokens }).collect()
}

/// The agents in call order; labels that repeat are numbered (C24).
#[must_use]
pub fn agent_views(state: &RunState, now_ms: i64) -> Vec<AgentView> {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    state
        .agents
        .iter()
        .map(|agent| {
            let count = seen.entry(agent.spec.label.as_str()).or_default();
            *count += 1;
            agent_view(agent, *count, now_ms)
        })
        .collect()
}

fn agent_view(agent: &Agent, occurrence: u32, now_ms: i64) -> AgentView {
    let (status, detail) = match &agent.state {
        AgentState::Queued => ("queued", None),
        AgentState::Running { .. } => (running_word(agent), None),
        AgentState::Ended(Ended::Done) => ("done", None),
        AgentState::Ended(Ended::Refused) => ("refused", None),
        AgentState::Ended(Ended::Null { cause, detail, message }) => {
            (cause.name(), detail.clone().or_else(|| Some(message.clone()).filter(|message| !message.is_empty())))
        }
    };
    let running = matches!(agent.state, AgentState::Running { .. });
    AgentView {
        agent: agent.number,
        label: if occurrence > 1 { format!("{} [{occurrence}]", agent.spec.label) } else { agent.spec.label.clone() },
        phase: agent.spec.phase.clone(),
        model: agent.spec.model.clone(),
        runner: agent.spec.runner.name().to_owned(),
        host: agent.spec.host.clone(),
        status: status.to_owned(),
        detail,
        attempts: agent.attempts,
        tokens: agent.usage.total(),
        elapsed_ms: if running { elapsed(agent.started_at_ms, now_ms) } else { agent.elapsed_ms },
    }
}

fn running_word(agent: &Agent) -> &'static str {
    match agent.interrupted {
        None => "running",
        Some(Interruption::Stop) => "stopping",
        Some(Interruption::Restart) => "restarting",
    }
}
