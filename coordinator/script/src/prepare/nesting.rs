//! How deep brackets are nested, seen before the parser: it is recursive, and what it can bear depends on the build and
//! the machine. A count that does not is a better cap.

use super::lines::is_line_terminator;

/// Brackets and template substitutions inside one another (C10). Far above what people write, far below what the
/// parser's native stack bears.
pub(super) const NESTING_MAX: usize = 1000;

/// What may stand around the place that is looked at.
enum Open {
    Bracket,
    /// `${` of a template: its `}` leads back into the template's text.
    Substitution,
}

/// The byte offset of the first bracket that is nested deeper than [`NESTING_MAX`].
///
/// Strings, comments, templates and regular expressions are passed over. Whether a slash starts a regular expression is
/// guessed from what stands before it; a wrong guess costs a wrong count in a script that is close to the cap.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut open: Vec<Open> = Vec::new();
    let mut before = b'(';
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let after = match byte {
            b'"' | b'\'' => end_of_quoted(text, at + 1, byte),
            b'/' if text[at..].starts_with("//") => at + text[at..].find(is_line_terminator).unwrap_or(text.len() - at),
            b'/' if text[at..].starts_with("/*") => text[at..].find("*/").map_or(text.len(), |end| at + end + 2),
            b'/' if starts_operand(before) => end_of_regular_expression(bytes, at + 1),
            b'`' => template_text(bytes, at + 1, &mut open),
            b'(' | b'[' | b'{' => {
                open.push(Open::Bracket);
                at + 1
            }
            b'}' if matches!(open.last(), Some(Open::Substitution)) => {
                open.pop();
                template_text(bytes, at + 1, &mut open)
            }
            b')' | b']' | b'}' => {
                open.pop();
                at + 1
            }
            _ => at + 1,
        };
        if open.len() > NESTING_MAX {
            return Some(at);
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
        at = after.max(at + 1);
    }
    None
}

/// Whether a value is expected after this byte, so that a slash starts a regular expression.
fn starts_operand(before: u8) -> bool {
    matches!(
        before,
        b'(' | b'['
            | b'{'
            | b'}'
            | b','
            | b';'
            | b':'
            | b'='
            | b'!'
            | b'&'
            | b'|'
            | b'?'
            | b'+'
            | b'-'
            | b'*'
            | b'%'
            | b'<'
            | b'>'
            | b'~'
            | b'^'
    )
}

/// The offset after the closing quote, or of the end of the line in a string that is not closed.
fn end_of_quoted(text: &str, from: usize, quote: u8) -> usize {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'\n' => return at,
            byte if byte == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

fn end_of_regular_expression(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut in_class) = (from, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'/' if !in_class => return at + 1,
            b'\n' => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The offset after the template's end, or after a `${`, which is then open.
fn template_text(bytes: &[u8], from: usize, open: &mut Vec<Open>) -> usize {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'`' => return at + 1,
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                open.push(Open::Substitution);
                return at + 2;
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(open: &str, close: &str, depth: usize) -> String {
        format!("return {}1{}", open.repeat(depth), close.repeat(depth))
    }

    #[test]
    fn c10_brackets_and_templates_beyond_the_cap_are_found_at_their_place() {
        for (open, close) in [("(", ")"), ("[", "]"), ("{", "}"), ("`${", "}`"), ("(()=>", ")")] {
            assert_eq!(too_deep(&nested(open, close, NESTING_MAX - 1)), None, "{open}");
        }
        assert_eq!(too_deep(&nested("(", ")", 3000)), Some("return ".len() + NESTING_MAX));
        assert!(too_deep(&nested("`${", "}`", 3000)).is_some());
    }

    #[test]
    fn brackets_in_text_do_not_count() {
        let many = "((((([[[[[{{{{{".repeat(200);
        for text in [
            format!("const a = '{many}'"),
            format!("const a = \"\\\"{many}\""),
            format!("const a = `{many}${{1}}{many}`"),
            format!("// {many}\nreturn 1"),
            format!("/* {many} */ return 1"),
            format!("const re = /[(]{}/g", "\\(".repeat(2000)),
        ] {
            assert_eq!(too_deep(&text), None, "{}", &text[..40]);
        }
    }

    #[test]
    fn broken_text_is_read_to_its_end() {
        for text in ["'", "`", "`${", "/*", "/", "\\", "}", "a = /x", "`${`${", "ä('ü"] {
            assert_eq!(too_deep(text), None, "{text}");
        }
    }
}
