//! Frames: the pieces of `text/event-stream`, cut out of the bytes of an answer.

use anyhow::bail;

/// A frame is an event or a view, both of which are bounded; a stranger's may not be.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One frame: what it is, and its value.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// `message` when it has no name.
    pub name: String,
    pub data: String,
}

/// What has come and is not read yet.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// In the first so many bytes no frame ends.
    searched: usize,
}

impl Frames {
    /// More bytes.
    ///
    /// # Errors
    /// They are a frame that does not end.
    pub fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if self.bytes.len() + bytes.len() > FRAME_BYTES_MAX {
            bail!("the stream of events has a piece of more than {FRAME_BYTES_MAX} bytes");
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole frame; comments are passed over.
    ///
    /// # Errors
    /// It is no text.
    pub fn take(&mut self) -> anyhow::Result<Option<Frame>> {
        while let Some(end) = self.end_of_first() {
            let text: Vec<u8> = self.bytes.drain(..end).collect();
            self.searched = 0;
            let frame = read(std::str::from_utf8(&text)?);
            if frame.is_some() {
                return Ok(frame);
            }
        }
        Ok(None)
    }

    /// Behind the empty line that ends it.
    fn end_of_first(&mut self) -> Option<usize> {
        let from = self.searched.saturating_sub(1);
        let end = self.bytes[from..].windows(2).position(|pair| pair == b"\n\n").map(|at| from + at + 2);
        if end.is_none() {
            self.searched = self.bytes.len();
        }
        end
    }
}

/// `None` for a frame without a value.
fn read(text: &str) -> Option<Frame> {
    let mut frame = Frame { name: String::from("message"), data: String::new() };
    let mut has_data = false;
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => frame.name = value.to_owned(),
            "data" => {
                if has_data {
                    frame.data.push('\n');
                }
                has_data = true;
                frame.data.push_str(value);
            }
            // The place of an event is in its value, too.
            _ => {}
        }
    }
    has_data.then_some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let text = ": hello\n\nid: 1.0\nevent: journal\ndata: {\"a\":1}\n\n: heartbeat\n\ndata: one\ndata: two\n\nevent: x\n\n";
        let frame = |name: &str, data: &str| Frame { name: name.to_owned(), data: data.to_owned() };
        let expected = [frame("journal", "{\"a\":1}"), frame("message", "one\ntwo")];
        for size in 1..text.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                frames.put(piece).expect("has room");
                while let Some(frame) = frames.take().expect("is text") {
                    found.push(frame);
                }
            }
            assert_eq!(found, expected, "{size}");
        }
    }

    #[test]
    fn a_frame_that_does_not_end_is_refused() {
        let mut frames = Frames::default();
        let piece = vec![b'x'; 1024 * 1024];
        let taken = (0..17).take_while(|_| frames.put(&piece).is_ok()).count();
        assert_eq!(taken, 16);
        assert_eq!(frames.take().expect("nothing is read"), None);
    }
}
