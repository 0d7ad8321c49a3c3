//! Plan: which faults happen how often, and when the process crashes.

use super::random::Random;
use skein_common::ports::BoxError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How often each fault happens, in a thousand chances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Journal: stored, and the caller is told that nobody knows.
    pub append_unknown_stored: u32,
    /// Journal: the first records of several are stored, and the caller is told that nobody knows.
    pub append_unknown_partly: u32,
    /// Journal: nothing is stored, and the caller is told that nobody knows.
    pub append_unknown_lost: u32,
    /// Journal: nothing is stored, and the caller is told so.
    pub append_refused: u32,
    /// Tasks: delivered twice to the puller that has it.
    pub task_twice: u32,
    /// Results: delivered again before it is done.
    pub result_twice: u32,
    /// Results: those of different runs change places.
    pub results_mixed: u32,
    /// Control: the request is asked and answered twice.
    pub request_twice: u32,
    /// Control: the request or its answer is lost.
    pub no_answer: u32,
    pub broadcast_lost: u32,
    /// Feed and broadcasts: an item becomes a count.
    pub item_missed: u32,
    /// Blobs and directory: not now.
    pub unavailable: u32,
    /// Every asynchronous call: others go first.
    pub delayed: u32,
}

impl Faults {
    /// Every message that may come twice does: a run comes to the same end.
    #[must_use]
    pub fn doubled() -> Faults {
        Faults { task_twice: 1000, result_twice: 1000, request_twice: 1000, ..Faults::default() }
    }

    /// What no caller may notice who keeps to the contracts; the conformance suite passes under them.
    #[must_use]
    pub fn unnoticed() -> Faults {
        Faults {
            append_unknown_stored: 100,
            append_unknown_partly: 100,
            append_unknown_lost: 100,
            task_twice: 200,
            result_twice: 200,
            results_mixed: 300,
            delayed: 200,
            ..Faults::default()
        }
    }
}

/// The process dies at a write: at the n-th one, nothing answers any more.
#[derive(Debug, Clone)]
pub struct Crash {
    inner: Arc<CrashState>,
}

#[derive(Debug)]
struct CrashState {
    at: u64,
    /// The write at which it dies is carried out; only its answer never comes.
    after: bool,
    writes: AtomicU64,
    happened: AtomicBool,
    tell: Notify,
}

impl Crash {
    /// Dies before the write of this number, counted from 1, or right after it.
    #[must_use]
    pub fn at(write: u64, after: bool) -> Crash {
        Crash {
            inner: Arc::new(CrashState {
                at: write,
                after,
                writes: AtomicU64::new(0),
                happened: AtomicBool::new(false),
                tell: Notify::new(),
            }),
        }
    }

    #[must_use]
    pub fn has_happened(&self) -> bool {
        self.inner.happened.load(Ordering::SeqCst)
    }

    /// Waits for it; who waits drops everything the process had.
    pub async fn happens(&self) {
        while !self.has_happened() {
            self.inner.tell.notified().await;
        }
    }

    async fn strike(&self) {
        self.inner.happened.store(true, Ordering::SeqCst);
        self.inner.tell.notify_one();
        std::future::pending::<()>().await;
    }
}

/// What goes wrong, and by which seed.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub seed: u64,
    pub faults: Faults,
    pub crash: Option<Crash>,
}

/// The plan as it is carried out.
#[derive(Debug)]
pub(super) struct Dice {
    pub faults: Faults,
    crash: Option<Crash>,
    random: Mutex<Random>,
}

/// What stands in for the error of a library.
#[derive(Debug, thiserror::Error)]
#[error("a planned fault")]
struct Planned;

pub(super) fn planned() -> BoxError {
    Box::new(Planned)
}

impl Dice {
    pub fn new(plan: Plan) -> Dice {
        Dice { faults: plan.faults, crash: plan.crash, random: Mutex::new(Random::new(plan.seed)) }
    }

    pub fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn happens(&self, permille: u32) -> bool {
        permille > 0 && self.random().happens(permille)
    }

    /// Lets others go first, sometimes.
    pub async fn delay(&self) {
        if self.happens(self.faults.delayed) {
            let times = self.random().below(4);
            for _ in 0..times {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Before and after a write: the process may die there.
    pub async fn write<T>(&self, write: impl Future<Output = T>) -> T {
        let Some(crash) = &self.crash else { return write.await };
        let number = crash.inner.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let is_last = number >= crash.inner.at;
        if is_last && (!crash.inner.after || number > crash.inner.at) {
            crash.strike().await;
        }
        let answer = write.await;
        if is_last {
            crash.strike().await;
        }
        answer
    }
}
