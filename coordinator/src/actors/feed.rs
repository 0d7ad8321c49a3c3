//! Feed: shows watchers what happens. Lossy by design: it never slows a run down.

use super::messages::Publish;
use crate::event_stream::{RUNS_TOPIC, RunChange};
use crate::watch::{WatchItem, topic};
use actix::{Actor, Context, Handler};
use serde::Serialize;
use skein_common::run::RunStatus;
use skein_common::view::RunView;
use skein_common::wire::encode;
use skein_common::{RunId, ports};
use skein_engine::{Event, TaskEnd};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Batches waiting to be shown; beyond it Run drops them and watchers get the next view instead.
const MAILBOX: usize = 1024;
/// Runs whose status is remembered; beyond that all are forgotten, and told once more.
const RUNS_MAX: usize = 16_384;

/// Encodes what runs publish and hands it to the Feed port, which counts what a slow watcher misses.
pub(super) struct Feed {
    port: Arc<dyn ports::Feed>,
    /// How each run stood when who watches all of them was last told.
    told: BTreeMap<RunId, RunStatus>,
}

impl Feed {
    pub fn new(port: Arc<dyn ports::Feed>) -> Feed {
        Feed { port, told: BTreeMap::new() }
    }

    /// A run that begins, stands otherwise than before, or ends.
    fn show_change(&mut self, view: &RunView) {
        if self.told.get(&view.run) == Some(&view.status) {
            return;
        }
        if view.status.is_end() {
            self.told.remove(&view.run);
        } else {
            if self.told.len() >= RUNS_MAX {
                self.told.clear();
            }
            self.told.insert(view.run.clone(), view.status);
        }
        self.show(RUNS_TOPIC, &RunChange::from(view));
    }

    fn show(&self, topic: &str, item: &impl Serialize) {
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
            self.show_change(&view);
            match serde_json::to_string(&view) {
                Ok(json) => self.show(&topic, &WatchItem::View { json }),
                Err(error) => tracing::warn!(%error, "view not shown"),
            }
        }
    }
}
