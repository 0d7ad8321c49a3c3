//! One file a command.

pub mod agents;
pub mod check;
pub mod cluster;
pub mod completions;
pub mod config;
pub mod control;
pub mod demo;
pub mod doctor;
pub mod logs;
pub mod nats;
pub mod remove;
pub mod resume;
pub mod run;
pub mod runs;
pub mod save;
pub mod saved_commands;
pub mod serve;
pub mod show;
pub mod trust;
pub mod workers;
