//! `skein show`, `skein result`, `skein script`: one run, what it came to, and what it ran.

use crate::args::{Global, RunName};
use crate::exit::{Code, usage};
use crate::{output, reading, report};
use skein_common::run::RunStatus;

/// Shows the run as it stands.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn show(global: &Global, args: RunName) -> anyhow::Result<Code> {
    let view = reading::open(global)?.view(&args.run).await?;
    if global.json {
        output::json(&view)?;
    } else {
        output::line(report::text(&view).trim_start());
    }
    Ok(Code::Completed)
}

/// Prints the result; the exit code is the run's.
///
/// # Errors
/// There is no such run, or it has not ended.
pub async fn result(global: &Global, args: RunName) -> anyhow::Result<Code> {
    let view = reading::open(global)?.view(&args.run).await?;
    match (&view.result, view.status) {
        (Some(result), RunStatus::Completed) if global.json => output::line(result.get()),
        (Some(result), RunStatus::Completed) => output::line(&report::shown_result(result.get())),
        (_, status) if status.is_end() => {
            let error = report::error_text(&view).unwrap_or_default();
            output::problem(&format!("{} has no result: it {status}. {error}", args.run));
        }
        (_, status) => {
            let next = view.continue_with.map(|command| format!("; continue with: {command}")).unwrap_or_default();
            return Err(usage(format!("{} has no result yet: it is {status}{next}", args.run)));
        }
    }
    Ok(crate::exit::code_of_run(&view, false))
}

/// Prints the script byte for byte.
///
/// # Errors
/// There is no such run, or it cannot be read.
pub async fn script(global: &Global, args: RunName) -> anyhow::Result<Code> {
    let text = reading::open(global)?.script(&args.run).await?;
    if global.json {
        output::json(&serde_json::json!({ "run": args.run, "script": text }))?;
    } else {
        output::bytes(text.as_bytes());
    }
    Ok(Code::Completed)
}
