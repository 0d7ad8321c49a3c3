//! The frames between a parent and its host: `u32` little-endian header, then MessagePack with named fields.
//!
//! The low 31 bits of the header are the length of this frame's body; the top bit says that the message goes on in
//! the next frame. The host answers each message, in order; the parent may send several before
//! it reads their answers.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use skein_common::script::{Loaded, ScriptError, Settlement, Start, TurnEnd};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::limits::HostLimits;

/// Grows with every change that the other side would not understand.
pub(crate) const VERSION: u32 = 2;
/// Name and version of the engine behind the protocol, recorded with a run.
pub(crate) const ENGINE: &str = "boa 0.22";

const FRAME_BYTES_MAX: usize = 16 << 20;
/// One message, over all its frames.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Our own messages are about ten deep; a hostile one must not reach the end of the parent's stack.
const DEPTH_MAX: usize = 64;
const MORE: u32 = 1 << 31;

/// Parent to host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToHost {
    /// First. Answered by `Loaded` or `Refused`.
    Init { source: String, limits: HostLimits },
    /// Second. Answered by `Turn`.
    Start { start: Start },
    /// Every later one. Answered by `Turn`.
    Settle { settlement: Settlement },
}

/// Host to parent. Everything in it is hostile.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum FromHost {
    /// Before anything was read.
    Hello {
        version: u32,
        engine: String,
    },
    Loaded {
        loaded: Loaded,
    },
    Refused {
        error: ScriptError,
    },
    Turn {
        end: TurnEnd,
    },
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

fn encode<M: Serialize>(message: &M) -> io::Result<Vec<u8>> {
    let body = rmp_serde::to_vec_named(message).map_err(|error| invalid(error.to_string()))?;
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(invalid(format!("a message of {} bytes, at most {MESSAGE_BYTES_MAX}", body.len())));
    }
    Ok(body)
}

fn decode<M: DeserializeOwned>(body: &[u8]) -> io::Result<M> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
    deserializer.set_max_depth(DEPTH_MAX);
    M::deserialize(&mut deserializer).map_err(|error| invalid(error.to_string()))
}

/// Frame headers and bodies of one message.
fn frames(body: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let count = body.len().div_ceil(FRAME_BYTES_MAX).max(1);
    (0..count).map(move |index| {
        let start = index * FRAME_BYTES_MAX;
        let part = &body[start..body.len().min(start + FRAME_BYTES_MAX)];
        let more = if index + 1 < count { MORE } else { 0 };
        ((part.len() as u32 | more).to_le_bytes(), part)
    })
}

/// Length of the frame's body and whether another frame follows; refuses what would exceed the caps.
fn header(bytes: [u8; 4], so_far: usize) -> io::Result<(usize, bool)> {
    let word = u32::from_le_bytes(bytes);
    let length = (word & !MORE) as usize;
    if length > FRAME_BYTES_MAX || so_far + length > MESSAGE_BYTES_MAX {
        return Err(invalid(format!("a frame of {length} bytes after {so_far}")));
    }
    Ok((length, word & MORE != 0))
}

/// Messages below this size go out as one write, which wakes the other side once.
const ONE_WRITE_BYTES_MAX: usize = 64 << 10;

/// One message as it stands on the wire.
pub(crate) fn encoded<M: Serialize>(message: &M) -> io::Result<Vec<u8>> {
    Ok(joined(&encode(message)?))
}

fn joined(body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(body.len() + 4);
    for (head, part) in frames(body) {
        whole.extend_from_slice(&head);
        whole.extend_from_slice(part);
    }
    whole
}

/// Writes one message, blocking: the host's side.
pub(crate) fn write<M: Serialize>(to: &mut impl Write, message: &M) -> io::Result<()> {
    let body = encode(message)?;
    if body.len() < ONE_WRITE_BYTES_MAX {
        to.write_all(&joined(&body))?;
        return to.flush();
    }
    for (head, part) in frames(&body) {
        to.write_all(&head)?;
        to.write_all(part)?;
    }
    to.flush()
}

/// Reads one message, blocking: the host's side.
pub(crate) fn read<M: DeserializeOwned>(from: &mut impl Read) -> io::Result<M> {
    let mut body = Vec::new();
    loop {
        let mut head = [0; 4];
        from.read_exact(&mut head)?;
        let (length, more) = header(head, body.len())?;
        let start = body.len();
        body.resize(start + length, 0);
        from.read_exact(&mut body[start..])?;
        if !more {
            return decode(&body);
        }
    }
}

/// Writes one message: the parent's side.
pub(crate) async fn send<M: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &M) -> io::Result<()> {
    let body = encode(message)?;
    if body.len() < ONE_WRITE_BYTES_MAX {
        return to.write_all(&joined(&body)).await;
    }
    for (head, part) in frames(&body) {
        to.write_all(&head).await?;
        to.write_all(part).await?;
    }
    Ok(())
}

/// Reads one message: the parent's side. Memory grows with what has arrived, not with what a header promises.
pub(crate) async fn receive<M: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let mut body = Vec::new();
    loop {
        let mut head = [0; 4];
        from.read_exact(&mut head).await?;
        let (length, more) = header(head, body.len())?;
        let wanted = body.len() + length;
        (&mut *from).take(length as u64).read_to_end(&mut body).await?;
        if body.len() < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !more {
            return decode(&body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(length: usize) -> FromHost {
        let ops = vec![skein_common::script::Op::Log { text: "x".repeat(length) }];
        FromHost::Turn { end: TurnEnd::Waiting { ops, open: 1 } }
    }

    #[test]
    fn a_message_longer_than_a_frame_is_split_and_joined() {
        let mut wire = Vec::new();
        write(&mut wire, &log_of(FRAME_BYTES_MAX + 10)).unwrap();
        assert_ne!(u32::from_le_bytes(wire[..4].try_into().unwrap()) & MORE, 0);
        let FromHost::Turn { end: TurnEnd::Waiting { ops, open: 1 } } = read(&mut wire.as_slice()).unwrap() else {
            panic!("another message")
        };
        assert!(matches!(&ops[0], skein_common::script::Op::Log { text } if text.len() == FRAME_BYTES_MAX + 10));
    }

    #[tokio::test]
    async fn both_sides_use_the_same_frames() {
        let mut wire = Vec::new();
        send(&mut wire, &log_of(100_000)).await.unwrap();
        assert!(matches!(receive(&mut wire.as_slice()).await.unwrap(), FromHost::Turn { .. }));
        assert!(matches!(read(&mut wire.as_slice()).unwrap(), FromHost::Turn { .. }));
    }

    #[tokio::test]
    async fn a_header_that_promises_too_much_is_refused_before_anything_is_read() {
        let wire = (FRAME_BYTES_MAX as u32 + 1).to_le_bytes();
        let error = receive::<FromHost>(&mut wire.as_slice()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_cut_message_is_an_end_of_file() {
        let mut wire = Vec::new();
        write(&mut wire, &log_of(10)).unwrap();
        wire.truncate(wire.len() - 1);
        let error = receive::<FromHost>(&mut wire.as_slice()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
