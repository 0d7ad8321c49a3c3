//! Feed: shows watchers what happens. Lossy by design: it never slows a run down.

use super::messages::Publish;
use crate::watch::{WatchItem, topic};
use actix::{Actor, Context, Handler};
use skein_common::ports;
use skein_common::wire::encode;
use skein_engine::{Event, TaskEnd};
use std::sync::Arc;

/// Batches waiting to be shown; beyond it Run drops them and watchers get the next view instead.
const MAILBOX: usize = 1024;

/// Encodes what runs publish and hands it to the Feed port, which counts what a slow watcher misses.
pub(super) struct Feed {
    port: Arc<dyn ports::Feed>,
}

impl Feed {
    pub fn new(port: Arc<dyn ports::Feed>) -> Feed {
        Feed { port }
    }

    fn show(&self, topic: &str, item: &WatchItem) {
        match encode(item) {
            Ok(bytes) => self.port.publish(topic, bytes),
            Err(error) => tracing::warn!(%error, "feed item not shown"),
        }
    }
}

/// The events that watchers read as lines; what the others change is in the next view.
fn is_told(event: &Event) -> bool {
    match event {
        Event::LogLine { .. } | Event::SlotFailed { .. } | Event::AttemptEnded { .. } => true,
        Event::TaskEnded { end, .. } => matches!(end, TaskEnd::Null { .. } | TaskEnd::Thrown { .. }),
        _ => false,
    }
}

/// How many items a message is for who watches.
pub(super) fn items_of(message: &Publish) -> u64 {
    let events = message.journalled.iter().flat_map(|journalled| journalled.events.iter());
    (events.filter(|event| is_told(event)).count() + usize::from(message.view.is_some())) as u64
}

impl Actor for Feed {
    type Context = Context<Feed>;

    fn started(&mut self, ctx: &mut Context<Feed>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Publish> for Feed {
    type Result = ();

    fn handle(&mut self, message: Publish, _: &mut Context<Feed>) {
        let topic = topic(&message.run);
        if let Some(journalled) = message.journalled {
            for event in journalled.events.iter().filter(|event| is_told(event)) {
                let item = WatchItem::Event { at_ms: journalled.at_ms, event: Box::new(event.clone()) };
                self.show(&topic, &item);
            }
        }
        if let Some(view) = message.view {
            match serde_json::to_string(&view) {
                Ok(json) => self.show(&topic, &WatchItem::View { json }),
                Err(error) => tracing::warn!(%error, "view not shown"),
            }
        }
    }
}
