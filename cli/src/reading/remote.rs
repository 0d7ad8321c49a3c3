//! A process behind a URL.

use super::{Followed, PrintLine, Reading};
use crate::args::Global;
use crate::client::{Client, refusal};
use crate::live::{Live, LiveRun};
use crate::stored;
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use skein_common::RunId;
use skein_common::run::RunStatus;
use skein_common::view::{AgentView, RunView};
use skein_common::wire::WorkerInfo;
use skein_coordinator::{AgentRecord, LogLine, LogPage, RunEvent};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Sleep;

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

    async fn follow(&mut self, run: &RunId, print: &mut PrintLine) -> anyhow::Result<Followed> {
        let mut live = LiveRun::new(&self.client, run);
        // Since when nobody executes it.
        let mut interrupted = std::pin::pin!(None);
        loop {
            let happened = tokio::select! {
                happened = live.next() => happened?,
                () = over(interrupted.as_mut()) => return Ok(Followed::Interrupted),
            };
            match happened {
                Live::Event(event) => line_of(&event).iter().try_for_each(&mut *print)?,
                Live::View(view) if view.status != RunStatus::Interrupted => interrupted.set(None),
                Live::View(_) if interrupted.is_none() => interrupted.set(Some(tokio::time::sleep(UNOWNED_MAX))),
                Live::View(_) => {}
                Live::End => return Ok(Followed::Ended),
            }
        }
    }
}

/// Ends with the wait, if there is one.
async fn over(wait: Pin<&mut Option<Sleep>>) {
    match wait.as_pin_mut() {
        Some(wait) => wait.await,
        None => std::future::pending().await,
    }
}

/// The line that this event is in the log, if it is one.
fn line_of(event: &RunEvent) -> Option<LogLine> {
    let (position, at_ms, ours) = (event.position.record + 1, event.at_ms, event.ours);
    event.line.clone().map(|text| LogLine { position, at_ms, text, ours })
}
