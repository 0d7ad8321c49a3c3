//! What the suite needs from a backend under test.

use async_trait::async_trait;
use skein_common::RunId;
use skein_common::ports::{BoxError, Lease, Ports};
use std::future::Future;
use std::time::Duration;

/// A check that hangs fails after this time. Nothing else in the suite depends on time.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(1);

/// How a check ended; a sentence that does not hold is a failed assertion.
pub type Checked = Result<(), BoxError>;

/// One fresh store of a backend and the processes that share it.
#[async_trait]
pub trait World: Send + Sync {
    /// The ports of a process. Dropping all clones of them is its death.
    async fn process(&self) -> Result<Ports, BoxError>;

    /// A process with room for some records of 1 KiB but not for 1 MiB; `None` when the backend has no such limit.
    async fn cramped_process(&self) -> Result<Option<Ports>, BoxError> {
        Ok(None)
    }

    /// Lets the time of a lease pass in which it ought to be renewed; `false` when leases have no time.
    async fn let_expire(&self, _lease: &Lease) -> Result<bool, BoxError> {
        Ok(false)
    }
}

/// A run that no other check uses.
#[must_use]
pub fn new_run() -> RunId {
    RunId::from_uuid(uuid::Uuid::now_v7())
}

/// Carries out a check, and fails it when it hangs.
pub async fn within_deadline(check: impl Future<Output = Checked>) -> Checked {
    tokio::time::timeout(DEADLINE, check).await.map_err(|_| format!("no end after {} s", DEADLINE.as_secs()))?
}

/// Asks again until there is an answer.
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}
