//! `skein trust`: lets the files of a project name programs that run here.

use crate::args::{Global, TrustArgs};
use crate::exit::{Code, usage};
use crate::output::{self, printable};
use crate::settings::trust::{self, TrustedFolder};
use crate::settings::{ProjectAgent, ProjectItems, project_items_that_need_trust};
use anyhow::Context as _;
use serde_json::{Value, json};
use skein_common::agent::CommandLine;
use skein_coordinator::{Clock as _, SystemClock};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// Trusts, lists, or trusts no more.
///
/// # Errors
/// The folder is not there, its file of settings is broken, nobody can be asked, or the list cannot be read or written.
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
    show(global, args, &items);
    let trusted = !items.is_empty() && (args.yes || confirmed()?);
    if trusted {
        let folder = TrustedFolder { dir: dir.clone(), digest: items.digest(), at_ms: SystemClock.now_ms() };
        trust::add(folder).context("the list of trusted projects cannot be written")?;
    }
    tell(global, &dir, &items, trusted)?;
    Ok(Code::Completed)
}

/// What each item would run, before anything is recorded. With `--json` it is in the answer, and here for a person.
fn show(global: &Global, args: &TrustArgs, items: &ProjectItems) {
    let settings = items.settings.iter().map(|(name, value)| format!("  {name} = {value}"));
    let lines = settings.chain(items.agents.iter().flat_map(described));
    for line in lines {
        match (global.json, args.yes) {
            (false, _) => output::line(&printable(&line)),
            (true, false) => output::note(&printable(&line)),
            (true, true) => {}
        }
    }
}

fn described(agent: &ProjectAgent) -> Vec<String> {
    let mut lines = vec![format!("  agent type {}, {}", agent.name, agent.path)];
    match &agent.command {
        Some(CommandLine::Shell { line }) => lines.push(format!("    command, by a shell: {line}")),
        Some(CommandLine::Argv { argv }) => lines.push(format!("    command: {}", shell_words::join(argv))),
        None => lines.extend(agent.runner.map(|runner| format!("    runner: {}", runner.name()))),
    }
    lines.extend(agent.env.iter().map(|entry| format!("    env: {entry}")));
    lines.extend(agent.cwd.iter().map(|cwd| format!("    cwd: {cwd}")));
    // One line each: a line break in a value must not look like another item.
    lines.into_iter().map(|line| line.replace('\n', "\u{fffd}")).collect()
}

fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !output::stderr_is_terminal() {
        return Err(usage("trust is confirmed on a terminal; add --yes to give it without being asked"));
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "Trust this? [y]es, [n]o: ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn tell(global: &Global, dir: &Path, items: &ProjectItems, trusted: bool) -> anyhow::Result<()> {
    if global.json {
        let (settings, agents) = (&items.settings, &items.agents);
        return output::json(&json!({ "dir": dir, "trusted": trusted, "settings": settings, "agents": agents }));
    }
    let dir = printable(&dir.to_string_lossy());
    match (items.is_empty(), trusted) {
        (true, _) => output::line(&format!("nothing in {dir} needs trust")),
        (false, true) => output::line(&format!("trusted, until it changes: {dir}")),
        (false, false) => output::note("not trusted"),
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
