//! Reading: runs as commands look at them, wherever they are: in a store of this machine, or behind `--url`.

mod local;
mod remote;

use crate::args::Global;
use crate::client::Client;
use async_trait::async_trait;
use local::Local;
use remote::Remote;
use skein_common::RunId;
use skein_common::view::{AgentView, RunView};
use skein_common::wire::WorkerInfo;
use skein_coordinator::{AgentRecord, LogPage};
use std::time::Duration;

/// Whoever can be asked about runs. What is not there is an error that the person can mend.
#[async_trait(?Send)]
pub trait Reading {
    /// Newest first, without results.
    async fn list(&self, limit: usize) -> anyhow::Result<Vec<RunView>>;
    /// With its result when it has one.
    async fn view(&self, run: &RunId) -> anyhow::Result<RunView>;
    /// Byte for byte.
    async fn script(&self, run: &RunId) -> anyhow::Result<String>;
    async fn agents(&self, run: &RunId) -> anyhow::Result<Vec<AgentView>>;
    async fn agent(&self, run: &RunId, agent: u32) -> anyhow::Result<AgentRecord>;
    /// Lines of all records of the journal after the first `after`.
    async fn logs(&self, run: &RunId, after: u64) -> anyhow::Result<LogPage>;
    async fn workers(&self) -> anyhow::Result<Vec<WorkerInfo>>;
    /// Waits until a log may have more, `longest` at most.
    async fn more(&mut self, longest: Duration);
    /// A run may be without an owner for so long before it is called interrupted.
    fn unowned_max(&self) -> Duration;
}

/// The process that `--url` names, else the store of this machine.
///
/// # Errors
/// The store cannot be read, or the token for the URL.
pub fn open(global: &Global) -> anyhow::Result<Box<dyn Reading + '_>> {
    match Client::of_url(global)? {
        Some(client) => Ok(Box::new(Remote::new(global, client))),
        None => Ok(Box::new(Local::open(global)?)),
    }
}
