//! The one thread that writes: it takes all changes that wait, commits them with one flush, then answers each.

use super::database;
use rusqlite::{Connection, ErrorCode};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Changes that may wait; beyond it, a caller waits for room. Each run has one append outstanding, so this is about
/// the number of runs that write at the same moment.
const QUEUE_MAX: usize = 256;
/// Changes in one commit, so that the first of them does not wait for hundreds of blobs.
const GROUP_MAX: usize = 64;
/// Pages of the log (1 KiB each) from which on it is moved into the database when no change waits. One run of 1000
/// agents stays below it.
const CHECKPOINT_PAGES: i32 = 2048;
/// Pages from which on changes wait for the checkpoint.
const CHECKPOINT_PAGES_MAX: i32 = 4 * CHECKPOINT_PAGES;

/// Hands changes to the writer thread. Dropped, it waits until the thread has closed the database.
#[derive(Debug)]
pub struct Writer {
    /// `None` in a store that may only be read.
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

/// Why a change was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// Certainly not stored.
    #[error("{reason}")]
    Refused { reason: String },
    /// May or may not be stored.
    #[error("outcome of the commit is unknown")]
    Unknown {
        #[source]
        source: Arc<rusqlite::Error>,
    },
    #[error("the writer ended before it answered")]
    Ended,
}

impl Writer {
    /// Starts the thread over the connection it alone uses.
    pub fn start(connection: Connection) -> io::Result<Writer> {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let thread =
            std::thread::Builder::new().name("skein-store".to_owned()).spawn(|| write_all(connection, waiting))?;
        Ok(Writer { queue: Some(queue), thread: Some(thread) })
    }

    /// A writer that refuses everything.
    pub fn refusing() -> Writer {
        Writer { queue: None, thread: None }
    }

    /// Carries out the change; its effect is durable when this answers. An error of `change` leaves nothing of it.
    /// It may be called twice: changes that shared a failed commit are tried again one by one.
    pub async fn write<T: Send + 'static>(
        &self,
        change: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, WriteError> {
        let refuse = |reason: &str| WriteError::Refused { reason: reason.to_owned() };
        let Some(queue) = &self.queue else { return Err(refuse("store is read-only")) };
        let (reply, answer) = oneshot::channel();
        let job = Change { change, value: None, reply };
        queue.send(Box::new(job)).await.map_err(|_| refuse("the store's writer has ended"))?;
        answer.await.map_err(|_| WriteError::Ended)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It only fails when the thread panicked, and then its callers have been told.
            let _ = thread.join();
        }
    }
}

/// A change of any type, as the thread sees it.
trait Job: Send {
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, outcome: Result<(), WriteError>);
}

struct Change<F, T> {
    change: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, WriteError>>,
}

impl<F, T> Job for Change<F, T>
where
    F: FnMut(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.value = Some((self.change)(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), WriteError>) {
        let Change { value, reply, .. } = *self;
        // Nobody waits for the answer when the caller was dropped.
        let _ = reply.send(outcome.and_then(|()| value.ok_or(WriteError::Ended)));
    }
}

fn write_all(mut connection: Connection, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
    let log_pages = Arc::new(AtomicI32::new(0));
    let seen = log_pages.clone();
    let hooked = connection.wal_hook(Some(move |_: &mut _, pages| {
        seen.store(pages, Ordering::Relaxed);
        Ok(())
    }));
    if let Err(error) = hooked {
        tracing::error!(%error, "the log of the store will not be checkpointed");
    }
    let mut group = Vec::with_capacity(GROUP_MAX);
    while waiting.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        commit_group(&connection, &mut group);
        let pages = log_pages.load(Ordering::Relaxed);
        if pages >= CHECKPOINT_PAGES_MAX || (pages >= CHECKPOINT_PAGES && waiting.is_empty()) {
            checkpoint(&connection);
            log_pages.store(0, Ordering::Relaxed);
        }
    }
}

/// Commits all with one flush. When that certainly failed, each is tried alone and answers for itself.
fn commit_group(connection: &Connection, group: &mut Vec<Box<dyn Job>>) {
    let outcome = commit(connection, group);
    let alone = group.len() > 1 && matches!(outcome, Err(WriteError::Refused { .. }));
    for mut job in group.drain(..) {
        let outcome = if alone { commit(connection, std::slice::from_mut(&mut job)) } else { outcome.clone() };
        job.answer(outcome);
    }
}

fn commit(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<(), WriteError> {
    let refused = |error: &rusqlite::Error| WriteError::Refused { reason: database::reason(error) };
    connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([])).map_err(|e| refused(&e))?;
    for job in group {
        if let Err(error) = job.apply(connection) {
            roll_back(connection);
            return Err(refused(&error));
        }
    }
    let Err(error) = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) else {
        return Ok(());
    };
    roll_back(connection);
    if is_certainly_not_applied(&error) {
        return Err(refused(&error));
    }
    tracing::error!(%error, "a commit of the store may or may not have succeeded");
    Err(WriteError::Unknown { source: Arc::new(error) })
}

/// The commit record is the last that is written: without room for it, or without the right or the lock to write it,
/// it is not there. After an error of the flush it may be.
fn is_certainly_not_applied(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DiskFull | ErrorCode::ReadOnly | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn roll_back(connection: &Connection) {
    if connection.is_autocommit() {
        return; // SQLite did it already.
    }
    if let Err(error) = connection.execute_batch("ROLLBACK") {
        tracing::error!(%error, "a transaction of the store could not be rolled back");
    }
}

/// Moves the log into the database as far as no reader needs it; the next commits overwrite it from its start.
fn checkpoint(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the log of the store was not checkpointed");
    }
}
