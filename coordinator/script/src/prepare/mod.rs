//! The static look at a script (C1-C6, C8, C13): reads `meta` off the syntax tree, refuses what must not run, and
//! wraps the body so that every line and column stays the author's.

mod lines;
mod lint;
mod meta;
mod nesting;
mod places;
mod redeclared;
mod syntax;
mod trivia;
mod wrap;

use boa_ast::expression::access::PropertyAccess;
use boa_ast::{Expression, Position, Spanned};
use boa_interner::Interner;
use boa_parser::{Parser, Source};
use skein_common::script::{Loaded, ScriptError, ScriptErrorKind};

pub(crate) use lines::Lines;
pub(crate) use places::Wrapped;

/// A script that parses, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) loaded: Loaded,
    pub(crate) source: Wrapped,
}

/// Something wrong at a place of the author's file.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) kind: ScriptErrorKind,
    pub(crate) message: String,
    pub(crate) place: Option<Place>,
}

/// Line and column, both from 1, columns in code points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl From<Position> for Place {
    fn from(position: Position) -> Self {
        Self { line: position.line_number(), column: position.column_number() }
    }
}

impl Problem {
    fn syntax(message: impl Into<String>, place: impl Into<Place>) -> Self {
        Self { kind: ScriptErrorKind::Syntax, message: message.into(), place: Some(place.into()) }
    }

    fn meta(message: impl Into<String>, place: impl Into<Place>) -> Self {
        Self { kind: ScriptErrorKind::Meta, message: message.into(), place: Some(place.into()) }
    }
}

/// Where an expression begins; the parser places a call at its parenthesis.
fn beginning(expression: &Expression) -> Position {
    match expression {
        Expression::Call(call) => beginning(call.function()),
        Expression::PropertyAccess(PropertyAccess::Simple(access)) => beginning(access.target()),
        Expression::Optional(optional) => beginning(optional.target()),
        Expression::TaggedTemplate(template) => beginning(template.tag()),
        other => other.span().start(),
    }
}

/// Parses and checks; nothing of the script is executed. Deep nesting can overflow the native stack.
fn prepare(source: &str) -> Result<Prepared, ScriptError> {
    let lines = Lines::new(plain_start(source));
    match prepare_text(&lines) {
        Ok((loaded, program)) => Ok(Prepared { loaded, source: Wrapped { program, lines } }),
        Err(problem) => Err(lines.error(problem)),
    }
}

/// The same for a parser that may have a mistake of its own.
pub(crate) fn prepare_untrusted(source: &str) -> Result<Prepared, ScriptError> {
    let panicked = |_| Err(Lines::bare(ScriptErrorKind::Engine, "the interpreter failed: the parser panicked"));
    std::panic::catch_unwind(|| prepare(source)).unwrap_or_else(panicked)
}

/// Without a byte order mark, and with a hash-bang line turned into a comment of the same width.
fn plain_start(source: &str) -> String {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    match source.strip_prefix("#!") {
        Some(rest) => format!("//{rest}"),
        None => source.to_owned(),
    }
}

fn prepare_text(lines: &Lines) -> Result<(Loaded, String), Problem> {
    let start = wrap::find_meta(lines)?;
    if let Some(offset) = nesting::too_deep(lines.text()) {
        let message = format!("brackets are nested deeper than the cap of {}", nesting::NESTING_MAX);
        return Err(Problem { kind: ScriptErrorKind::Limit, message, place: Some(lines.place(offset)) });
    }
    let mut body_text = lines.text().to_owned();
    body_text.replace_range(start..start + "export".len(), "      ");

    let mut interner = Interner::new();
    let mut parser = Parser::new(Source::from_bytes(&body_text));
    parser.set_strict();
    let body =
        parser.parse_function_body(&mut interner, false, true).map_err(|error| syntax::explain(&error, lines))?;

    let declaration = wrap::meta_declaration(&body, &interner, lines.place(start))?;
    let (meta, warnings) = meta::read(declaration, &interner)?;
    let findings = lint::look(&body, &interner)?;
    let program = wrap::wrap(lines, start, declaration)?;
    Ok((Loaded { meta, warnings, findings }, program))
}

#[cfg(test)]
mod tests;
