//! The frames between a worker and its keeper: u32 little-endian length, then MessagePack with named fields.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use skein_common::RunId;
use skein_common::wire::AttemptRef;
use std::collections::VecDeque;

/// A longer frame is no frame of ours.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Descriptors that travel with each [`Request::Start`]: standard input, output, error, and number 3.
pub(crate) const START_DESCRIPTORS: usize = 4;

/// Numbers the attempts of one keeper.
pub(crate) type KeptId = u64;

/// What a worker asks of its keeper.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Comes with [`START_DESCRIPTORS`]. Answered by `Started` or `NotStarted`; `Exited` follows the first.
    Start(StartAttempt),
    /// Owners vouched for these until then, in ms since boot. Not answered; what is over or began without a deadline is
    /// left as it is.
    Extend { deadlines: Vec<(KeptId, u64)> },
    /// SIGTERM to the program's process group, SIGKILL to all its descendants after the grace. `Exited` follows.
    End { id: KeptId, grace_ms: u64 },
    /// Answered by `Locked` or `Busy`, at once.
    LockRun { run: RunId, path: String },
    /// Not answered.
    UnlockRun { run: RunId },
}

/// A program and how to tell what it leaves behind.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StartAttempt {
    pub id: KeptId,
    pub mark: Mark,
    /// Path of the program.
    pub program: String,
    /// With the name it is called by first.
    pub argv: Vec<String>,
    /// All of it.
    pub env: Vec<(String, String)>,
    pub cwd: String,
    /// In ms since boot: past it everything of it is killed, whatever became of the worker. `None` is never.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
}

/// What every process of an attempt has in its environment, and no other process has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub run: String,
    pub agent: String,
    pub attempt: String,
}

impl Mark {
    /// The mark of this attempt's processes.
    pub(crate) fn of(attempt: &AttemptRef) -> Mark {
        Mark {
            run: attempt.run.as_str().to_owned(),
            agent: attempt.agent.to_string(),
            attempt: attempt.attempt.to_string(),
        }
    }
}

/// What a keeper says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(crate) enum Reply {
    Started {
        id: KeptId,
        pid: i32,
    },
    NotStarted {
        id: KeptId,
        reason: String,
    },
    /// The program and every descendant of it are gone.
    Exited {
        id: KeptId,
        exit: Exit,
    },
    Locked {
        run: RunId,
    },
    /// These processes are why not, each as `PID (NAME)`.
    Busy {
        run: RunId,
        holders: Vec<String>,
    },
    LockFailed {
        run: RunId,
        reason: String,
    },
    /// A line for the worker's log.
    Warning {
        text: String,
    },
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub(crate) enum Exit {
    Code {
        code: i32,
    },
    Signal {
        signal: i32,
    },
    /// Killed because its deadline passed.
    Overdue,
}

/// Frames that cannot be understood; the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {bytes} bytes is too long")]
    TooLong { bytes: usize },
    #[error("a frame cannot be written: {0}")]
    Unwritable(#[from] rmp_serde::encode::Error),
    #[error("a frame cannot be read: {0}")]
    Unreadable(#[from] rmp_serde::decode::Error),
}

/// The bytes of one frame.
pub(crate) fn encode_frame<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    rmp_serde::encode::write_named(&mut frame, message)?;
    let bytes = frame.len() - 4;
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX);
    let length = length.ok_or(FrameError::TooLong { bytes })?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Collects bytes until they are frames.
#[derive(Debug, Default)]
pub(crate) struct FrameBuffer {
    bytes: VecDeque<u8>,
}

impl FrameBuffer {
    /// Adds what arrived.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The next whole frame, if it is here.
    pub(crate) fn pop<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let bytes = self.bytes.make_contiguous();
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { bytes: length });
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let message = rmp_serde::from_slice(frame)?;
        self.bytes.drain(..4 + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_in_whatever_pieces_they_come() {
        let sent = [Reply::Started { id: 1, pid: 70_000 }, Reply::Warning { text: "x".repeat(300) }];
        let bytes: Vec<u8> = sent.iter().flat_map(|reply| encode_frame(reply).expect("writes")).collect();
        let mut buffer = FrameBuffer::default();
        let mut read = Vec::new();
        for byte in bytes {
            buffer.extend(&[byte]);
            while let Some(reply) = buffer.pop::<Reply>().expect("reads") {
                read.push(format!("{reply:?}"));
            }
        }
        assert_eq!(read, sent.iter().map(|reply| format!("{reply:?}")).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_that_are_no_frame_are_an_error() {
        let mut buffer = FrameBuffer::default();
        buffer.extend(&[0xff; 64]);
        assert!(matches!(buffer.pop::<Reply>(), Err(FrameError::TooLong { .. })));
        let mut buffer = FrameBuffer::default();
        buffer.extend(&[1, 0, 0, 0, 0xc1]);
        assert!(matches!(buffer.pop::<Reply>(), Err(FrameError::Unreadable(_))));
    }
}
