//! The task that reads one run for all its watchers: what is there, then, woken by the feed, what comes.

use super::chunk::{Chunk, ChunkError, frame};
use super::tail::{Standing, Tail};
use crate::stored;
use crate::watch::{WatchItem, Watcher};
use futures::FutureExt as _;
use skein_common::RunId;
use skein_common::ports::{JournalError, Ports};
use skein_common::run::RunStatus;
use skein_common::view::RunView;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Without a word of the feed the journal is looked at so often: a lost word costs no more than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two readings of the journal of a busy run, which brings a word with every append.
const READ_PAUSE: Duration = Duration::from_millis(20);
/// A view that nobody sent is made from the whole journal; the pause until the next is so many times as long as that
/// took.
const PAUSE_PER_VIEW: u32 = 10;

/// Reads a run until it ends, is removed, or the process closes.
pub(super) struct TailTask {
    pub run: RunId,
    pub ports: Ports,
    pub tail: Arc<Tail>,
}

/// What wakes whoever reads.
struct Wakers {
    /// `None` when it can bring nothing more.
    feed: Option<Watcher>,
    /// Turns true when no more is wanted.
    closing: watch::Receiver<bool>,
}

enum Woken {
    ByFeed(WatchItem),
    ByTime,
    Closing,
}

/// What the task knows of the run beside its records.
struct Seen {
    /// Somebody executed it at the last look.
    owned: bool,
    /// No view shows the newest records yet.
    view_is_old: bool,
    /// Before this no view is made from the journal.
    view_again: Instant,
}

/// Why the reading came to its end.
enum End {
    Is(Standing),
    /// The journal has the run's end.
    OfRun,
}

/// Whoever waits hears of it when the task goes, however it does.
struct Leaving(Arc<Tail>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if matches!(self.0.standing(), Standing::Opening | Standing::Going) {
            self.0.stand(Standing::Left);
        }
    }
}

impl Wakers {
    async fn next(&mut self) -> Woken {
        let Wakers { feed, closing } = self;
        let item = async {
            match feed {
                Some(feed) => feed.next().await,
                None => std::future::pending().await,
            }
        };
        let woken = tokio::select! {
            item = item => item.map(Woken::ByFeed),
            _closing_or_gone = closing.wait_for(|closing| *closing) => Some(Woken::Closing),
            () = tokio::time::sleep(LOOK_EVERY) => Some(Woken::ByTime),
        };
        if woken.is_none() {
            self.feed = None;
        }
        woken.unwrap_or(Woken::ByTime)
    }

    /// What else the feed has brought already.
    fn more(&mut self) -> Option<WatchItem> {
        self.feed.as_mut().and_then(|feed| feed.next().now_or_never().flatten())
    }
}

impl TailTask {
    /// Reads from this record on, for as long as there may be more.
    pub async fn run(self, from: u64, closing: watch::Receiver<bool>) {
        let _leaving = Leaving(self.tail.clone());
        // Before the first look, so that nothing is missed between it and a wait.
        let feed = Watcher::new(self.ports.feed.as_ref(), &self.run);
        let standing = match self.read(from, Wakers { feed: Some(feed), closing }).await {
            End::Is(standing) => standing,
            End::OfRun => match stored::view(&self.ports, &self.run).await {
                Ok(view) => Standing::Ended(frame("end", &without_result(view))),
                Err(error) => Standing::Unreadable(error.to_string()),
            },
        };
        self.tail.stand(standing);
    }

