//! The closing report of a run (R10), and its result.

use crate::args::Global;
use crate::output::{self, printable, short_count, short_time};
use serde_json::Value;
use skein_common::view::{RunView, TokensView};
use std::fmt::Write as _;

/// Prints the result on standard output and the report on standard error, or one object with `--json`.
///
/// # Errors
/// Nothing that is ours.
pub fn finished(global: &Global, view: &RunView) -> anyhow::Result<()> {
    if global.json {
        return output::json(view);
    }
    if let Some(result) = &view.result {
        output::line(&shown_result(result.get()));
    }
    if !global.quiet {
        output::note(&text(view));
    } else if let Some(error) = error_text(view) {
        output::problem(&error);
    }
    Ok(())
}

/// A string as it is; anything else as JSON, indented for a person and as the script gave it for a program.
#[must_use]
pub fn shown_result(json: &str) -> String {
    match serde_json::from_str::<Value>(json) {
        Ok(Value::String(text)) if output::stdout_is_terminal() => printable(&text),
        Ok(Value::String(text)) => text,
        Ok(value) if output::stdout_is_terminal() => {
            printable(&serde_json::to_string_pretty(&value).unwrap_or_else(|_| json.to_owned()))
        }
        _ => json.to_owned(),
    }
}

/// The report as people read it.
#[must_use]
pub fn text(view: &RunView) -> String {
    let mut text = String::new();
    let degraded = if view.degraded { " (degraded: some agents gave no answer)" } else { "" };
    let _ =
        writeln!(text, "\n{} {}{degraded} in {}", printable(&view.workflow), view.status, short_time(view.elapsed_ms));
    let _ = writeln!(text, "  run     {}", view.run);
    if let Some(error) = error_text(view) {
        let _ = writeln!(text, "  error   {}", error.replace('\n', "\n          "));
    }
    let _ = writeln!(text, "  agents  {}", census_text(view));
    let _ = writeln!(text, "  tokens  {}", tokens_text(&view.tokens));
    for phase in &view.phases {
        let _ = writeln!(
            text,
            "  phase   {:<20} {:>4} agents {:>8} tokens {:>8}",
            printable(&phase.title),
            phase.agents,
            short_count(phase.tokens),
            short_time(phase.elapsed_ms)
        );
    }
    for model in &view.models {
        let (agents, tokens) = (model.agents, short_count(model.tokens));
        let _ = writeln!(text, "  model   {:<20} {agents:>4} agents {tokens:>8} tokens", printable(&model.model));
    }
    for failure in &view.failures {
        let _ = writeln!(text, "  failed  {}", printable(failure));
    }
    for warning in &view.warnings {
        let _ = writeln!(text, "  warning {}", printable(warning));
    }
    if let Some(command) = &view.continue_with {
        let _ = writeln!(text, "  continue with: {command}");
    }
    text.truncate(text.trim_end().len());
    text
}

fn census_text(view: &RunView) -> String {
    let census = &view.agents;
    let mut parts = vec![format!("{} started, {} done", census.started, census.done)];
    for (count, word) in [
        (census.running, "running"),
        (census.queued, "queued"),
        (census.failed, "failed"),
        (census.skipped, "skipped"),
        (census.stopped, "stopped"),
        (census.refused, "refused"),
        (census.reused, "reused"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    parts.join(", ")
}

fn tokens_text(tokens: &TokensView) -> String {
    let input = tokens.input.saturating_add(tokens.cache_read).saturating_add(tokens.cache_write);
    let mut text = format!("{} in, {} out", short_count(input), short_count(tokens.output));
    let Some(budget) = tokens.budget else { return text };
    let (total, limit) = (short_count(tokens.total), short_count(budget));
    let _ = match tokens.total.checked_sub(budget) {
        None | Some(0) => write!(text, "; within budget: {total} of {limit}"),
        Some(over) => write!(text, "; over budget by {}: {total} of {limit}", short_count(over)),
    };
    text
}

/// Kind, message, place, and the offending line with a caret.
#[must_use]
pub fn error_text(view: &RunView) -> Option<String> {
    let error = view.error.as_ref()?;
    let mut text = format!("{}: {}", error.kind, printable(&error.message));
    if let (Some(line), Some(column)) = (error.line, error.column) {
        let _ = write!(text, " ({line}:{column})");
        if let Some(source) = &error.source_line {
            let _ = write!(text, "\n{}", with_caret(source, column));
        }
    }
    if let Some(stack) = error.stack.as_deref().filter(|stack| !stack.is_empty()) {
        let _ = write!(text, "\n{}", printable(stack));
    }
    Some(text)
}

/// A source line and a caret under its column (counted from 1).
#[must_use]
pub fn with_caret(source: &str, column: u32) -> String {
    let shown = printable(source).replace('\t', " ");
    let before = usize::try_from(column).unwrap_or(1).saturating_sub(1).min(shown.chars().count());
    format!("  {shown}\n  {}^", " ".repeat(before))
}
