//! What the feed has still to send, in the order of the calls.

use super::watcher::Ring;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Items that wait for the connection. Beyond it the oldest are lost, which their watchers are told.
const ITEMS_MAX: usize = 4096;
/// The same in bytes.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Subjects whose items are counted. Beyond it counting begins anew under another name.
const SUBJECTS_MAX: usize = 4096;

/// The number of an item of one subject of one publisher, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ItemNumber {
    /// Each count has its own.
    pub publisher: u64,
    pub number: u64,
}

#[derive(Debug)]
pub(super) struct Item {
    pub subject: String,
    pub number: ItemNumber,
    pub bytes: Bytes,
}

#[derive(Debug)]
pub(super) enum Command {
    Publish(Item),
    Subscribe { subject: String, ring: Arc<Ring> },
}

/// Never blocks whoever puts something in.
#[derive(Debug)]
pub(super) struct FeedQueue {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug)]
struct State {
    commands: VecDeque<Command>,
    items: usize,
    bytes: usize,
    publisher: u64,
    numbers: BTreeMap<String, u64>,
}

impl FeedQueue {
    pub fn new() -> FeedQueue {
        let state = State {
            commands: VecDeque::new(),
            items: 0,
            bytes: 0,
            publisher: rand::random(),
            numbers: BTreeMap::new(),
        };
        FeedQueue { state: Mutex::new(state), arrived: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn publish(&self, subject: String, bytes: Bytes) {
        let mut state = self.state();
        let number = state.count(&subject);
        state.items += 1;
        state.bytes += bytes.len();
        state.commands.push_back(Command::Publish(Item { subject, number, bytes }));
        while state.items > ITEMS_MAX || (state.bytes > BYTES_MAX && state.items > 1) {
            state.lose_oldest();
        }
        drop(state);
        self.arrived.notify_one();
    }

    pub fn subscribe(&self, subject: String, ring: Arc<Ring>) {
        self.state().commands.push_back(Command::Subscribe { subject, ring });
        self.arrived.notify_one();
    }

    /// The number that the next item of this subject gets.
    pub fn position(&self, subject: &str) -> ItemNumber {
        let state = self.state();
        let number = state.numbers.get(subject).copied().unwrap_or(0);
        ItemNumber { publisher: state.publisher, number }
    }

    pub async fn next(&self) -> Command {
        loop {
            if let Some(command) = self.state().take() {
                return command;
            }
            self.arrived.notified().await;
        }
    }
}

impl State {
    fn count(&mut self, subject: &str) -> ItemNumber {
        if self.numbers.len() >= SUBJECTS_MAX && !self.numbers.contains_key(subject) {
            self.numbers.clear();
            self.publisher = rand::random();
        }
        let next = self.numbers.entry(subject.to_owned()).or_default();
        let number = *next;
        *next += 1;
        ItemNumber { publisher: self.publisher, number }
    }

    fn take(&mut self) -> Option<Command> {
        let command = self.commands.pop_front()?;
        if let Command::Publish(item) = &command {
            self.items -= 1;
            self.bytes -= item.bytes.len();
        }
        Some(command)
    }

    fn lose_oldest(&mut self) {
        let oldest = self.commands.iter().position(|command| matches!(command, Command::Publish(_)));
        if let Some(Command::Publish(item)) = oldest.and_then(|at| self.commands.remove(at)) {
            self.items -= 1;
            self.bytes -= item.bytes.len();
        }
    }
}

impl fmt::Display for ItemNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {}", self.publisher, self.number)
    }
}

#[derive(Debug)]
pub(super) struct NoNumber;

impl FromStr for ItemNumber {
    type Err = NoNumber;

    fn from_str(text: &str) -> Result<ItemNumber, NoNumber> {
        let (publisher, number) = text.split_once(' ').ok_or(NoNumber)?;
        let publisher = u64::from_str_radix(publisher, 16).map_err(|_| NoNumber)?;
        Ok(ItemNumber { publisher, number: number.parse().map_err(|_| NoNumber)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(queue: &FeedQueue) -> Vec<u64> {
        let mut state = queue.state();
        std::iter::from_fn(|| state.take())
            .filter_map(|command| if let Command::Publish(item) = command { Some(item.number.number) } else { None })
            .collect()
    }

    #[test]
    fn a_full_queue_loses_the_oldest_items_and_no_subscription() {
        let queue = FeedQueue::new();
        queue.subscribe(String::from("s"), Arc::new(Ring::new(queue.position("s"))));
        for _ in 0..ITEMS_MAX + 3 {
            queue.publish(String::from("s"), Bytes::from_static(b"item"));
        }
        assert!(matches!(queue.state().commands.front(), Some(Command::Subscribe { .. })));
        let kept = numbers(&queue);
        assert_eq!((kept.len(), kept[0]), (ITEMS_MAX, 3));
        queue.publish(String::from("s"), Bytes::from(vec![0; BYTES_MAX]));
        queue.publish(String::from("s"), Bytes::from_static(b"item"));
        assert_eq!(numbers(&queue).len(), 1, "the large one is lost");
    }

    #[test]
    fn numbers_are_of_a_subject_and_begin_anew_under_another_name() {
        let queue = FeedQueue::new();
        let first = queue.position("s");
        queue.publish(String::from("s"), Bytes::new());
        assert_eq!(queue.position("s"), ItemNumber { number: 1, ..first });
        assert_eq!(queue.position("t"), first);
        for n in 0..SUBJECTS_MAX {
            queue.publish(format!("t{n}"), Bytes::new());
        }
        assert_ne!(queue.position("s").publisher, first.publisher);
        assert_eq!(first.to_string().parse::<ItemNumber>().expect("a number"), first);
    }
}
