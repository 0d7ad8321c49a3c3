//! What a program writes: all of standard output up to a limit, the last of standard error, a line on descriptor 3.

use super::progress::Progress;
use crate::process::Pipes;
use skein_common::agent::Usage;
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

/// Read at a time; a pipe holds no more.
const CHUNK_BYTES: usize = 64 * 1024;
/// The last lines of standard error that people get to read.
const STDERR_BYTES: usize = 2 * 1024;
/// Descriptor 3 is looked at this far from its end.
const USAGE_BYTES: usize = 16 * 1024;

/// Everything that was written.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Tail,
    pub(crate) three: Tail,
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

/// Standard output was longer than allowed.
#[derive(Debug)]
pub(crate) struct TooLarge;

/// Carries the input to the program and its output here, all at the same time, until all of it was carried or
/// standard output is too large.
pub(crate) async fn pump(
    pipes: &mut Pipes,
    input: &[u8],
    output: &mut Output,
    bytes_max: u64,
    progress: &Progress,
) -> Result<(), TooLarge> {
    let Pipes { stdin, stdout, stderr, three } = pipes;
    let Output { stdout: text, stderr: errors, three: usage } = output;
    let stdin = stdin.take();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A program need not read its input.
            let _ = stdin.write_all(input).await;
        }
        Ok(())
    };
    let read_errors = async {
        read_stderr(stderr, errors, progress).await;
        Ok(())
    };
    let read_usage = async {
        read_three(three, usage, progress).await;
        Ok(())
    };
    tokio::try_join!(read_all(stdout, text, bytes_max, progress), read_errors, read_usage, write).map(|_| ())
}

/// Reads until the end of the stream, or until there is more than `bytes_max`.
async fn read_all(
    from: &mut pipe::Receiver,
    into: &mut Vec<u8>,
    bytes_max: u64,
    progress: &Progress,
) -> Result<(), TooLarge> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    loop {
        // Room for one byte more than allowed tells whether there is more.
        let room = bytes_max.saturating_sub(into.len()).saturating_add(1).min(CHUNK_BYTES);
        into.reserve(room);
        let mut limited = from.take(u64::try_from(room).unwrap_or(u64::MAX));
        match limited.read_buf(into).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) if into.len() > bytes_max => return Err(TooLarge),
            Ok(_) => progress.made(),
        }
    }
}

/// Reads until the end of the stream and keeps the last bytes.
async fn read_stderr(from: &mut pipe::Receiver, into: &mut Tail, progress: &Progress) {
    into.read(from, STDERR_BYTES, progress).await;
}

/// Reads until the end of the stream and keeps the last bytes.
async fn read_three(from: &mut pipe::Receiver, into: &mut Tail, progress: &Progress) {
    into.read(from, USAGE_BYTES, progress).await;
}

impl Tail {
    async fn read(&mut self, from: &mut pipe::Receiver, bytes_max: usize, progress: &Progress) {
        let mut chunk = Vec::with_capacity(4 * 1024);
        while matches!(from.read_buf(&mut chunk).await, Ok(read) if read > 0) {
            progress.made();
            self.bytes.extend(&chunk);
            chunk.clear();
            let surplus = self.bytes.len().saturating_sub(bytes_max);
            self.cut |= surplus > 0;
            self.bytes.drain(..surplus);
        }
    }

    /// As text, from the first whole line on if something was cut off.
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let whole = match text.split_once('\n') {
            Some((_, rest)) if self.cut && !rest.trim().is_empty() => rest,
            _ => &text,
        };
        whole.trim_end().to_owned()
    }

    /// The usage of the last line, if there is one; an error when it is something else.
    pub(crate) fn usage(&self) -> Result<Option<Usage>, String> {
        let text = self.text();
        let Some(line) = text.lines().rfind(|line| !line.trim().is_empty()) else { return Ok(None) };
        let value: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let usage = value.get("skein_usage").ok_or("no `skein_usage` in it")?;
        serde_json::from_value(usage.clone()).map(Some).map_err(|error| error.to_string())
    }
}

/// As text, with one line break at the end dropped; true when something was no UTF-8 and was replaced.
pub(crate) fn text_of(stdout: Vec<u8>) -> (String, bool) {
    let (mut text, replaced) = match String::from_utf8(stdout) {
        Ok(text) => (text, false),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
    };
    if text.ends_with('\n') {
        text.pop();
    }
    (text, replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(text: &str, cut: bool) -> Tail {
        Tail { bytes: text.bytes().collect(), cut }
    }

    #[test]
    fn a02_usage_is_the_last_line_of_descriptor_3() {
        let written = "noise\n{\"skein_usage\":{\"input\":10,\"output\":5}}\n\n";
        let expected = Usage { input: 10, output: 5, ..Usage::default() };
        assert_eq!(tail(written, false).usage(), Ok(Some(expected)));
        assert_eq!(tail("", false).usage(), Ok(None));
        for bad in ["{", "{}", "{\"skein_usage\":7}", "{\"skein_usage\":{\"input\":-1}}"] {
            assert!(tail(bad, false).usage().is_err(), "{bad}");
        }
    }

    #[test]
    fn a02_the_end_of_standard_error_starts_with_a_whole_line() {
        assert_eq!(tail("rtial\nwhole\n", true).text(), "whole");
        assert_eq!(tail("first\nsecond\n", false).text(), "first\nsecond");
        assert_eq!(tail("one long line", true).text(), "one long line");
    }

    #[test]
    fn a02_one_line_break_is_dropped_and_invalid_utf8_is_replaced() {
        assert_eq!(text_of(b"two\n\n".to_vec()), ("two\n".into(), false));
        assert_eq!(text_of(b"\xff\n".to_vec()), ("\u{fffd}".into(), true));
    }
}
