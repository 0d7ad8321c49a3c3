//! Position: where an event stands in the journal of its run.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An event's place: the record it is in, and its place in that record, both from 0. Written `12.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Position {
    pub record: u64,
    pub index: u32,
}

/// The text is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a position in a journal is two numbers such as 12.0, as the `id` of an event")]
pub struct BadPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.record, self.index)
    }
}

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Position, BadPosition> {
        let (record, index) = text.split_once('.').ok_or(BadPosition)?;
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(record) || !is_number(index) {
            return Err(BadPosition);
        }
        let record = record.parse().map_err(|_| BadPosition)?;
        Ok(Position { record, index: index.parse().map_err(|_| BadPosition)? })
    }
}

impl From<Position> for String {
    fn from(position: Position) -> String {
        position.to_string()
    }
}

impl TryFrom<String> for Position {
    type Error = BadPosition;

    fn try_from(text: String) -> Result<Position, BadPosition> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written_and_nothing_else_is_one() {
        let position = Position { record: 12, index: 3 };
        assert_eq!(position.to_string().parse(), Ok(position));
        assert_eq!(serde_json::to_string(&position).ok().as_deref(), Some("\"12.3\""));
        assert!(Position { record: 2, index: 9 } < Position { record: 10, index: 0 });
        for bad in
            ["", "1", "1.", ".1", "1.2.3", "-1.0", "+1.0", "1.x", " 1.0", "99999999999999999999.0", "0.4294967296"]
        {
            assert_eq!(bad.parse::<Position>(), Err(BadPosition), "{bad}");
        }
    }
}
