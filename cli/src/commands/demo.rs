//! `skein demo`: a sample fleet with a planted fault, and the workflow that finds it. No key, no network.

use crate::args::{DemoArgs, Global, Mode, RunArgs};
use crate::demo::{FleetSettings, Planted, generate};
use crate::exit::{self, Code};
use crate::session::{Concluded, Session};
use crate::{launch, output, report};
use anyhow::Context as _;
use rust_embed::RustEmbed;
use serde_json::Value;
use std::path::Path;

/// The example that the demo runs, as it stands in the repository.
#[derive(RustEmbed)]
#[folder = "../examples/nginx-502"]
struct Example;

/// Makes the fleet, runs the workflow on it, and says whether the cause was found.
///
/// # Errors
/// The fleet cannot be written, or the run did not end.
pub async fn demo(global: &Global, args: DemoArgs) -> anyhow::Result<Code> {
    let mut folder = tempfile::Builder::new().prefix("skein-demo-").tempdir().context("no temporary folder")?;
    folder.disable_cleanup(args.keep);
    let fleet = folder.path().join("fleet");
    let settings = FleetSettings { seed: args.seed, hosts: usize::try_from(args.hosts)?, ..FleetSettings::default() };
    say(global, &format!("making a fleet of {} nginx hosts and {} services…", settings.hosts, settings.apps));
    let planted = generate(&settings, &fleet).context("the sample fleet cannot be written")?;
    unpack_example(folder.path())?;
    let run_args = run_args(folder.path(), &fleet);
    let launch = launch::prepare(&run_args, &global.settings)?;
    let session = Session::start(&global.settings, &global.settings.store_dir()?).await?;
    let run = session.submit(launch.spec).await?;
    let concluded = session.follow(global, &run).await?;
    // A run that was left needs its fleet to go on.
    folder.disable_cleanup(args.keep || matches!(concluded, Concluded::Left(_)));
    if args.keep {
        say(global, &format!("the fleet is kept in {}", fleet.display()));
    }
    match concluded {
        Concluded::Ended(view) if global.json => {
            output::json(&view)?;
            Ok(exit::code_of_run(&view, false))
        }
        Concluded::Ended(view) => {
            if !global.quiet {
                output::note(&report::text(&view));
            }
            let found: Value =
                view.result.as_ref().map(|json| serde_json::from_str(json.get())).transpose()?.unwrap_or_default();
            Ok(if tell(&found, &planted) { exit::code_of_run(&view, false) } else { Code::Failed })
        }
        Concluded::Left(code) => Ok(code),
    }
}

fn say(global: &Global, text: &str) {
    if !global.quiet {
        output::note(text);
    }
}

fn unpack_example(folder: &Path) -> anyhow::Result<()> {
    for name in Example::iter() {
        let file = Example::get(&name).context("the example is not whole")?;
        let path = folder.join(name.as_ref());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, file.data).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

/// What a person would have typed.
fn run_args(folder: &Path, fleet: &Path) -> RunArgs {
    RunArgs {
        script: folder.join("nginx-502.js"),
        text: Vec::new(),
        args: Some(serde_json::json!({ "fleet": fleet }).to_string()),
        yes: true,
        budget: None,
        model: None,
        concurrency: None,
        max_agents: None,
        strict: false,
        timeout: None,
        runner: None,
        command: None,
        simulate: None,
        resume: None,
        resume_mode: Mode::default(),
        detach: false,
        events: false,
        dry_run: false,
    }
}

/// Prints what was found beside what was planted; whether they agree.
fn tell(found: &Value, planted: &Planted) -> bool {
    let text = |key: &str| found[key].as_str().unwrap_or("-").to_owned();
    let agree = text("kind") == planted.kind && text("service") == planted.service && text("at") == planted.at;
    output::line(&format!(
        "\nfound    {} on {} ({}) at {}, confidence {}",
        text("kind"),
        text("service"),
        text("addr"),
        text("at"),
        text("confidence")
    ));
    output::line(&format!("planted  {} on {} ({}) at {}", planted.kind, planted.service, planted.addr, planted.at));
    let lines = |key: &str| found[key].as_array().cloned().unwrap_or_default();
    for (title, key) in [("evidence", "evidence"), ("plan", "plan")] {
        output::line(title);
        for line in lines(key) {
            output::line(&format!("  - {}", output::printable(line.as_str().unwrap_or(&line.to_string()))));
        }
    }
    output::line(if agree {
        "The workflow found the planted cause."
    } else {
        "The workflow did not find the planted cause."
    });
    agree
}