    async fn read(&self, from: u64, mut wakers: Wakers) -> End {
        match self.open(from).await {
            Ok(true) => {}
            Ok(false) => return End::Is(Standing::Missing),
            Err(error) => return End::Is(Standing::Unreadable(error)),
        }
        let mut seen = Seen { owned: false, view_is_old: true, view_again: Instant::now() };
        let mut is_closing = false;
        loop {
            match self.read_new().await {
                Ok(Read::ToTheEnd) => return End::OfRun,
                Ok(Read::Something) => seen.view_is_old = true,
                Ok(Read::Nothing) => {}
                Err(ReadError::Journal(error)) => tracing::warn!(run_id = %self.run, %error, "journal not read"),
                Err(ReadError::Chunk(error)) => return End::Is(Standing::Unreadable(error.to_string())),
            }
            if is_closing {
                return End::Is(Standing::Left);
            }
            let was_opening = self.tail.standing() == Standing::Opening;
            if was_opening {
                self.refresh(&mut seen).await;
                self.tail.stand(Standing::Going);
            }
            tokio::time::sleep(READ_PAUSE).await;
            match wakers.next().await {
                Woken::ByFeed(item) => {
                    self.take(item, &mut seen);
                    while let Some(item) = wakers.more() {
                        self.take(item, &mut seen);
                    }
                }
                // What the journal has now is read once more: it may be the end.
                Woken::Closing => is_closing = true,
                Woken::ByTime if self.is_removed().await => return End::Is(Standing::Missing),
                Woken::ByTime => self.refresh(&mut seen).await,
            }
        }
    }

    /// Finds the place to begin at; false when there is no such run.
    async fn open(&self, from: u64) -> Result<bool, String> {
        let read = |from| self.ports.journal.read(&self.run, from);
        let unreadable = |error: JournalError| error.to_string();
        let begin = if from > 0 && read(from).await.map_err(unreadable)?.is_empty() {
            // Whoever asks has seen everything there is: the last record tells whether that was the end.
            let all = read(0).await.map_err(unreadable)?;
            (all.len() as u64).checked_sub(1)
        } else if from == 0 {
            (!read(0).await.map_err(unreadable)?.is_empty()).then_some(0)
        } else {
            Some(from)
        };
        self.tail.begin(begin.unwrap_or(0));
        Ok(begin.is_some())
    }

    async fn read_new(&self) -> Result<Read, ReadError> {
        let next = self.tail.next();
        let records = self.ports.journal.read(&self.run, next).await?;
        let mut chunks = Vec::with_capacity(records.len());
        for (number, bytes) in (next..).zip(&records) {
            chunks.push(Chunk::read(number, bytes)?);
        }
        let read = match chunks.last() {
            None => return Ok(Read::Nothing),
            Some(last) if last.is_last => Read::ToTheEnd,
            Some(_) => Read::Something,
        };
        self.tail.put(chunks);
        Ok(read)
    }

    fn take(&self, item: WatchItem, seen: &mut Seen) {
        match item {
            WatchItem::View { json } => match serde_json::from_str::<RunView>(&json) {
                Ok(view) if view.run == self.run => {
                    seen.view_is_old = false;
                    seen.owned = true;
                    self.tail.show(frame("view", &without_result(view)));
                }
                _ => tracing::debug!(run_id = %self.run, "view passed over"),
            },
            WatchItem::Missed { items } => self.tail.miss(items),
            // It is in the journal, which is read next.
            WatchItem::Event { .. } => {}
        }
    }

    /// Shows how the run stands when no view of its owner did: it may have none, or one in another process.
    async fn refresh(&self, seen: &mut Seen) {
        let owned = match self.ports.leases.holder(self.run.as_str()).await {
            Ok(holder) => holder.is_some(),
            Err(error) => return tracing::debug!(run_id = %self.run, %error, "owner not looked for"),
        };
        if owned == seen.owned && !seen.view_is_old || Instant::now() < seen.view_again {
            return;
        }
        let begun = Instant::now();
        match stored::view(&self.ports, &self.run).await {
            Ok(view) => {
                seen.owned = view.status != RunStatus::Interrupted;
                seen.view_is_old = false;
                self.tail.show(frame("view", &without_result(view)));
            }
            Err(error) => tracing::warn!(run_id = %self.run, %error, "run not shown"),
        }
        seen.view_again = Instant::now() + begun.elapsed() * PAUSE_PER_VIEW;
    }

    async fn is_removed(&self) -> bool {
        let last = self.tail.next().saturating_sub(1);
        self.ports.journal.read(&self.run, last).await.is_ok_and(|records| records.is_empty())
    }
}

enum Read {
    Nothing,
    Something,
    ToTheEnd,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

/// A result may be large; it is asked for by itself.
fn without_result(view: RunView) -> RunView {
    RunView { result: None, ..view }
}
