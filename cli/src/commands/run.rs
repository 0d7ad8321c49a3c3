//! `skein run`: start a workflow and follow it to its end.

use crate::args::{Global, RunArgs};
use crate::client::{Client, refusal};
use crate::commands::resume;
use crate::exit::{Code, unreachable, usage};
use crate::follow;
use crate::launch::{self, Launch};
use crate::output::{self, printable};
use crate::session::{Session, existing_store, this_program};
use crate::settings::Settings;
use anyhow::Context as _;
use skein_common::RunId;
use skein_common::script::{Loaded, ScriptError};
use skein_coordinator::api::{Accepted, Submission};
use skein_script::{HostPool, LoadError};
use std::io::{BufRead, IsTerminal, Write as _};

/// Starts, follows, reports.
///
/// # Errors
/// The run cannot be started, or did not end.
pub async fn run(global: &Global, args: RunArgs) -> anyhow::Result<Code> {
    let client = if args.dry_run { None } else { Client::of_url(global)? };
    if client.is_some() && args.resume.is_some() {
        return Err(usage("--resume works on a store of this machine: name one with --store DIR, or leave it out"));
    }
    let mut launch = launch::prepare(&args, &global.settings)?;
    if let Some(parent) = &args.resume {
        let store = existing_store(global)?;
        let parent = resume::Parent::load(&store.ports(), parent).await?;
        launch.spec = parent.inherit(launch.spec);
    }
    for warning in &launch.warnings {
        output::note(&format!("warning: {}", printable(warning)));
    }
    if !args.dry_run && !args.yes && !confirmed(&global.settings, &launch).await? {
        output::note("not started");
        return Ok(Code::Completed);
    }
    if args.detach {
        return detach(global, launch).await;
    }
    if let Some(client) = client {
        let run = submit(global, &client, launch).await?;
        return follow::to_its_end(global, &client, &run, args.events).await?.report(global, args.strict);
    }
    if args.dry_run {
        let store = tempfile::tempdir().context("no place for a dry run")?;
        let session = Session::start(&global.settings, store.path()).await?.temporary();
        return start(global, session, launch, args.strict).await;
    }
    let session = Session::start(&global.settings, &global.settings.store_dir()?).await?;
    start(global, session.printing_events(args.events), launch, args.strict).await
}

/// Hands the run to whoever serves the store.
async fn detach(global: &Global, launch: Launch) -> anyhow::Result<Code> {
    let none = || {
        unreachable(
            "--detach needs a `skein serve` on this store, and none is running: start one, name a coordinator with --url, or \
             leave --detach out",
        )
    };
    let client = Client::of_serve(global)?.ok_or_else(none)?;
    let run = submit(global, &client, launch).await?;
    if global.json {
        output::json(&serde_json::json!({ "run": run }))?;
    } else {
        output::line(run.as_str());
    }
    Ok(Code::Completed)
}

/// Hands the run to another process. What may be read by its path is read there: on this machine only it is what the
/// person sees.
async fn submit(global: &Global, client: &Client, launch: Launch) -> anyhow::Result<RunId> {
    let mut spec = launch.spec;
    if global.settings.api_url().is_some_and(|url| !url.is_of_this_machine()) {
        spec.script_roots.clear();
    }
    let Accepted { run } = client.post_once("/runs", &Submission { spec }).await.map_err(refusal)?;
    Ok(run)
}

async fn start(global: &Global, session: Session, launch: Launch, strict: bool) -> anyhow::Result<Code> {
    let run = session.submit(launch.spec).await?;
    session.follow(global, &run).await?.report(global, strict)
}

/// What will run, and whether the person wants it (U2).
async fn confirmed(settings: &Settings, launch: &Launch) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !output::stderr_is_terminal() {
        return Err(usage("a run is confirmed on a terminal; add --yes to start it without asking"));
    }
    let hosts = HostPool::start(this_program()?).await.context("cannot start the script host")?;
    match hosts.check(&launch.source, &settings.host_limits).await {
        Ok(loaded) => ask(launch, &loaded),
        // The run itself will say what is wrong with it, and keep it (R2).
        Err(LoadError::Script(ScriptError { .. })) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn ask(launch: &Launch, loaded: &Loaded) -> anyhow::Result<bool> {
    loop {
        output::note(&format!("{}: {}", printable(&loaded.meta.name), printable(&loaded.meta.description)));
        for phase in &loaded.meta.phases {
            let detail = phase.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
            output::note(&format!("  {}{}", printable(&phase.title), printable(&detail)));
        }
        if let Some(budget) = launch.spec.budget {
            output::note(&format!("  budget {budget} tokens"));
        }
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "Run it? [y]es, [v]iew the script, [n]o: ")?;
        stderr.flush()?;
        drop(stderr);
        let mut answer = String::new();
        if std::io::stdin().lock().read_line(&mut answer)? == 0 {
            return Ok(false);
        }
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "n" | "no" | "" => return Ok(false),
            "v" | "view" => output::note(&printable(&launch.source)),
            _ => {}
        }
    }
}
