//! A process behind a URL.

use super::Reading;
use crate::args::Global;
use crate::client::{Client, refusal};
use crate::stored;
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use skein_common::RunId;
use skein_common::view::{AgentView, RunView};
use skein_common::wire::WorkerInfo;
use skein_coordinator::{AgentRecord, LogPage};
use std::time::Duration;

/// Between two questions about a run that goes on.
pub const ASK_EVERY: Duration = Duration::from_millis(500);
/// Another coordinator takes a run over by itself; that takes it some seconds.
const UNOWNED_MAX: Duration = Duration::from_secs(30);

pub(super) struct Remote<'a> {
    global: &'a Global,
    client: Client,
}

impl<'a> Remote<'a> {
    pub fn new(global: &'a Global, client: Client) -> Remote<'a> {
        Remote { global, client }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.client.get(path).await.map_err(refusal)
    }
}

#[async_trait(?Send)]
impl Reading for Remote<'_> {
    async fn list(&self, limit: usize) -> anyhow::Result<Vec<RunView>> {
        let views: Vec<RunView> = self.get(&format!("/runs?limit={limit}")).await?;
        Ok(views.into_iter().map(|view| stored::with_place(self.global, view)).collect())
    }

    async fn view(&self, run: &RunId) -> anyhow::Result<RunView> {
        Ok(stored::with_place(self.global, self.get(&format!("/runs/{run}")).await?))
    }

    async fn script(&self, run: &RunId) -> anyhow::Result<String> {
        self.client.get_text(&format!("/runs/{run}/script")).await.map_err(refusal)
    }

    async fn agents(&self, run: &RunId) -> anyhow::Result<Vec<AgentView>> {
        self.get(&format!("/runs/{run}/agents")).await
    }

    async fn agent(&self, run: &RunId, agent: u32) -> anyhow::Result<AgentRecord> {
        self.get(&format!("/runs/{run}/agents/{agent}/record")).await
    }

    async fn logs(&self, run: &RunId, after: u64) -> anyhow::Result<LogPage> {
        self.get(&format!("/runs/{run}/logs?after={after}")).await
    }

    async fn workers(&self) -> anyhow::Result<Vec<WorkerInfo>> {
        self.get("/workers").await
    }

    async fn more(&mut self, longest: Duration) {
        tokio::time::sleep(ASK_EVERY.min(longest)).await;
    }

    fn unowned_max(&self) -> Duration {
        UNOWNED_MAX
    }
}
