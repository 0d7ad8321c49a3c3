//! `skein doctor`: whether this machine has what Skein needs, and what to do where it has not.

use crate::args::Global;
use crate::doctor::{self, Status};
use crate::exit::Code;
use crate::output::{self, printable};
use crate::settings::Problem;
use serde_json::json;

/// Makes every check; `problems` is what was wrong with the settings.
///
/// # Errors
/// Nothing that is ours: what fails is a line of the answer.
pub async fn doctor(global: &Global, problems: &[Problem]) -> anyhow::Result<Code> {
    let checks = doctor::all(global, problems).await;
    let worst = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    if global.json {
        output::json(&json!({ "status": worst, "checks": checks }))?;
    } else {
        for check in &checks {
            output::line(&printable(&format!("{:<5} {:<14} {}", check.status.name(), check.name, check.text)));
            if let Some(advice) = &check.advice {
                output::line(&printable(&format!("{:<20} -> {advice}", "")));
            }
        }
    }
    Ok(if worst == Status::Fail { Code::Failed } else { Code::Completed })
}
