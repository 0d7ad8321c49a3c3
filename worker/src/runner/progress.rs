//! Progress: when an attempt last showed that it gets on, and waiting until it has not for too long (L5).

use std::cell::Cell;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// When there was progress last. What makes it and what waits for its absence share one.
#[derive(Debug)]
pub(crate) struct Progress {
    last: Cell<Instant>,
}

impl Progress {
    /// The start counts as progress.
    pub(crate) fn begin() -> Progress {
        Progress { last: Cell::new(Instant::now()) }
    }

    /// There is some now.
    pub(crate) fn made(&self) {
        self.last.set(Instant::now());
    }

    /// Waits until there was none for so long; for ever when that is not limited.
    pub(crate) async fn stalled(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        loop {
            match self.left(limit, Instant::now()) {
                Left::Nothing => return,
                Left::Until(due) => sleep_until(due).await,
                Left::Always => return std::future::pending().await,
            }
        }
    }

    fn left(&self, limit: Duration, now: Instant) -> Left {
        match self.last.get().checked_add(limit) {
            Some(due) if due <= now => Left::Nothing,
            Some(due) => Left::Until(due),
            // A limit beyond all time is none.
            None => Left::Always,
        }
    }
}

/// How long it may go on like this.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Until(Instant),
    Always,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l05_each_sign_of_progress_begins_the_time_anew() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let progress = Progress { last: Cell::new(begun) };
        assert_eq!(progress.left(second, begun + second / 2), Left::Until(begun + second));
        assert_eq!(progress.left(second, begun + second), Left::Nothing);
        progress.last.set(begun + second / 2);
        assert_eq!(progress.left(second, begun + second), Left::Until(begun + second * 3 / 2));
        progress.made();
        assert_eq!(progress.left(Duration::MAX, begun + second), Left::Always);
    }
}
