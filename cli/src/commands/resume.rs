//! `skein resume`: continue an interrupted run where its journal ends.

use crate::args::{Global, RunName};
use crate::exit::{Code, usage};
use crate::session::{Session, existing_store};
use crate::settings::store_dir;
use crate::stored;
use skein_common::ports::{LeaseError, Ports};
use skein_coordinator::LoadError;
use std::time::Duration;

/// After a kill the system takes a moment to give the lock of the dead owner back.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Continues, follows, reports.
///
/// # Errors
/// There is nothing to continue, or somebody else runs it.
pub async fn resume(global: &Global, args: RunName) -> anyhow::Result<Code> {
    let run = args.run;
    let strict = {
        let store = existing_store(global)?;
        let loaded = skein_coordinator::load_run(store.ports().journal.as_ref(), &run).await;
        let stored = match loaded {
            Err(LoadError::NotFound { .. }) => {
                return Err(usage(format!("nothing to resume: there is no run {run}; `skein runs` lists them")));
            }
            other => other?,
        };
        let view = stored::view_of(&store.ports(), &run, &stored).await?;
        if view.status.is_end() {
            return Err(usage(format!(
                "nothing to resume: {run} has ended ({}); `skein result {run}` prints its result",
                view.status
            )));
        }
        if let Some(holder) = holder_that_stays(&store.ports(), run.as_str()).await? {
            return Err(usage(format!("{run} is being run by {holder}; a run has one owner at a time")));
        }
        stored.run.state().spec.strict
    };
    let session = Session::start(&store_dir(global.store.as_ref())?).await?;
    session.follow(global, &run).await?.report(global, strict)
}

/// Who holds the run, unless the holder goes away while we look.
async fn holder_that_stays(ports: &Ports, run: &str) -> Result<Option<String>, LeaseError> {
    for _ in 1..LOOKS {
        if ports.leases.holder(run).await?.is_none() {
            return Ok(None);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    ports.leases.holder(run).await
}
