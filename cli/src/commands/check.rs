//! `skein check`: parse and lint scripts in the sandbox; no agent starts.

use crate::args::{CheckArgs, Global};
use crate::exit::Code;
use crate::launch::read_script;
use crate::output::{self, printable};
use crate::report::with_caret;
use crate::session::this_program;
use crate::settings::{Settings, home_dir, trusted_definitions};
use anyhow::Context as _;
use serde::Serialize;
use skein_common::script::{Finding, Meta, ScriptError};
use skein_script::{HostPool, LoadError};
use skein_worker::definition::Places;
use std::path::{Path, PathBuf};

/// What `check --json` says of one file, one line each.
#[derive(Debug, Serialize)]
struct Checked {
    file: PathBuf,
    ok: bool,
    meta: Option<Meta>,
    error: Option<ScriptError>,
    findings: Vec<Finding>,
    warnings: Vec<String>,
    agents: Vec<String>,
}

/// Checks every file; the worst decides the exit code.
///
/// # Errors
/// A file cannot be read, or the sandbox not started.
pub async fn check(global: &Global, args: CheckArgs) -> anyhow::Result<Code> {
    let hosts = HostPool::start(this_program()?).await.context("cannot start the script host")?;
    let mut all_ok = true;
    for path in &args.scripts {
        let checked = check_one(&global.settings, &hosts, path).await?;
        all_ok &= checked.ok;
        if global.json { output::json(&checked)? } else { print(&checked) }
    }
    Ok(if all_ok { Code::Completed } else { Code::Usage })
}

async fn check_one(settings: &Settings, hosts: &HostPool, path: &Path) -> anyhow::Result<Checked> {
    let source = read_script(path)?;
    let absolute = std::path::absolute(path)?;
    let script_dir = absolute.parent().unwrap_or(Path::new("/"));
    let (project_dir, home) = (std::env::current_dir()?, home_dir());
    let places = Places { script_dir, script_project: None, project_dir: &project_dir, home: home.as_deref() };
    let found = trusted_definitions(&places);
    let mut checked = Checked {
        file: path.to_path_buf(),
        ok: false,
        meta: None,
        error: None,
        findings: Vec::new(),
        warnings: found.warnings,
        agents: found.definitions.into_iter().map(|definition| definition.name).collect(),
    };
    match hosts.check(&source, &settings.host_limits).await {
        Ok(loaded) => {
            // A place that throws when it runs is an error here: that is what a check is for (C8).
            checked.ok = loaded.findings.is_empty();
            checked.meta = Some(loaded.meta);
            checked.findings = loaded.findings;
            checked.warnings.extend(loaded.warnings);
        }
        Err(LoadError::Script(error)) => checked.error = Some(error),
        Err(error) => return Err(error.into()),
    }
    Ok(checked)
}

fn print(checked: &Checked) {
    let file = checked.file.display();
    for warning in &checked.warnings {
        output::note(&format!("{file}: warning: {}", printable(warning)));
    }
    for finding in &checked.findings {
        output::note(&format!("{file}:{}:{}: {}", finding.line, finding.column, printable(&finding.message)));
    }
    match (&checked.error, &checked.meta) {
        (Some(error), _) => {
            let place = match (error.line, error.column) {
                (Some(line), Some(column)) => format!(":{line}:{column}"),
                _ => String::new(),
            };
            output::note(&format!("{file}{place}: {}", printable(&error.message)));
            if let (Some(source), Some(column)) = (&error.source_line, error.column) {
                output::note(&with_caret(source, column));
            }
        }
        (None, Some(meta)) if checked.ok => {
            let agents = match checked.agents.as_slice() {
                [] => String::new(),
                names => format!("; agent types: {}", names.join(", ")),
            };
            output::line(&format!("{file}: ok: {}: {}{agents}", printable(&meta.name), printable(&meta.description)));
        }
        _ => {}
    }
}
