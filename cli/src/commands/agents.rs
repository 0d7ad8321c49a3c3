//! `skein agents` and `skein agent`: what the agents of a run did.

use crate::args::{AgentArgs, Global, RunName};
use crate::exit::Code;
use crate::output::{self, printable, short_count, short_time};
use crate::reading;
use skein_common::view::AgentView;
use skein_coordinator::AgentRecord;

/// Lists the agents.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn agents(global: &Global, args: RunName) -> anyhow::Result<Code> {
    let agents = reading::open(global)?.agents(&args.run).await?;
    if global.json {
        output::json(&agents)?;
        return Ok(Code::Completed);
    }
    for agent in &agents {
        output::line(&line(agent));
    }
    Ok(Code::Completed)
}

/// One agent as a line of the list.
#[must_use]
pub fn line(agent: &AgentView) -> String {
    let detail = agent.detail.as_deref().map(|detail| format!("  {}", first_line(detail))).unwrap_or_default();
    format!(
        "{:>5}  {:<16} {:>8} {:>8}  {:<12} {}{detail}",
        agent.agent,
        agent.status,
        short_time(agent.elapsed_ms),
        short_count(agent.tokens),
        printable(agent.phase.as_deref().unwrap_or("-")),
        first_line(&agent.label),
    )
}

fn first_line(text: &str) -> String {
    printable(text.lines().next().unwrap_or_default())
}

/// Shows one agent.
///
/// # Errors
/// There is no such run or agent, or it cannot be read.
pub async fn agent(global: &Global, args: AgentArgs) -> anyhow::Result<Code> {
    let record = reading::open(global)?.agent(&args.run, args.agent).await?;
    if global.json {
        output::json(&record)?
    } else {
        print(&record)
    }
    Ok(Code::Completed)
}

fn print(record: &AgentRecord) {
    output::line(&line(&record.agent));
    for attempt in &record.attempts_log {
        let time = jiff::Timestamp::from_millisecond(attempt.at_ms)
            .map(|time| time.strftime("%H:%M:%S%.3fZ").to_string())
            .unwrap_or_default();
        output::line(&format!("  {time}  {}", printable(&attempt.text)));
    }
    for note in &record.notes {
        output::line(&format!("  note: {}", printable(note)));
    }
    output::line(&format!("prompt:\n{}", printable(&record.prompt)));
    if let Some(text) = &record.output {
        output::line(&format!("output:\n{}", printable(text)));
    }
    if let Some(text) = &record.output_refused {
        output::line(&format!("output that does not fit the schema:\n{}", printable(text)));
    }
}
