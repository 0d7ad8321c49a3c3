//! Lines of the author's file, with the four line terminators of JavaScript (C6).

use skein_common::script::{ScriptError, ScriptErrorKind};

use super::{Place, Problem};

const SHOWN_CHARS: usize = 200;

/// A text and where its lines begin.
#[derive(Debug)]
pub(crate) struct Lines {
    text: String,
    /// Byte offsets, ascending; the first is 0.
    starts: Vec<usize>,
}

pub(super) const fn is_line_terminator(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

impl Lines {
    pub(crate) fn new(text: String) -> Self {
        let mut starts = vec![0];
        let mut characters = text.char_indices().peekable();
        while let Some((offset, character)) = characters.next() {
            if !is_line_terminator(character) {
                continue;
            }
            let end = match (character, characters.peek()) {
                ('\r', Some((_, '\n'))) => continue,
                _ => offset + character.len_utf8(),
            };
            starts.push(end);
        }
        Self { text, starts }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The place of a byte offset.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let index = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let column = self.text[self.starts[index]..offset].chars().count() + 1;
        Place { line: index as u32 + 1, column: column as u32 }
    }

    /// The byte offset of a place; the end of the text when there is no such place.
    pub(crate) fn offset(&self, place: Place) -> usize {
        let Some(start) = self.starts.get((place.line as usize).saturating_sub(1)) else { return self.text.len() };
        let rest = &self.text[*start..];
        rest.char_indices().nth((place.column as usize).saturating_sub(1)).map_or(self.text.len(), |(at, _)| start + at)
    }

    /// A line without its terminator, shortened for a message.
    pub(crate) fn line(&self, number: u32) -> Option<String> {
        let start = *self.starts.get((number as usize).checked_sub(1)?)?;
        Some(self.text[start..].chars().take_while(|c| !is_line_terminator(*c)).take(SHOWN_CHARS).collect())
    }

    pub(crate) fn count(&self) -> u32 {
        self.starts.len() as u32
    }

    /// The last line that has text: where an unexpected end is shown.
    pub(crate) fn end(&self) -> Place {
        self.place(self.text.trim_end().len())
    }

    /// The error that leaves the host, with the offending line.
    pub(crate) fn error(&self, problem: Problem) -> ScriptError {
        let Problem { kind, message, place } = problem;
        let place = place.map(|place| if place.line as usize > self.starts.len() { self.end() } else { place });
        ScriptError {
            kind,
            message,
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            stack: None,
            source_line: place.and_then(|place| self.line(place.line)),
        }
    }

    /// An error that has no place.
    pub(crate) fn bare(kind: ScriptErrorKind, message: impl Into<String>) -> ScriptError {
        ScriptError { kind, message: message.into(), line: None, column: None, stack: None, source_line: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c06_all_four_line_terminators_count_and_crlf_counts_once() {
        let lines = Lines::new("a\r\nb\rc\u{2028}d\u{2029}e\nf".to_owned());
        let found: Vec<_> = (1..=6).map(|number| lines.line(number).unwrap()).collect();
        assert_eq!(found, ["a", "b", "c", "d", "e", "f"]);
        assert_eq!(lines.line(7), None);
    }

    #[test]
    fn c06_columns_are_code_points_and_lead_back_to_the_offset() {
        let lines = Lines::new("é\n😀x".to_owned());
        let offset = lines.text().find('x').unwrap();
        let place = lines.place(offset);
        assert_eq!(place, Place { line: 2, column: 2 });
        assert_eq!(lines.offset(place), offset);
    }
}
