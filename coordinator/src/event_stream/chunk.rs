//! Chunk: the events of one record as they go over the wire, and the frames of everything else.
//!
//! A frame is what `text/event-stream` calls an event: lines of `name: value` and an empty line.

use super::position::Position;
use super::run_event::run_events;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use skein_engine::{Event, decode_record};

/// The frames of one record. Each has the position of its event as its id.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The record's place in the journal, from 0.
    pub record: u64,
    frames: Bytes,
    /// Where the frame of each event ends.
    ends: Vec<usize>,
    /// It has the run's end.
    pub is_last: bool,
}

/// A record that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChunkError {
    #[error(transparent)]
    Record(#[from] skein_engine::RecordError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl Chunk {
    /// Reads the record that is the `number`th of its journal.
    pub fn read(number: u64, bytes: &[u8]) -> Result<Chunk, ChunkError> {
        let record = decode_record(bytes)?;
        let (mut frames, mut ends) = (BytesMut::new(), Vec::with_capacity(record.events.len()));
        for event in run_events(number, &record) {
            put_frame(&mut frames, Some(event.position), "journal", &serde_json::to_vec(&event)?);
            ends.push(frames.len());
        }
        let is_last = record.events.iter().any(|event| matches!(event, Event::RunEnded { .. }));
        Ok(Chunk { record: number, frames: frames.freeze(), ends, is_last })
    }

    /// What it holds in memory, bytes.
    pub fn size(&self) -> usize {
        self.frames.len() + self.ends.len() * size_of::<usize>() + size_of::<Chunk>()
    }

    /// The frames behind the first so many events.
    pub fn after(&self, events: u64) -> Bytes {
        let skipped = usize::try_from(events).unwrap_or(usize::MAX).checked_sub(1);
        let from = skipped.map_or(0, |last| self.ends.get(last).copied().unwrap_or(self.frames.len()));
        self.frames.slice(from..)
    }
}

/// A frame without an id: who resumes does not get it again.
pub(super) fn frame(name: &str, value: &impl Serialize) -> Bytes {
    match serde_json::to_vec(value) {
        Ok(json) => {
            let mut frame = BytesMut::new();
            put_frame(&mut frame, None, name, &json);
            frame.freeze()
        }
        Err(error) => {
            tracing::warn!(%error, "item for watchers not shown");
            comment("not shown")
        }
    }
}

/// What clients pass over; it tells that the connection lives.
pub(super) fn comment(text: &str) -> Bytes {
    Bytes::from(format!(": {text}\n\n"))
}

/// `json` is on one line.
fn put_frame(to: &mut BytesMut, id: Option<Position>, name: &str, json: &[u8]) {
    if let Some(id) = id {
        to.put_slice(format!("id: {id}\n").as_bytes());
    }
    to.put_slice(format!("event: {name}\ndata: ").as_bytes());
    to.put_slice(json);
    to.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_engine::encode_records;

    fn chunk() -> Chunk {
        let line = |text: &str| Event::LogLine { text: text.to_owned(), from_engine: false };
        let events = [line("one"), line("two\nlines"), Event::Paused {}];
        let records = encode_records(1, 0, 7, &events).expect("encodes");
        Chunk::read(4, &records[0]).expect("reads")
    }

    #[test]
    fn a_record_becomes_a_frame_for_each_event_with_its_place_as_the_id() {
        let text = String::from_utf8(chunk().after(0).to_vec()).expect("text");
        let frames: Vec<&str> = text.split_terminator("\n\n").collect();
        assert_eq!(frames.len(), 3, "{text}");
        assert_eq!(
            frames[1],
            "id: 4.1\nevent: journal\ndata: {\"position\":\"4.1\",\"at_ms\":7,\"kind\":\"log_line\",\"line\":\"two\\nlines\"}"
        );
    }

    #[test]
    fn who_resumes_in_a_record_gets_what_is_behind_that_place() {
        let chunk = chunk();
        assert!(chunk.after(1).starts_with(b"id: 4.1\n"));
        assert!(chunk.after(2).starts_with(b"id: 4.2\n"));
        assert!(chunk.after(3).is_empty() && chunk.after(u64::MAX).is_empty());
        assert!(!chunk.is_last);
    }
}
