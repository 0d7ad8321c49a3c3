//! What a parser's error means for the author.

use boa_parser::Error;
use boa_parser::lexer::Error as LexError;

use super::{Lines, Place, Problem, trivia};

pub(super) fn explain(error: &Error, lines: &Lines) -> Problem {
    let (message, place) = match error {
        Error::Expected { expected, found, context, span } => {
            (format!("expected {}, got '{found}' in {context}", one_of(expected)), span.start().into())
        }
        Error::Unexpected { message, found, span } if message.is_empty() => {
            (format!("unexpected token '{found}'"), span.start().into())
        }
        Error::Unexpected { message, found, span } => {
            (format!("unexpected token '{found}': {message}"), span.start().into())
        }
        Error::General { message, position } => (message.to_string(), (*position).into()),
        Error::Lex { err: LexError::Syntax(message, position) } => (message.to_string(), (*position).into()),
        Error::AbruptEnd => ("unexpected end of the script".to_owned(), lines.end()),
        other => (other.to_string(), lines.end()),
    };
    match forbidden(lines, place) {
        Some((what, place)) => Problem::syntax(what, place),
        None => Problem::syntax(format!("SyntaxError: {message}{}", hint(lines, place)), place),
    }
}

fn one_of(tokens: &[String]) -> String {
    let quoted: Vec<_> = tokens.iter().map(|token| format!("'{token}'")).collect();
    quoted.join(" or ")
}

/// Module syntax, which the parser of a function body reports as any other stray word (C5).
fn forbidden(lines: &Lines, place: Place) -> Option<(&'static str, Place)> {
    let text = lines.text();
    let at = lines.offset(place);
    if trivia::word(text, at, "export").is_some() {
        return Some(("only `export const meta` may be exported", place));
    }
    // The parser takes `import` for the beginning of `import(…)` and stumbles over what follows.
    let import = if trivia::word(text, at, "import").is_some() {
        at
    } else {
        let before = text[..at].trim_end();
        let start = before.len().checked_sub("import".len())?;
        (before.is_char_boundary(start) && trivia::word(before, start, "import").is_some()).then_some(start)?
    };
    let next = trivia::skip(text, import + "import".len());
    let what = match text[next..].chars().next() {
        Some('(') => "import() is not available in workflow scripts",
        Some('.') => "import.meta is not available in workflow scripts",
        _ => "import is not available in workflow scripts",
    };
    Some((what, lines.place(import)))
}

/// The most frequent reason: types.
fn hint(lines: &Lines, place: Place) -> &'static str {
    let at = lines.offset(place);
    let before = lines.text()[..at].trim_end();
    let types = lines.text()[at..].starts_with(':')
        || ["type", "interface", "enum", "as", "satisfies"].iter().any(|word| {
            trivia::word(lines.text(), at, word).is_some()
                || before.strip_suffix(word).is_some_and(|rest| !rest.ends_with(|c: char| c.is_alphanumeric()))
        });
    if types { ". Workflow scripts are plain JavaScript: TypeScript syntax does not parse" } else { "" }
}
