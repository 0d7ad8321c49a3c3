//! One file a command.

pub mod agents;
pub mod check;
pub mod completions;
pub mod demo;
pub mod logs;
pub mod resume;
pub mod run;
pub mod runs;
pub mod save;
pub mod saved_commands;
pub mod show;
