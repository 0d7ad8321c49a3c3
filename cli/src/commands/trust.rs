//! `skein trust`: lets the files of a project name programs that run here.

use crate::args::{Global, TrustArgs};
use crate::exit::{Code, usage};
use crate::output::{self, printable};
use crate::settings::project_items_that_need_trust;
use crate::settings::trust::{self, ProjectItems, TrustedFolder};
use anyhow::Context as _;
use serde_json::{Value, json};
use skein_coordinator::{Clock as _, SystemClock};
use std::path::{Path, PathBuf};

/// Trusts, lists, or trusts no more.
///
/// # Errors
/// The folder is not there, its file of settings is broken, or the list cannot be read or written.
pub fn trust(global: &Global, args: &TrustArgs) -> anyhow::Result<Code> {
    if args.list {
        return list(global);
    }
    let named = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    if args.remove {
        return remove(global, &named);
    }
    let dir = named.canonicalize().map_err(|error| usage(format!("{}: {error}", named.display())))?;
    let items = project_items_that_need_trust(&dir).map_err(|problem| usage(problem.to_string()))?;
    if !items.is_empty() {
        let folder = TrustedFolder { dir: dir.clone(), digest: items.digest(), at_ms: SystemClock.now_ms() };
        trust::add(folder).context("the list of trusted projects cannot be written")?;
    }
    tell(global, &dir, &items)?;
    Ok(Code::Completed)
}

fn tell(global: &Global, dir: &Path, items: &ProjectItems) -> anyhow::Result<()> {
    if global.json {
        let agents: Vec<&String> = items.agents.keys().collect();
        let trusted = !items.is_empty();
        return output::json(&json!({ "dir": dir, "trusted": trusted, "settings": items.settings, "agents": agents }));
    }
    if items.is_empty() {
        output::line(&format!("nothing in {} needs trust", dir.display()));
        return Ok(());
    }
    output::line(&format!("trusted, until it changes: {}", dir.display()));
    for (name, value) in &items.settings {
        output::line(&printable(&format!("  {name} = {value}")));
    }
    for name in items.agents.keys() {
        output::line(&printable(&format!("  agent type {name}")));
    }
    Ok(())
}

fn remove(global: &Global, named: &Path) -> anyhow::Result<Code> {
    // A folder that is gone can only be named as the list has it.
    let dir = named.canonicalize().or_else(|_| std::path::absolute(named))?;
    if !trust::remove(&dir).context("the list of trusted projects cannot be written")? {
        return Err(usage(format!("{} is not trusted; `skein trust --list` lists what is", dir.display())));
    }
    match global.json {
        true => output::json(&json!({ "dir": dir, "trusted": false }))?,
        false => output::line(&format!("no longer trusted: {}", dir.display())),
    }
    Ok(Code::Completed)
}

fn list(global: &Global) -> anyhow::Result<Code> {
    let folders = trust::trusted_folders().context("the list of trusted projects cannot be read")?;
    let listed: Vec<(PathBuf, &'static str)> =
        folders.iter().map(|folder| (folder.dir.clone(), state_of(folder))).collect();
    if global.json {
        let listed: Vec<Value> = listed.iter().map(|(dir, state)| json!({ "dir": dir, "state": state })).collect();
        output::json(&listed)?;
        return Ok(Code::Completed);
    }
    for (dir, state) in &listed {
        output::line(&printable(&format!("{state:<9} {}", dir.display())));
    }
    if listed.is_empty() {
        output::note("no project is trusted");
    }
    Ok(Code::Completed)
}

/// Whether what was trusted still stands there.
fn state_of(folder: &TrustedFolder) -> &'static str {
    if !folder.dir.is_dir() {
        return "gone";
    }
    match project_items_that_need_trust(&folder.dir) {
        Ok(items) if items.digest() == folder.digest => "trusted",
        _ => "changed",
    }
}
