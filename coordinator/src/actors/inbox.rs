//! Inbox: what waits for the loop of a run.

use super::messages::Incoming;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use tokio::sync::Notify;

/// What waits for the loop of a run. Its length is bounded by the run itself: one report per running attempt (the
/// run's cap) and one firing per open timer.
#[derive(Debug, Clone, Default)]
pub(super) struct Inbox(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    items: RefCell<VecDeque<Incoming>>,
    halted: Cell<bool>,
    changed: Notify,
}

impl Inbox {
    pub fn push(&self, item: impl Into<Incoming>) {
        self.0.items.borrow_mut().push_back(item.into());
        self.0.changed.notify_one();
    }

    /// Ends the loop at its next look.
    pub fn halt(&self) {
        self.0.halted.set(true);
        self.0.changed.notify_one();
    }

    /// Everything that waits, as soon as something does; `None` once halted.
    pub async fn take(&self) -> Option<Vec<Incoming>> {
        loop {
            if self.0.halted.get() {
                return None;
            }
            let items: Vec<Incoming> = self.0.items.borrow_mut().drain(..).collect();
            if !items.is_empty() {
                return Some(items);
            }
            self.0.changed.notified().await;
        }
    }
}
