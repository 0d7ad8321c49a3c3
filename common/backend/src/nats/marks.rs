//! Headers of stored messages: what they expect, who wrote them, and whether they say that something is gone.

use async_nats::{HeaderMap, HeaderValue};

const EXPECTED_PLACE: &str = "Nats-Expected-Last-Subject-Sequence";
const TIME_TO_LIVE: &str = "Nats-TTL";
/// What a client wrote to say that a key is deleted.
const OPERATION: &str = "KV-Operation";
/// What the server wrote instead of a message that it removed.
const REMOVED: &str = "Nats-Marker-Reason";
/// One write of ours, in all its tries.
const ID: &str = "Sk-Id";

/// Names one write, so that its writer knows it again when the acknowledgement was lost.
#[must_use]
pub fn new_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Headers of a message that is stored only if the last one of its subject is at this place; 0 if there is none.
#[must_use]
pub fn conditional(place: u64, id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    expect(&mut headers, place);
    headers.insert(ID, id);
    headers
}

/// The message is stored only if the last one of its subject is at this place; 0 if there is none.
pub fn expect(headers: &mut HeaderMap, place: u64) {
    set_number(headers, EXPECTED_PLACE, place);
}

/// The message removes itself after so many seconds.
pub fn live_for(headers: &mut HeaderMap, seconds: u64) {
    set_number(headers, TIME_TO_LIVE, seconds);
}

/// The message says that its key is deleted.
pub fn say_deleted(headers: &mut HeaderMap) {
    headers.insert(OPERATION, "DEL");
}

/// Whether the message is of the write of this name.
#[must_use]
pub fn is_of(headers: &HeaderMap, id: &str) -> bool {
    headers.get(ID).is_some_and(|stored| stored.as_str() == id)
}

/// Whether the message says that its key is deleted or has expired.
#[must_use]
pub fn is_marker(headers: &HeaderMap) -> bool {
    headers.get(REMOVED).is_some() || headers.get(OPERATION).is_some_and(|operation| operation.as_str() != "PUT")
}

/// Puts a number into a header.
pub fn set_number(headers: &mut HeaderMap, name: &'static str, number: u64) {
    headers.insert(name, HeaderValue::from(number));
}

/// A number in a header.
#[must_use]
pub fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}
