//! Records of the journal as they travel: those of one append together, in one message where they fit.
//!
//! A message holds, packed, each record after its length (4 bytes, little-endian). Its headers tell the position of the
//! first and how many there are.

use super::marks;
use crate::packed::{pack, unpack};
use async_nats::HeaderMap;
use bytes::{Buf as _, Bytes};

/// Servers take messages of 1 MiB; packed bytes and headers have to fit, and large messages delay others.
const MESSAGE_BYTES_MAX: usize = 700 * 1024;
const FIRST: &str = "Sk-First";
const COUNT: &str = "Sk-Count";

/// A part of an append that is stored as a whole or not at all.
#[derive(Debug)]
pub struct Piece {
    /// Position of its first record.
    pub first: u64,
    pub count: u64,
    pub body: Bytes,
}

/// The message is none that this program wrote, or it is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadMessage(String);

impl BadMessage {
    /// Records that should stand here do not.
    #[must_use]
    pub fn gap(expected: u64, found: u64) -> BadMessage {
        BadMessage(format!("record {expected} is missing: record {found} follows"))
    }

    /// The servers that answer do not have the newest message, and do not get it.
    #[must_use]
    pub fn behind() -> BadMessage {
        BadMessage(String::from("the replica that answers is behind the leader"))
    }
}

impl Piece {
    /// The headers of its message.
    #[must_use]
    pub fn headers(&self, after: u64, id: &str) -> HeaderMap {
        let mut headers = marks::conditional(after, id);
        marks::set_number(&mut headers, FIRST, self.first);
        marks::set_number(&mut headers, COUNT, self.count);
        headers
    }

    /// The number of records when it is stored.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.count
    }
}

/// The records in as few pieces as there can be.
#[must_use]
pub fn pieces(mut first: u64, records: &[Bytes]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let (taken, left) = rest.split_at(fitting(rest));
        let count = taken.len() as u64;
        pieces.push(Piece { first, count, body: Bytes::from(pack(&framed(taken))) });
        first += count;
        rest = left;
    }
    pieces
}

/// How many of the records one message holds; at least one, which the server may refuse.
fn fitting(records: &[Bytes]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&Bytes| {
        bytes += size_of::<u32>() + record.len();
        bytes <= MESSAGE_BYTES_MAX
    };
    records.iter().take_while(fits).count().max(1)
}

fn framed(records: &[Bytes]) -> Vec<u8> {
    let bytes = records.iter().map(|record| size_of::<u32>() + record.len()).sum();
    let mut framed = Vec::with_capacity(bytes);
    for record in records {
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX); // Such a message no server takes.
        framed.extend_from_slice(&length.to_le_bytes());
        framed.extend_from_slice(record);
    }
    framed
}

/// Position of the first record of a message, and the number of records of the run up to its end.
///
/// # Errors
/// When the headers do not tell.
pub fn extent(headers: &HeaderMap) -> Result<(u64, u64), BadMessage> {
    let missing = || BadMessage(format!("a message without {FIRST} and {COUNT}"));
    let first = marks::number(headers, FIRST).ok_or_else(missing)?;
    let count = marks::number(headers, COUNT).ok_or_else(missing)?;
    let end = first.checked_add(count).ok_or_else(missing)?;
    Ok((first, end))
}

/// The records of a message, which share its memory.
///
/// # Errors
/// When they are not what was stored.
pub fn records(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Bytes>, BadMessage> {
    let (first, end) = extent(headers)?;
    let mut rest = unpack(body).map_err(|error| BadMessage(error.to_string()))?;
    let mut records = Vec::new();
    while rest.has_remaining() {
        let length = rest.try_get_u32_le().map_err(|_| torn())?;
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len()).ok_or_else(torn)?;
        records.push(rest.split_to(length));
    }
    if records.len() as u64 != end - first {
        return Err(BadMessage(format!("{} records instead of {}", records.len(), end - first)));
    }
    Ok(records)
}

fn torn() -> BadMessage {
    BadMessage(String::from("the records are torn"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(piece: &Piece) -> Vec<Bytes> {
        records(&piece.headers(7, "id"), &piece.body).expect("records")
    }

    #[test]
    fn records_travel_in_one_message_and_are_read_byte_for_byte() {
        let sent = [Bytes::new(), Bytes::from_static(b"\0\xff"), Bytes::from("agent ended ".repeat(500))];
        let pieces = pieces(4, &sent);
        assert_eq!((pieces.len(), pieces[0].first, pieces[0].end()), (1, 4, 7));
        assert_eq!(unpacked(&pieces[0]), sent);
        assert!(pieces[0].body.len() < 500, "{} bytes", pieces[0].body.len());
        assert_eq!(extent(&pieces[0].headers(0, "id")), Ok((4, 7)));
    }

    #[test]
    fn records_that_are_too_many_for_a_message_follow_each_other_in_several() {
        let sent: Vec<Bytes> = (0..50).map(|n: u8| Bytes::from(vec![n; 40_000])).collect();
        let pieces = pieces(0, &sent);
        assert!(pieces.len() > 1);
        assert!(pieces.windows(2).all(|pair| pair[0].end() == pair[1].first));
        assert_eq!(pieces.iter().flat_map(unpacked).collect::<Vec<_>>(), sent);
    }

    #[test]
    fn nothing_is_no_message_and_a_huge_record_is_alone() {
        assert!(pieces(3, &[]).is_empty());
        let sent = [Bytes::from_static(b"a"), Bytes::from(vec![1; 2_000_000]), Bytes::from_static(b"b")];
        assert_eq!(pieces(0, &sent).iter().map(|piece| piece.count).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let piece = &pieces(0, &[Bytes::from_static(b"a"), Bytes::from_static(b"b")])[0];
        assert!(records(&HeaderMap::new(), &piece.body).is_err());
        assert!(records(&piece.headers(0, "id"), b"junk").is_err());
        let lying = Piece { first: 0, count: 3, body: piece.body.clone() };
        assert!(records(&lying.headers(0, "id"), &lying.body).is_err());
        let torn = Piece { first: 0, count: 1, body: Bytes::from(pack(b"\x09\0\0\0short")) };
        assert!(records(&torn.headers(0, "id"), &torn.body).is_err());
        let endless = Piece { first: u64::MAX, count: 1, body: Bytes::new() };
        assert!(extent(&endless.headers(0, "id")).is_err());
    }
}
