//! `skein`: the one binary. Everything a person types starts here; so do the child processes Skein makes of itself.

mod args;
mod client;
mod cluster;
mod cluster_args;
mod commands;
mod demo;
mod doctor;
mod door;
mod events;
mod exit;
mod follow;
mod launch;
mod live;
mod output;
mod progress;
mod reading;
mod remote;
mod report;
mod saved;
mod saved_args;
mod session;
mod settings;
mod signals;
mod stored;
mod sweep;
mod telemetry;

use args::{Cli, Command};
use clap::Parser;
use settings::Settings;
use std::process::ExitCode;

/// Counts what a script host allocates, and is nothing but the system's allocator everywhere else.
#[global_allocator]
static ALLOCATOR: skein_script::sandbox::CappedAllocator = skein_script::sandbox::CappedAllocator;

fn main() -> ExitCode {
    become_child_if_asked();
    let mut cli = Cli::parse();
    let (settings, problems) = Settings::load(cli.global.store.as_ref(), cli.global.url.as_ref());
    cli.global.settings = settings;
    settings::start_logging(cli.global.verbose, &cli.global.settings);
    match actix::System::new().block_on(dispatch(cli, problems)) {
        Ok(code) => code.into(),
        Err(error) => {
            output::problem(&format!("{error:#}"));
            exit::code_of(&error).into()
        }
    }
}

/// The hidden roles: this program re-executed by itself, before any thread or runtime exists.
fn become_child_if_asked() {
    match std::env::args().nth(1).as_deref() {
        Some("script-zygote") => skein_script::child::zygote_main(),
        Some("script-host") => skein_script::child::host_main(),
        Some("keeper") => skein_worker::keeper_main(),
        _ => {}
    }
}

/// Agents cannot start, steer or answer for runs (A5), in a process of their own as little as in another.
fn refuse_agents() -> anyhow::Result<()> {
    let own = i32::try_from(std::process::id())?;
    match skein_worker::descends_from_attempt(own) {
        Ok(false) => Ok(()),
        Ok(true) => {
            Err(exit::usage("agents cannot start, steer or answer for runs: let the script decide by their answers"))
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot tell whether this is an agent's process")),
    }
}

async fn dispatch(cli: Cli, problems: Vec<settings::Problem>) -> anyhow::Result<exit::Code> {
    let mut global = cli.global;
    match cli.command {
        // What helps a person whose settings are broken.
        Command::Doctor => return commands::doctor::doctor(&global, &problems).await,
        Command::Completions(args) => return commands::completions::completions(&args),
        _ => {}
    }
    if !problems.is_empty() {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(exit::usage(lines.join("\n")));
    }
    if !global.quiet {
        global.settings.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    }
    // The last of the lines is the final object.
    global.json |= matches!(&cli.command, Command::Run(args) if args.events);
    if cli.command.steers() {
        refuse_agents()?;
    }
    remote::check_url(&cli.command, &global.settings)?;
    match cli.command {
        Command::Run(args) => commands::run::run(&global, *args).await,
        Command::Resume(args) => commands::resume::resume(&global, args).await,
        Command::Check(args) => commands::check::check(&global, args).await,
        Command::Demo(args) => commands::demo::demo(&global, args).await,
        Command::Runs(args) => commands::runs::runs(&global, args).await,
        Command::Show(args) => commands::show::show(&global, args).await,
        Command::Result(args) => commands::show::result(&global, args).await,
        Command::Agents(args) => commands::agents::agents(&global, args).await,
        Command::Agent(args) => commands::agents::agent(&global, args).await,
        Command::Logs(args) => commands::logs::logs(&global, args).await,
        Command::Pause(args) => commands::control::pause(&global, args).await,
        Command::Stop(args) => commands::control::stop(&global, args).await,
        Command::AgentStop(args) => commands::control::agent_stop(&global, args).await,
        Command::AgentRestart(args) => commands::control::agent_restart(&global, args).await,
        Command::AgentSkip(args) => commands::control::agent_skip(&global, args).await,
        Command::Workers => commands::workers::workers(&global).await,
        Command::Drain(args) => commands::workers::drain(&global, args).await,
        Command::Serve(args) => commands::serve::serve(&global, args).await,
        Command::Coordinator(args) => commands::cluster::coordinator(&global, args).await,
        Command::Worker(args) => commands::cluster::worker(&global, args).await,
        Command::Nats(args) => commands::nats::nats(&global, args).await,
        Command::Save(args) => commands::save::save(&global, args).await,
        Command::Commands(args) => commands::saved_commands::commands(&global, args).await,
        Command::Script(args) => commands::show::script(&global, args).await,
        Command::Remove(args) => commands::remove::remove(&global, args).await,
        Command::Config(args) => commands::config::config(&global, &args),
        Command::Trust(args) => commands::trust::trust(&global, &args),
        Command::Doctor | Command::Completions(_) => Ok(exit::Code::Completed),
    }
}
