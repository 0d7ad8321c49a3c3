//! Inbox: what waits for the loop of a run.

use super::messages::Incoming;
use skein_common::wire::AttemptRef;
use skein_engine::Command;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use tokio::sync::Notify;

/// What waits for the loop of a run. Its length is bounded: one report per running attempt, at most the run's cap, what
/// was rejected at its dispatch, and what people ask as long as there is room.
#[derive(Debug, Clone, Default)]
pub(super) struct Inbox(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    items: RefCell<VecDeque<Incoming>>,
    again: RefCell<BTreeSet<AttemptRef>>,
    changed: Notify,
    halted: Cell<bool>,
    halt: Notify,
}

impl Inbox {
    pub fn push(&self, item: impl Into<Incoming>) {
        self.0.items.borrow_mut().push_back(item.into());
        self.0.changed.notify_one();
    }

    /// These are to be dispatched once more.
    pub fn push_again(&self, attempts: Vec<AttemptRef>) {
        if !attempts.is_empty() {
            self.0.again.borrow_mut().extend(attempts);
            self.0.changed.notify_one();
        }
    }

    /// What is to be dispatched once more, now.
    pub fn take_again(&self) -> BTreeSet<AttemptRef> {
        std::mem::take(&mut *self.0.again.borrow_mut())
    }

    /// What waits now.
    pub fn len(&self) -> usize {
        self.0.items.borrow().len()
    }

    /// Ends the loop wherever it is.
    pub fn halt(&self) {
        self.0.halted.set(true);
        self.0.halt.notify_one();
    }

    /// Whether somebody takes what is pushed.
    pub fn is_live(&self) -> bool {
        !self.0.halted.get()
    }

    /// Waits until the loop shall end.
    pub async fn halted(&self) {
        while !self.0.halted.get() {
            self.0.halt.notified().await;
        }
    }

    /// Waits until somebody wants the run to end. For a loop that is busy and takes nothing meanwhile.
    pub async fn has_stop(&self) {
        while !self.0.items.borrow().iter().any(|item| item.command == Command::Stop) {
            self.0.changed.notified().await;
        }
    }

    /// Everything that waits now.
    pub fn take_now(&self) -> Vec<Incoming> {
        self.0.items.borrow_mut().drain(..).collect()
    }

    /// Everything that waits, as soon as something does; nothing when only an attempt is to be dispatched once more.
    pub async fn take(&self) -> Vec<Incoming> {
        loop {
            let items = self.take_now();
            if !items.is_empty() || !self.0.again.borrow().is_empty() {
                return items;
            }
            self.0.changed.notified().await;
        }
    }
}
