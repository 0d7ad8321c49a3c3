//! Blanks and comments between tokens.

use super::lines::is_line_terminator;

/// Offset of the next token at or after `from`; the length of the text when there is none.
pub(super) fn skip(text: &str, from: usize) -> usize {
    let mut at = from;
    loop {
        let rest = &text[at..];
        let step = if rest.starts_with("//") {
            rest.find(is_line_terminator)
        } else if rest.starts_with("/*") {
            rest.find("*/").map(|end| end + 2)
        } else {
            match rest.chars().next() {
                Some(c) if c.is_whitespace() || c == '\u{feff}' || is_line_terminator(c) => Some(c.len_utf8()),
                _ => return at,
            }
        };
        match step {
            Some(step) => at += step,
            None => return text.len(),
        }
    }
}

/// The offset after `word`, if it stands at `at` as a word of its own.
pub(super) fn word(text: &str, at: usize, word: &str) -> Option<usize> {
    let rest = text[at..].strip_prefix(word)?;
    let goes_on = rest
        .chars()
        .next()
        .is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '\\' | '\u{200c}' | '\u{200d}'));
    (!goes_on).then_some(at + word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c01_comments_end_with_any_line_terminator() {
        for end in ["\n", "\r", "\r\n", "\u{2028}", "\u{2029}"] {
            let text = format!("// export const{end}/* a\n * b */ \t\u{a0}export");
            assert_eq!(&text[skip(&text, 0)..], "export");
        }
        assert_eq!(skip("/* open", 0), 7);
    }

    #[test]
    fn a_longer_word_is_another_word() {
        assert_eq!(word("meta=", 0, "meta"), Some(4));
        assert_eq!(word("metadata", 0, "meta"), None);
    }
}
