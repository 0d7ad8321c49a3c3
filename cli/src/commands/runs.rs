//! `skein runs`: list runs, newest first.

use crate::args::{Global, RunsArgs};
use crate::exit::Code;
use crate::output::{self, printable, short_time};
use crate::reading;
use skein_common::view::RunView;

/// Lists.
///
/// # Errors
/// The store cannot be read.
pub async fn runs(global: &Global, args: RunsArgs) -> anyhow::Result<Code> {
    let views = reading::open(global)?.list(args.limit).await?;
    if global.json {
        output::json(&views)?;
        return Ok(Code::Completed);
    }
    for view in &views {
        output::line(&line(view));
    }
    if views.is_empty() {
        output::note("no runs yet: start one with `skein run FILE`");
    }
    Ok(Code::Completed)
}

fn line(view: &RunView) -> String {
    let started = jiff::Timestamp::from_millisecond(view.started_at_ms)
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
        .unwrap_or_default();
    let degraded = if view.degraded { " degraded" } else { "" };
    let next = view.continue_with.as_deref().map(|command| format!("  continue with: {command}")).unwrap_or_default();
    format!(
        "{}  {started}  {:<11} {:>7}  {:>4}/{:<4} agents  {}{degraded}{next}",
        view.run,
        view.status,
        short_time(view.elapsed_ms),
        view.agents.done,
        view.agents.started,
        printable(&view.workflow),
    )
}
