//! `skein completions`: what a shell needs to complete commands and flags.

use crate::args::{Cli, CompletionsArgs};
use crate::exit::Code;
use crate::output;
use clap::CommandFactory as _;

/// Prints the script for the shell.
///
/// # Errors
/// Nothing that is ours.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<Code> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "skein", &mut script);
    output::bytes(&script);
    Ok(Code::Completed)
}
