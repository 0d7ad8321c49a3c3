//! What a person may type about saved workflows. Types only; what happens is in `commands`.

use clap::{Args, Subcommand};
use skein_common::RunId;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skein save wf_01kb3v9m5c7w8t3xq2r4y6z8a0                  then: skein run NAME
  skein save wf_01kb3v9m5c7w8t3xq2r4y6z8a0 --name review --user")]
pub struct SaveArgs {
    #[arg(value_name = "RUN")]
    pub run: RunId,
    /// The name to save it under: lower-case letters, digits, hyphens [default: the name in its meta].
    #[arg(long)]
    pub name: Option<String>,
    /// For every project of yours: ~/.claude/commands instead of the project's .claude/commands.
    #[arg(long)]
    pub user: bool,
    /// Replace another text of that name.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skein commands
  skein commands show review > review.js
  skein commands remove review")]
pub struct CommandsArgs {
    #[command(subcommand)]
    pub action: Option<CommandsAction>,
}

#[derive(Debug, Subcommand)]
pub enum CommandsAction {
    /// List them, with where each one is (the default)
    #[command(after_help = "Example:\n  skein commands list --json | jq -r '.[].name'")]
    List,
    /// Print the script of one, byte for byte
    #[command(after_help = "Example:\n  skein commands show review > review.js")]
    Show(SavedName),
    /// Remove one
    #[command(after_help = "Example:\n  skein commands remove review --user")]
    Remove(SavedName),
}

#[derive(Debug, Args)]
pub struct SavedName {
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The one of yours, even where a project's has the same name.
    #[arg(long)]
    pub user: bool,
}
