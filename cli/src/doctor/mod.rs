//! The checks of `skein doctor`, one line each.

mod machine;
mod nats;
mod store;
mod system;

use crate::args::Global;
use crate::settings::{Problem, config_files};
use serde::Serialize;

/// How a check came out; the worst one decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    Warn,
    Fail,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        }
    }
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub status: Status,
    pub text: String,
    /// What to do.
    pub advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, text: impl Into<String>) -> Check {
        Check { name, status: Status::Ok, text: text.into(), advice: None }
    }

    fn warn(name: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { name, status: Status::Warn, text: text.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { name, status: Status::Fail, text: text.into(), advice: Some(advice.into()) }
    }
}

/// All checks, in the order in which people read them.
pub async fn all(global: &Global, problems: &[Problem]) -> Vec<Check> {
    let mut checks = vec![machine::version(), machine::platform()];
    checks.extend(machine::kernel_features());
    checks.push(settings(global, problems));
    checks.push(store::store(global).await);
    checks.push(store::space(global));
    checks.push(machine::git());
    checks.extend(nats::nats(global).await);
    checks.push(system::script_host(global).await);
    checks.push(system::one_run(global).await);
    checks
}

fn settings(global: &Global, problems: &[Problem]) -> Check {
    if !problems.is_empty() {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Check::fail("settings", lines.join("; "), "correct that; the other checks are made without it");
    }
    let there: Vec<String> = config_files()
        .into_iter()
        .filter(|(_, path)| path.exists())
        .map(|(_, path)| path.display().to_string())
        .collect();
    let read = if there.is_empty() { String::from("no file, defaults") } else { there.join(", ") };
    match global.settings.warnings.as_slice() {
        [] => Check::ok("settings", read),
        warnings => Check::warn("settings", warnings.join("; "), "`skein config show --origin` shows what counts"),
    }
}
