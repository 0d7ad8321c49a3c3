//! `skein logs`: what a run said while it ran, or says while any process runs it.

use crate::args::{Global, LogsArgs};
use crate::exit::Code;
use crate::output::{self, printable};
use crate::reading::{self, Followed};
use crate::session::how_to_go_on;
use skein_coordinator::{LogLine, is_ours, log_text};
use skein_engine::Event;

/// Prints the lines in the order in which they were written; with `-f` those to come, until the run ends or nobody runs
/// it any more.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn logs(global: &Global, args: LogsArgs) -> anyhow::Result<Code> {
    let mut runs = reading::open(global)?;
    if args.follow {
        return match runs.follow(&args.run, &mut |line| print(global, line)).await? {
            Followed::Ended => Ok(Code::Completed),
            Followed::Interrupted => {
                output::note(&format!("{} is interrupted; {}", args.run, how_to_go_on(global, &args.run)));
                Ok(Code::Failed)
            }
        };
    }
    let mut position = 0;
    loop {
        let page = runs.logs(&args.run, position).await?;
        position = page.position;
        page.lines.iter().try_for_each(|line| print(global, line))?;
        if !page.more {
            return Ok(Code::Completed);
        }
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
