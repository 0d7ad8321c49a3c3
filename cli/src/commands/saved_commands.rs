//! `skein commands`: the saved workflows that can be run by name here.

use crate::args::Global;
use crate::exit::{Code, usage};
use crate::output::{self, printable};
use crate::saved::{self, Found, Level, Saved};
use crate::saved_args::{CommandsAction, CommandsArgs, SavedName};
use crate::session::this_program;
use crate::settings::home_dir;
use anyhow::Context as _;
use serde::Serialize;
use skein_common::script::{Loaded, Meta};
use skein_script::{HostPool, LoadError};
use std::path::PathBuf;

/// One of `commands --json`.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    description: Option<String>,
    when_to_use: Option<String>,
    #[serde(rename = "where")]
    level: Level,
    path: PathBuf,
    /// Why it cannot run.
    error: Option<String>,
}

/// Lists, shows or removes.
///
/// # Errors
/// There is none of that name, or it cannot be read or removed.
pub async fn commands(global: &Global, args: CommandsArgs) -> anyhow::Result<Code> {
    let folder = std::env::current_dir().context("the current directory is gone")?;
    let found = saved::discover(&folder, home_dir().as_deref());
    match args.action.unwrap_or(CommandsAction::List) {
        CommandsAction::List => list(global, &found).await,
        CommandsAction::Show(name) => show(global, named(&found, &name)?),
        CommandsAction::Remove(name) => remove(global, &found, named(&found, &name)?),
    }
}

fn named<'a>(found: &'a Found, asked: &SavedName) -> anyhow::Result<&'a Saved> {
    let name = &asked.name;
    let saved = if asked.user { found.named_at(name, Level::User) } else { found.named(name) };
    saved.ok_or_else(|| {
        let whose = if asked.user { "you have no saved workflow" } else { "there is no saved workflow" };
        usage(format!("{whose} `{}`; {}", printable(name), found.known()))
    })
}

async fn list(global: &Global, found: &Found) -> anyhow::Result<Code> {
    for warning in &found.warnings {
        output::note(&format!("warning: {}", printable(warning)));
    }
    for hidden in &found.hidden {
        let path = printable(&hidden.path.to_string_lossy());
        output::note(&format!("{path} is hidden by another `{}`", hidden.name));
    }
    let listed = describe(global, found).await?;
    if global.json {
        output::json(&listed)?;
        return Ok(Code::Completed);
    }
    let width = listed.iter().map(|one| one.name.len()).max().unwrap_or(0);
    for one in &listed {
        let what = match (&one.error, &one.description) {
            (Some(error), _) => format!("cannot run: {error}"),
            (None, description) => description.clone().unwrap_or_default(),
        };
        let what = printable(&what).replace('\n', " ");
        output::line(&format!("{:<width$}  {:<7}  {what}", one.name, one.level.name()));
    }
    if listed.is_empty() {
        output::note("no saved workflows here: keep the script of a run with `skein save RUN`");
    }
    Ok(Code::Completed)
}

/// What each says of itself is read in the sandbox, as for a run.
async fn describe(global: &Global, found: &Found) -> anyhow::Result<Vec<Listed>> {
    if found.workflows.is_empty() {
        return Ok(Vec::new());
    }
    let hosts = HostPool::start(this_program()?).await.context("cannot start the script host")?;
    let limits = &global.settings.host_limits;
    let mut listed = Vec::new();
    for saved in &found.workflows {
        let (meta, error) = meta_or_error(hosts.check(&saved.source, limits).await);
        let when_to_use = meta.as_ref().and_then(|meta| meta.when_to_use.clone());
        let (name, level, path) = (saved.name.clone(), saved.level, saved.path.clone());
        listed.push(Listed { name, description: meta.map(|meta| meta.description), when_to_use, level, path, error });
    }
    Ok(listed)
}

/// A failure of any kind is this one's: the others can still run, also when the text ended its host.
fn meta_or_error(checked: Result<Loaded, LoadError>) -> (Option<Meta>, Option<String>) {
    match checked {
        Ok(loaded) => (Some(loaded.meta), None),
        Err(LoadError::Script(error)) => (None, Some(error.message)),
        Err(error) => (None, Some(error.to_string())),
    }
}

fn show(global: &Global, saved: &Saved) -> anyhow::Result<Code> {
    if global.json {
        let Saved { name, level, path, source } = saved;
        output::json(&serde_json::json!({ "name": name, "where": level.name(), "path": path, "script": source }))?;
    } else {
        output::bytes(saved.source.as_bytes());
    }
    Ok(Code::Completed)
}

fn remove(global: &Global, found: &Found, saved: &Saved) -> anyhow::Result<Code> {
    saved::remove(saved)?;
    if global.json {
        output::json(&serde_json::json!({ "name": saved.name, "removed": saved.path }))?;
    } else {
        output::line(&format!("removed {}", printable(&saved.path.to_string_lossy())));
    }
    let next =
        found.workflows.iter().chain(&found.hidden).find(|other| other.name == saved.name && other.path != saved.path);
    if let Some(next) = next {
        output::note(&format!("`{}` now means {}", saved.name, printable(&next.path.to_string_lossy())));
    }
    Ok(Code::Completed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_script::HostError;

    #[test]
    fn a_host_that_is_gone_is_the_error_of_one_entry() {
        let (meta, error) = meta_or_error(Err(LoadError::Host(HostError::ZygoteGone { reason: "killed".to_owned() })));
        assert!(meta.is_none() && error.is_some_and(|error| error.contains("killed")));
    }
}
