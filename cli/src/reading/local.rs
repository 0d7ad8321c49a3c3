//! The store of this machine. Readers need no process that executes anything.

use super::{Followed, PrintLine, Reading};
use crate::args::Global;
use crate::exit::usage;
use crate::session::{no_store, store_if_any};
use crate::stored;
use async_trait::async_trait;
use skein_backend::embedded::{Changes, Store};
use skein_common::RunId;
use skein_common::ports::Ports;
use skein_common::view::{AgentView, RunView};
use skein_common::wire::WorkerInfo;
use skein_coordinator::{
    AgentRecord, AgentRecordError, Clock as _, LogPage, SystemClock, agent_record, load_text, log_page, workers,
};
use skein_engine::agent_views;
use std::time::{Duration, Instant};

/// Between its submission and its start, or when its owner starts it anew.
const UNOWNED_MAX: Duration = Duration::from_secs(1);

pub(super) struct Local<'a> {
    global: &'a Global,
    /// `None` when nothing was ever run here.
    there: Option<There>,
}

struct There {
    store: Store,
    /// From before the first look, so that nothing is missed between it and a wait.
    changes: Changes,
}

impl<'a> Local<'a> {
    pub fn open(global: &'a Global) -> anyhow::Result<Local<'a>> {
        let there = store_if_any(global)?.map(|store| There { changes: store.changes(), store });
        Ok(Local { global, there })
    }

    fn ports(&self) -> anyhow::Result<Ports> {
        match &self.there {
            Some(there) => Ok(there.store.ports()),
            None => Err(no_store(self.global)?),
        }
    }

    /// Waits until a log may have more, `longest` at most.
    async fn more(&mut self, longest: Duration) {
        let Some(there) = &mut self.there else { return tokio::time::sleep(longest).await };
        let _something_or_time = tokio::time::timeout(longest, there.changes.next()).await;
    }
}

#[async_trait(?Send)]
impl Reading for Local<'_> {
    async fn list(&self, limit: usize) -> anyhow::Result<Vec<RunView>> {
        if self.there.is_none() {
            return Ok(Vec::new());
        }
        let views = stored::list(&self.ports()?, limit).await?;
        Ok(views.into_iter().map(|view| stored::with_place(self.global, view)).collect())
    }

    async fn view(&self, run: &RunId) -> anyhow::Result<RunView> {
        Ok(stored::with_place(self.global, stored::view(&self.ports()?, run).await?))
    }

    async fn script(&self, run: &RunId) -> anyhow::Result<String> {
        let ports = self.ports()?;
        let stored = stored::load(&ports, run).await?;
        Ok(load_text(ports.blobs.as_ref(), run, &stored.run.state().spec.script).await?)
    }

    async fn agents(&self, run: &RunId) -> anyhow::Result<Vec<AgentView>> {
        let stored = stored::load(&self.ports()?, run).await?;
        Ok(agent_views(stored.run.state(), SystemClock.now_ms()))
    }

    async fn agent(&self, run: &RunId, agent: u32) -> anyhow::Result<AgentRecord> {
        agent_record(&self.ports()?, run, agent).await.map_err(|error| match error {
            AgentRecordError::Load(error) => stored::for_person(run, error),
            missing => usage(missing.to_string()),
        })
    }

    async fn logs(&self, run: &RunId, after: u64) -> anyhow::Result<LogPage> {
        log_page(&self.ports()?, run, after).await.map_err(|error| stored::for_person(run, error))
    }

    async fn workers(&self) -> anyhow::Result<Vec<WorkerInfo>> {
        match &self.there {
            Some(there) => Ok(workers(&there.store.ports()).await?),
            None => Ok(Vec::new()),
        }
    }

    async fn follow(&mut self, run: &RunId, print: &mut PrintLine) -> anyhow::Result<Followed> {
        let (mut position, mut unowned_since) = (0, None);
        loop {
            let page = self.logs(run, position).await?;
            position = page.position;
            page.lines.iter().try_for_each(&mut *print)?;
            if page.more {
                continue;
            }
            if page.ended {
                return Ok(Followed::Ended);
            }
            let since = unowned_since.filter(|_| !page.owned);
            if since.is_some_and(|since: Instant| since.elapsed() >= UNOWNED_MAX) {
                return Ok(Followed::Interrupted);
            }
            unowned_since = (!page.owned).then(|| since.unwrap_or_else(Instant::now));
            self.more(if page.owned { Duration::MAX } else { UNOWNED_MAX }).await;
        }
    }
}
