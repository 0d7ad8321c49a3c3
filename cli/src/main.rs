//! `skein`: the one binary. Everything a person types starts here; so do the child processes Skein makes of itself.

mod args;
mod commands;
mod demo;
mod exit;
mod launch;
mod output;
mod progress;
mod report;
mod saved;
mod saved_args;
mod session;
mod settings;
mod stored;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

/// Counts what a script host allocates, and is nothing but the system's allocator everywhere else.
#[global_allocator]
static ALLOCATOR: skein_script::sandbox::CappedAllocator = skein_script::sandbox::CappedAllocator;

fn main() -> ExitCode {
    become_child_if_asked();
    let cli = Cli::parse();
    settings::start_logging(cli.global.verbose);
    match actix::System::new().block_on(dispatch(cli)) {
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

async fn dispatch(cli: Cli) -> anyhow::Result<exit::Code> {
    let global = cli.global;
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
        Command::Completions(args) => commands::completions::completions(&args),
        Command::Save(args) => commands::save::save(&global, args).await,
        Command::Commands(args) => commands::saved_commands::commands(&global, args).await,
        Command::Script(args) => commands::show::script(&global, args).await,
    }
}
