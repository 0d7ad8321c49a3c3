//! Streams: who watches what at this process, within bounds.

use super::chunk::Chunk;
use super::position::Position;
use super::run_stream::RunStream;
use super::runs_stream::{RunsFeed, RunsStream};
use super::tail::{Standing, Tail};
use super::tail_task::TailTask;
use skein_common::RunId;
use skein_common::ports::Ports;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Watchers that read a journal by themselves at the same time: those that are behind wait for each other.
const CATCH_UPS: usize = 4;
/// Frames that such a watcher takes at once.
const CATCH_UP_BYTES: usize = 1024 * 1024;

/// Why nothing can be watched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("there is no run {run}; `skein runs` lists them")]
    NotFound { run: RunId },
    #[error("{max} watch already, which is all that `api.watchers` allows; try again later")]
    TooMany { max: usize },
    #[error("the run cannot be read now: {reason}")]
    Unreadable { reason: String },
    #[error("this process is about to end")]
    Closing,
}

/// Everything that is watched at this process. Clones share it.
#[derive(Clone)]
pub struct Streams {
    shared: Arc<Shared>,
}

struct Shared {
    ports: Ports,
    tails: Mutex<HashMap<RunId, Weak<Reading>>>,
    runs: Mutex<Weak<RunsFeed>>,
    watchers: Arc<AtomicUsize>,
    catching_up: Semaphore,
    closing: watch::Sender<bool>,
}

/// A tail and the task that fills it, which ends with its last watcher.
pub(super) struct Reading {
    pub tail: Arc<Tail>,
    task: JoinHandle<()>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The place of one watcher.
#[derive(Debug, Default)]
pub(super) struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("watchers", &self.watchers()).finish_non_exhaustive()
    }
}

impl Streams {
    pub(crate) fn new(ports: Ports) -> Streams {
        Streams {
            shared: Arc::new(Shared {
                ports,
                tails: Mutex::default(),
                runs: Mutex::default(),
                watchers: Arc::default(),
                catching_up: Semaphore::new(CATCH_UPS),
                closing: watch::Sender::new(false),
            }),
        }
    }

    /// How many watch now.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.shared.watchers.load(Ordering::Relaxed)
    }

    /// Watches a run: everything that its journal has after this event, and what comes. At most `max` watch anything at
    /// this process.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn run(&self, run: &RunId, after: Option<Position>, max: usize) -> Result<RunStream, OpenError> {
        let seat = self.take_seat(max)?;
        let from = after.map_or(0, |after| after.record);
        let reading = self.reading(run, from);
        let mut moves = reading.tail.moves();
        loop {
            match reading.tail.standing() {
                Standing::Opening => _ = moves.changed().await,
                Standing::Going | Standing::Ended(_) => break,
                Standing::Missing => return Err(OpenError::NotFound { run: run.clone() }),
                Standing::Unreadable(reason) => return Err(OpenError::Unreadable { reason }),
                Standing::Left => return Err(OpenError::Closing),
            }
        }
        Ok(RunStream::new(self.clone(), run.clone(), reading, after, seat))
    }

    /// Watches how all runs begin, go and end, as far as this process hears of it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn runs(&self, max: usize) -> Result<RunsStream, OpenError> {
        let seat = self.take_seat(max)?;
        let mut runs = self.shared.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let feed = runs.upgrade().filter(|feed| feed.is_live()).unwrap_or_else(|| {
            let feed = RunsFeed::start(self.shared.ports.feed.clone());
            *runs = Arc::downgrade(&feed);
            feed
        });
        Ok(RunsStream::new(feed, self.shared.closing.subscribe(), seat))
    }

    /// Lets every watcher have what is there, and nobody else watch: the process ends.
    pub fn close(&self) {
        self.shared.closing.send_replace(true);
    }

    fn take_seat(&self, max: usize) -> Result<Seat, OpenError> {
        if *self.shared.closing.borrow() {
            return Err(OpenError::Closing);
        }
        let seat = Seat(self.shared.watchers.clone());
        let taken = seat.0.fetch_add(1, Ordering::Relaxed);
        if taken < max { Ok(seat) } else { Err(OpenError::TooMany { max }) }
    }

    fn tails(&self) -> MutexGuard<'_, HashMap<RunId, Weak<Reading>>> {
        self.shared.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reading of this run that others share, or a new one that begins at this record.
    fn reading(&self, run: &RunId, from: u64) -> Arc<Reading> {
        let mut tails = self.tails();
        let shared = tails.get(run).and_then(Weak::upgrade);
        let is_of_use = |reading: &Arc<Reading>| {
            matches!(reading.tail.standing(), Standing::Opening | Standing::Going | Standing::Ended(_))
        };
        if let Some(reading) = shared.filter(is_of_use) {
            return reading;
        }
        tails.retain(|_, reading| reading.strong_count() > 0);
        let tail = Arc::new(Tail::new());
        let (ports, closing) = (self.shared.ports.clone(), self.shared.closing.subscribe());
        let task = TailTask { run: run.clone(), ports, tail: tail.clone() };
        let reading = Arc::new(Reading { tail, task: tokio::spawn(task.run(from, closing)) });
        tails.insert(run.clone(), Arc::downgrade(&reading));
        reading
    }

    /// The records from this one on, for a watcher that is further behind than others.
    pub(super) async fn catch_up(&self, run: &RunId, from: u64) -> Result<VecDeque<Chunk>, String> {
        let _one_of_few = self.shared.catching_up.acquire().await.map_err(|error| error.to_string())?;
        let records = self.shared.ports.journal.read(run, from).await.map_err(|error| error.to_string())?;
        let (mut chunks, mut bytes) = (VecDeque::new(), 0);
        for (number, record) in (from..).zip(&records) {
            let chunk = Chunk::read(number, record).map_err(|error| error.to_string())?;
            bytes += chunk.size();
            chunks.push_back(chunk);
            if bytes > CATCH_UP_BYTES {
                break;
            }
        }
        Ok(chunks)
    }
}
