//! `skein logs`: what a run said while it ran, or says while any process runs it.

use crate::args::{Global, LogsArgs};
use crate::exit::Code;
use crate::output::{self, printable};
use crate::reading;
use crate::session::how_to_go_on;
use skein_coordinator::{LogLine, is_ours, log_text};
use skein_engine::Event;
use std::time::{Duration, Instant};

/// Prints the lines in the order in which they were written; with `-f` those to come, until the run ends or nobody runs
/// it any more.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn logs(global: &Global, args: LogsArgs) -> anyhow::Result<Code> {
    let mut runs = reading::open(global)?;
    let (mut position, mut unowned_since) = (0, None);
    loop {
        let page = runs.logs(&args.run, position).await?;
        position = page.position;
        for line in &page.lines {
            print(global, line)?;
        }
        if page.more {
            continue;
        }
        if page.ended || !args.follow {
            return Ok(Code::Completed);
        }
        let since = unowned_since.filter(|_| !page.owned);
        if since.is_some_and(|since: Instant| since.elapsed() >= runs.unowned_max()) {
            output::note(&format!("{} is interrupted; {}", args.run, how_to_go_on(global, &args.run)));
            return Ok(Code::Failed);
        }
        unowned_since = (!page.owned).then(|| since.unwrap_or_else(Instant::now));
        let longest = if page.owned { Duration::MAX } else { runs.unowned_max() };
        runs.more(longest).await;
    }
}

fn print(global: &Global, line: &LogLine) -> anyhow::Result<()> {
    if global.json {
        return output::json(&serde_json::json!({ "at_ms": line.at_ms, "text": line.text }));
    }
    output::line(&printable(&line.text));
    Ok(())
}

/// The line that an event is for somebody who watches, safe for a terminal. What went down with us starts again
/// without a word: the person knows of the interruption.
#[must_use]
pub fn line_of(event: &Event) -> Option<String> {
    if is_ours(event) {
        return None;
    }
    log_text(event).map(|text| printable(&text))
}
