//! Observer: hears on the server, as any client can, what the processes of a cluster say to each other, with the moment
//! at which each message came. It asks for nothing, so that it costs those it watches nothing but the server's copy.

use super::site::PREFIX;
use anyhow::Context as _;
use async_nats::{Message, Subscriber};
use futures::StreamExt as _;
use skein_backend::nats::questions_of;
use skein_common::RunId;
use skein_common::view::RunView;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Without a word for so long the end of a run is looked for elsewhere: what was said while the server was away is lost.
const SILENCE: Duration = Duration::from_secs(1);

/// What came, and when.
pub struct Heard {
    pub at: Instant,
    pub message: Message,
}

/// A connection of its own.
pub struct Observer {
    client: async_nats::Client,
    index: mpsc::UnboundedReceiver<Heard>,
    ends: BTreeMap<RunId, Instant>,
}

impl Observer {
    pub async fn start(url: &str) -> anyhow::Result<Observer> {
        let reconnect = |_| Duration::from_millis(5);
        let options = async_nats::ConnectOptions::new().reconnect_delay_callback(reconnect);
        let client = options.connect(url).await.context("the observer does not connect")?;
        let index = hear(client.subscribe(format!("$KV.{PREFIX}_directory.runs.*")).await?);
        client.flush().await?;
        Ok(Observer { client, index, ends: BTreeMap::new() })
    }

    /// Hears a subject from now on.
    pub async fn listen(&self, subject: String) -> anyhow::Result<mpsc::UnboundedReceiver<Heard>> {
        let heard = hear(self.client.subscribe(subject).await?);
        self.client.flush().await?;
        Ok(heard)
    }

    /// Hears the questions of a subject on which they come in bundles, one by one.
    pub async fn listen_to_questions(&self, subject: String) -> anyhow::Result<mpsc::UnboundedReceiver<Heard>> {
        let mut heard = self.listen(subject).await?;
        let (sender, questions) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Heard { at, message }) = heard.recv().await {
                for payload in questions_of(message.payload.clone()) {
                    let message = Message { payload, ..message.clone() };
                    let _nobody_listens = sender.send(Heard { at, message });
                }
            }
        });
        Ok(questions)
    }

    /// When the coordinator put the end of this run into the index, which follows the journal's record of it.
    /// `None` after a while without news.
    pub async fn end_of(&mut self, run: &RunId) -> Option<Instant> {
        loop {
            if let Some(at) = self.ends.remove(run) {
                return Some(at);
            }
            let heard = tokio::time::timeout(SILENCE, self.index.recv()).await.ok()??;
            if let Ok(view) = serde_json::from_slice::<RunView>(&heard.message.payload)
                && view.status.is_end()
            {
                self.ends.insert(view.run, heard.at);
            }
        }
    }
}

/// The moment is that of the arrival, whenever it is read.
fn hear(mut messages: Subscriber) -> mpsc::UnboundedReceiver<Heard> {
    let (sender, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            if sender.send(Heard { at: Instant::now(), message }).is_err() {
                return;
            }
        }
    });
    heard
}

/// Everything that came so far.
pub fn drain(heard: &mut mpsc::UnboundedReceiver<Heard>) -> Vec<Heard> {
    std::iter::from_fn(|| heard.try_recv().ok()).collect()
}
