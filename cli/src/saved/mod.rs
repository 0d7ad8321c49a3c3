//! Saved workflows (U4): where they are, which one a name means, and how they are written and removed.

mod discover;
mod write;

pub use discover::{Found, Level, Saved, discover, project_root, script_roots};
pub use write::{Written, remove, save};

/// The folder of the files that people and programs share in a project or a home.
const CONFIG_DIR: &str = ".claude";
/// Where workflows are saved; it goes before the other folder.
const COMMANDS_DIR: &str = "commands";
const WORKFLOWS_DIR: &str = "workflows";
const EXTENSION: &str = "js";
