//! The worker's record in the table of workers: there while the worker is there.

use crate::messages::Phase;
use skein_common::ports::{Directory, DirectoryError};
use skein_common::wire::WorkerInfo;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::warn;

const TABLE: &str = "workers";
/// Owners remove records of workers that fell silent, also of those that come back.
const AGAIN: Duration = Duration::from_secs(30);
/// Before asking a directory again that did not answer.
const DIRECTORY_AGAIN: Duration = Duration::from_secs(1);
/// The start waits so long for the record to be stored; then it is stored beside.
const START_WAIT: Duration = Duration::from_secs(5);
/// The end waits so long for it to be removed; then owners do it when they miss the worker.
const END_WAIT: Duration = Duration::from_secs(2);

/// What puts the record, and removes it at a clean end.
pub(crate) struct Registration {
    directory: Arc<dyn Directory>,
    node: String,
    putting: AbortHandle,
}

impl Registration {
    /// Puts the record, and again whenever the phase changes.
    pub(crate) async fn begin(
        directory: Arc<dyn Directory>,
        info: WorkerInfo,
        phase: watch::Receiver<Phase>,
    ) -> Registration {
        let node = info.node.clone();
        let (stored, mut first_stored) = watch::channel(false);
        let putting = actix_rt::spawn(keep_stored(Arc::clone(&directory), info, phase, stored)).abort_handle();
        let _ = timeout(START_WAIT, first_stored.wait_for(|stored| *stored)).await;
        Registration { directory, node, putting }
    }

    /// The worker is no more.
    pub(crate) async fn end(&self) {
        self.putting.abort();
        match timeout(END_WAIT, self.directory.remove(TABLE, &self.node)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the record of this worker cannot be removed"),
            Err(_) => warn!("the record of this worker cannot be removed in time"),
        }
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("node", &self.node).finish_non_exhaustive()
    }
}

async fn keep_stored(
    directory: Arc<dyn Directory>,
    info: WorkerInfo,
    mut phase: watch::Receiver<Phase>,
    stored: watch::Sender<bool>,
) {
    loop {
        let now = *phase.borrow_and_update();
        if now == Phase::Superseded {
            return; // The record is that of the one that took over.
        }
        let wait = match put(directory.as_ref(), &now.told_in(&info)).await {
            Ok(()) => {
                stored.send_replace(true);
                AGAIN
            }
            Err(error) => {
                warn!(%error, "the record of this worker cannot be stored");
                DIRECTORY_AGAIN
            }
        };
        if let Ok(Err(_)) = timeout(wait, phase.changed()).await {
            return; // The worker is gone.
        }
    }
}

async fn put(directory: &dyn Directory, info: &WorkerInfo) -> Result<(), DirectoryError> {
    let json = serde_json::to_vec(info).map_err(|error| DirectoryError::Unavailable { source: error.into() })?;
    directory.put(TABLE, &info.node, json.into()).await
}
