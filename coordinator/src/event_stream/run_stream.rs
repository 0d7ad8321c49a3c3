//! Run stream: what one watcher of a run gets.

use super::chunk::{Chunk, comment, frame};
use super::position::Position;
use super::streams::{Reading, Seat, Streams};
use super::tail::{Found, Lossy, Standing};
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use skein_common::RunId;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

/// A connection on which nothing comes for so long may be dead, or be taken for dead by a proxy.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events are handed over in portions of about so many bytes.
const PORTION_BYTES: usize = 32 * 1024;

/// One who watches a run. Every event of the journal comes once, in order; views may be lost, which is told.
pub struct RunStream {
    streams: Streams,
    run: RunId,
    reading: Arc<Reading>,
    moves: watch::Receiver<u64>,
    lossy: broadcast::Receiver<Lossy>,
    /// The next event: its record, and how many of that record the watcher has.
    record: u64,
    events: u64,
    /// Records that only this watcher still needs.
    behind: VecDeque<Chunk>,
    stage: Stage,
    _seat: Seat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Going,
    Over,
}

/// Items that a watcher did not get.
#[derive(Debug, Serialize)]
pub(super) struct Missed {
    pub items: u64,
}

impl std::fmt::Debug for RunStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunStream").field("run", &self.run).field("record", &self.record).finish_non_exhaustive()
    }
}

impl RunStream {
    pub(super) fn new(
        streams: Streams,
        run: RunId,
        reading: Arc<Reading>,
        after: Option<Position>,
        seat: Seat,
    ) -> RunStream {
        let (moves, lossy) = (reading.tail.moves(), reading.tail.lossy());
        let (record, events) = after.map_or((0, 0), |after| (after.record, u64::from(after.index) + 1));
        let (behind, stage) = (VecDeque::new(), Stage::New);
        RunStream { streams, run, reading, moves, lossy, record, events, behind, stage, _seat: seat }
    }

    /// Frames for the watcher, whole ones; `None` when nothing follows. Waits until there are some.
    pub async fn next(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::New => {
                self.stage = Stage::Going;
                Some(self.reading.tail.view().unwrap_or_else(|| comment("skein")))
            }
            Stage::Going => self.follow().await,
            Stage::Over => None,
        }
    }

    async fn follow(&mut self) -> Option<Bytes> {
        loop {
            if let Some(lossy) = self.take_lossy() {
                return Some(lossy);
            }
            let portion = self.take_events();
            if !portion.is_empty() {
                return Some(portion);
            }
            match self.reading.tail.find(self.record) {
                Found::Chunk(_) => {}
                Found::Older => self.behind = self.catch_up().await?,
                Found::Nothing(Standing::Ended(end)) => {
                    self.stage = Stage::Over;
                    return Some(end);
                }
                Found::Nothing(Standing::Opening | Standing::Going) => {
                    if let Some(frames) = self.wait().await {
                        return Some(frames);
                    }
                }
                Found::Nothing(Standing::Missing | Standing::Unreadable(_) | Standing::Left) => return None,
            }
        }
    }

    /// Events that are there.
    fn take_events(&mut self) -> Bytes {
        let mut portion = BytesMut::new();
        while portion.len() < PORTION_BYTES {
            while self.behind.front().is_some_and(|chunk| chunk.record < self.record) {
                self.behind.pop_front();
            }
            let frames = match self.behind.front().filter(|chunk| chunk.record == self.record) {
                Some(chunk) => chunk.after(self.events),
                None => match self.reading.tail.find(self.record) {
                    Found::Chunk(chunk) => chunk.after(self.events),
                    Found::Older | Found::Nothing(_) => break,
                },
            };
            (self.record, self.events) = (self.record + 1, 0);
            portion.extend_from_slice(&frames);
        }
        portion.freeze()
    }

    /// `None` ends the stream: the watcher comes again with the place it has reached.
    async fn catch_up(&self) -> Option<VecDeque<Chunk>> {
        match self.streams.catch_up(&self.run, self.record).await {
            Ok(chunks) if chunks.is_empty() => None,
            Ok(chunks) => Some(chunks),
            Err(reason) => {
                tracing::warn!(run_id = %self.run, reason, "a watcher that is behind is left");
                None
            }
        }
    }

    fn take_lossy(&mut self) -> Option<Bytes> {
        match self.lossy.try_recv() {
            Ok(item) => Some(shown(item)),
            Err(TryRecvError::Lagged(items)) => Some(self.missed(items)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// Until something is there; what may be lost, and signs of life, come at once.
    async fn wait(&mut self) -> Option<Bytes> {
        tokio::select! {
            _moved = self.moves.changed() => None,
            item = self.lossy.recv() => match item {
                Ok(item) => Some(shown(item)),
                Err(RecvError::Lagged(items)) => Some(self.missed(items)),
                Err(RecvError::Closed) => None,
            },
            () = tokio::time::sleep(HEARTBEAT) => Some(comment("heartbeat")),
        }
    }

    /// How many items are gone, and how the run stands now in their place.
    fn missed(&mut self, items: u64) -> Bytes {
        // What is still there is older than the newest view.
        let from_now_on = self.reading.tail.lossy();
        let skipped = self.lossy.len().saturating_sub(from_now_on.len());
        self.lossy = from_now_on;
        let skipped = u64::try_from(skipped).unwrap_or(0);
        let mut frames = BytesMut::from(&frame("missed", &Missed { items: items + skipped })[..]);
        frames.extend_from_slice(&self.reading.tail.view().unwrap_or_default());
        frames.freeze()
    }
}

fn shown(item: Lossy) -> Bytes {
    match item {
        Lossy::View(view) => view,
        Lossy::Missed(items) => frame("missed", &Missed { items }),
    }
}
