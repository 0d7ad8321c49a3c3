//! Plain lines: one when a phase gets its first agents and one when all its agents are done.

use crate::output::{self, printable, short_count, short_time};
use skein_common::run::RunStatus;
use skein_common::view::{PhaseView, RunView};
use std::collections::BTreeMap;

/// What was said about each phase already.
#[derive(Debug, Default)]
pub struct Lines {
    said: BTreeMap<String, Said>,
    header: bool,
    /// How the run stood when that was last said.
    status: Option<RunStatus>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Said {
    started: bool,
    /// Quarters of the agents that were done when a line was last written.
    quarters: u32,
}

impl Lines {
    pub fn view(&mut self, view: &RunView) {
        if !self.header {
            self.header = true;
            output::note(&format!("{} {}", printable(&view.workflow), view.run));
        }
        let before = self.status.replace(view.status);
        if before != Some(view.status) && (is_held(view.status) || before.is_some_and(is_held)) {
            output::note(&format!("[{}] {}", short_time(view.elapsed_ms), view.status));
        }
        for phase in view.phases.iter().filter(|phase| phase.agents > 0) {
            let said = self.said.entry(phase.title.clone()).or_default();
            let ended = phase.done + phase.failed;
            let now = Said { started: true, quarters: ended * 4 / phase.agents };
            if now != *said {
                *said = now;
                output::note(&line(view, phase));
            }
        }
    }
}

/// What people do to a run is worth a line.
fn is_held(status: RunStatus) -> bool {
    matches!(status, RunStatus::Pausing | RunStatus::Paused | RunStatus::Stopping)
}

fn line(view: &RunView, phase: &PhaseView) -> String {
    let mut line =
        format!("[{}] {}: {}/{} done", short_time(view.elapsed_ms), printable(&phase.title), phase.done, phase.agents);
    for (count, word) in [(phase.failed, "failed"), (phase.running, "running"), (phase.queued, "queued")] {
        if count > 0 {
            line.push_str(&format!(", {count} {word}"));
        }
    }
    if view.tokens.total > 0 {
        line.push_str(&format!(", {} tokens", short_count(view.tokens.total)));
    }
    line
}
