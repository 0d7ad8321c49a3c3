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
use skein_coordinator::{AgentRecord, LogLine, LogPage};

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
    /// Every line of the log from the first on, and those to come, until the run ends or nobody runs it any more.
    async fn follow(&mut self, run: &RunId, print: &mut PrintLine) -> anyhow::Result<Followed>;
}

/// What is done with each line.
pub type PrintLine<'a> = dyn FnMut(&LogLine) -> anyhow::Result<()> + 'a;

/// Why no more lines come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    Ended,
    /// Nobody executes the run.
    Interrupted,
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
