//! Runs stream: what one watcher of all runs gets. Everything in it may be lost, which is told.

use super::chunk::{comment, frame};
use super::run_change::{RUNS_TOPIC, RunChange};
use super::run_stream::{HEARTBEAT, Missed};
use super::streams::Seat;
use bytes::Bytes;
use skein_common::ports::{Feed, FeedItem};
use skein_common::wire::decode;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

/// Changes that a watcher may be behind before it loses the oldest.
const CHANGES_KEPT: usize = 256;

/// The changes that come to this process, for all who watch them. Ends with the last of them.
pub(super) struct RunsFeed {
    frames: broadcast::Sender<Bytes>,
    task: JoinHandle<()>,
}

impl RunsFeed {
    pub fn start(feed: Arc<dyn Feed>) -> Arc<RunsFeed> {
        let frames = broadcast::Sender::new(CHANGES_KEPT);
        let task = tokio::spawn(pump(feed, frames.clone()));
        Arc::new(RunsFeed { frames, task })
    }

    pub fn is_live(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for RunsFeed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pump(feed: Arc<dyn Feed>, frames: broadcast::Sender<Bytes>) {
    let mut subscription = feed.subscribe(RUNS_TOPIC);
    while let Some(item) = subscription.next().await {
        let shown = match item {
            FeedItem::Missed(items) => frame("missed", &Missed { items }),
            FeedItem::Item(bytes) => match decode::<RunChange>(&bytes) {
                Ok(change) => frame("run", &change),
                Err(error) => {
                    tracing::debug!(%error, "feed item passed over");
                    continue;
                }
            },
        };
        let _nobody_watches = frames.send(shown);
    }
}

/// One who watches all runs.
pub struct RunsStream {
    frames: broadcast::Receiver<Bytes>,
    _feed: Arc<RunsFeed>,
    closing: watch::Receiver<bool>,
    is_new: bool,
    _seat: Seat,
}

impl std::fmt::Debug for RunsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunsStream")
    }
}

impl RunsStream {
    pub(super) fn new(feed: Arc<RunsFeed>, closing: watch::Receiver<bool>, seat: Seat) -> RunsStream {
        RunsStream { frames: feed.frames.subscribe(), _feed: feed, closing, is_new: true, _seat: seat }
    }

    /// Frames for the watcher; `None` when nothing follows. Waits until there are some.
    pub async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.is_new) {
            // So that the watcher knows from when on it hears of everything.
            return Some(comment("skein"));
        }
        tokio::select! {
            item = self.frames.recv() => match item {
                Ok(change) => Some(change),
                Err(RecvError::Lagged(items)) => Some(frame("missed", &Missed { items })),
                Err(RecvError::Closed) => None,
            },
            _closing_or_gone = self.closing.wait_for(|closing| *closing) => None,
            () = tokio::time::sleep(HEARTBEAT) => Some(comment("heartbeat")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_stream::streams::Seat;
    use async_trait::async_trait;
    use skein_common::ports::FeedSubscription;
    use tokio::sync::mpsc;

    /// A feed whose items the test gives.
    struct Given(std::sync::Mutex<Option<mpsc::UnboundedReceiver<FeedItem>>>);

    struct Items(mpsc::UnboundedReceiver<FeedItem>);

    impl Feed for Given {
        fn publish(&self, _: &str, _: Bytes) {}

        fn subscribe(&self, topic: &str) -> Box<dyn FeedSubscription> {
            assert_eq!(topic, RUNS_TOPIC);
            let items = self.0.lock().expect("not poisoned").take();
            Box::new(Items(items.expect("one subscription for all")))
        }
    }

    #[async_trait]
    impl FeedSubscription for Items {
        async fn next(&mut self) -> Option<FeedItem> {
            self.0.recv().await
        }
    }

    fn text(bytes: Option<Bytes>) -> String {
        String::from_utf8(bytes.expect("more").to_vec()).expect("text")
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_shows_that_it_lives_and_a_slow_reader_what_it_missed() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let feed = RunsFeed::start(Arc::new(Given(std::sync::Mutex::new(Some(receiver)))));
        let closing = watch::Sender::new(false);
        let mut stream = RunsStream::new(feed.clone(), closing.subscribe(), Seat::default());
        let mut other = RunsStream::new(feed, closing.subscribe(), Seat::default());
        assert_eq!(text(stream.next().await), ": skein\n\n");
        // Time goes on by itself while everybody waits.
        assert_eq!(text(stream.next().await), ": heartbeat\n\n");
        assert_eq!(text(other.next().await), ": skein\n\n");
        sender.send(FeedItem::Item(Bytes::from_static(b"no change of a run"))).expect("is read");
        sender.send(FeedItem::Missed(7)).expect("is read");
        assert_eq!(
            text(other.next().await),
            "event: missed\ndata: {\"items\":7}\n\n",
            "what is strange is passed over"
        );
        for items in 0..300 {
            sender.send(FeedItem::Missed(items)).expect("is read");
        }
        while !text(other.next().await).contains("299") {}
        let kept = CHANGES_KEPT as u64;
        assert_eq!(text(stream.next().await), format!("event: missed\ndata: {{\"items\":{}}}\n\n", 301 - kept));
        closing.send_replace(true);
        while other.next().await.is_some() {}
    }
}
