//! Tail: the newest records of one run, which all who watch it at this process share.

use super::chunk::Chunk;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{broadcast, watch};

/// Frames that are kept for who joins or is behind: more than all of a run of a thousand agents.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Views that a watcher may be behind before it loses the oldest: about two seconds of a busy run.
const VIEWS_KEPT: usize = 16;

/// How the reading of a journal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is known yet.
    Opening,
    /// The run goes on, or may.
    Going,
    /// Everything is read; this is the run as it ended.
    Ended(Bytes),
    /// There is no such run, or it was removed.
    Missing,
    Unreadable(String),
    /// Nobody reads any more.
    Left,
}

/// What may be lost.
#[derive(Debug, Clone)]
pub(super) enum Lossy {
    /// The frame of the run as it stands.
    View(Bytes),
    /// So many items did not even come here.
    Missed(u64),
}

/// What a watcher finds behind its place.
#[derive(Debug)]
pub(super) enum Found {
    Chunk(Arc<Chunk>),
    /// It is in the journal, but no more here.
    Older,
    /// Nothing yet.
    Nothing(Standing),
}

/// The shared memory of one run's watchers.
#[derive(Debug)]
pub(super) struct Tail {
    state: Mutex<State>,
    moved: watch::Sender<u64>,
    lossy: broadcast::Sender<Lossy>,
}

#[derive(Debug)]
struct State {
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
    /// The record that is read next.
    next: u64,
    standing: Standing,
    /// The frame of the newest view.
    view: Option<Bytes>,
}

impl Tail {
    pub fn new() -> Tail {
        let state = State { chunks: VecDeque::new(), bytes: 0, next: 0, standing: Standing::Opening, view: None };
        let (moved, lossy) = (watch::Sender::new(0), broadcast::Sender::new(VIEWS_KEPT));
        Tail { state: Mutex::new(state), moved, lossy }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes when something was put in or the standing changed.
    pub fn moves(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Views from now on.
    pub fn lossy(&self) -> broadcast::Receiver<Lossy> {
        self.lossy.subscribe()
    }

    pub fn standing(&self) -> Standing {
        self.state().standing.clone()
    }

    pub fn view(&self) -> Option<Bytes> {
        self.state().view.clone()
    }

    /// What is behind the first `record` records.
    pub fn find(&self, record: u64) -> Found {
        let state = self.state();
        let first = state.chunks.front().map_or(state.next, |chunk| chunk.record);
        if record < first {
            return Found::Older;
        }
        let offset = usize::try_from(record - first).ok();
        match offset.and_then(|offset| state.chunks.get(offset)) {
            Some(chunk) => Found::Chunk(chunk.clone()),
            None => Found::Nothing(state.standing.clone()),
        }
    }

    /// Begins at this record, while nothing is known.
    pub fn begin(&self, record: u64) {
        self.state().next = record;
    }

    /// The record that follows those that are here.
    pub fn next(&self) -> u64 {
        self.state().next
    }

    /// The next records; the oldest go when there is no room for them.
    pub fn put(&self, chunks: Vec<Chunk>) {
        let mut state = self.state();
        for chunk in chunks {
            state.next = chunk.record + 1;
            state.bytes += chunk.size();
            state.chunks.push_back(Arc::new(chunk));
        }
        while state.bytes > KEPT_BYTES_MAX && state.chunks.len() > 1 {
            if let Some(oldest) = state.chunks.pop_front() {
                state.bytes -= oldest.size();
            }
        }
        drop(state);
        self.wake();
    }

    /// How the run stands now, as a frame.
    pub fn show(&self, view: Bytes) {
        self.state().view = Some(view.clone());
        let _nobody_watches = self.lossy.send(Lossy::View(view));
    }

    pub fn miss(&self, items: u64) {
        let _nobody_watches = self.lossy.send(Lossy::Missed(items));
    }

    pub fn stand(&self, standing: Standing) {
        self.state().standing = standing;
        self.wake();
    }

    fn wake(&self) {
        self.moved.send_modify(|moves| *moves = moves.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_engine::{Event, encode_records};

    fn chunk(record: u64, bytes: usize) -> Chunk {
        let events = [Event::LogLine { text: "x".repeat(bytes), from_engine: false }];
        Chunk::read(record, &encode_records(1, 0, 0, &events).expect("encodes")[0]).expect("reads")
    }

    #[test]
    fn the_oldest_records_go_when_there_is_no_room() {
        let tail = Tail::new();
        assert!(matches!(tail.find(0), Found::Nothing(Standing::Opening)));
        let each = 12 * 1024;
        let count = (KEPT_BYTES_MAX / each + 10) as u64;
        tail.put((0..count).map(|record| chunk(record, each)).collect());
        tail.stand(Standing::Going);
        assert!(matches!(tail.find(0), Found::Older));
        assert!(matches!(tail.find(count - 1), Found::Chunk(last) if last.record == count - 1));
        assert!(matches!(tail.find(count), Found::Nothing(Standing::Going)));
        assert!(matches!(tail.find(u64::MAX), Found::Nothing(Standing::Going)));
        let kept = (0..count).filter(|record| matches!(tail.find(*record), Found::Chunk(_))).count();
        assert!(kept > 50 && kept * each <= KEPT_BYTES_MAX, "{kept}");
    }

    #[test]
    fn a_tail_that_began_later_has_nothing_of_before() {
        let tail = Tail::new();
        tail.begin(7);
        assert!(matches!(tail.find(6), Found::Older));
        tail.put(vec![chunk(7, 1)]);
        assert!(matches!(tail.find(7), Found::Chunk(_)) && matches!(tail.find(6), Found::Older));
        assert_eq!(tail.next(), 8);
    }
}
