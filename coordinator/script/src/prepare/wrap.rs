//! From `export const meta = {…}` and a body to one async arrow call with the same lines and columns.

use boa_ast::declaration::{Binding, LexicalDeclaration};
use boa_ast::function::FunctionBody;
use boa_ast::{Declaration, Expression, Spanned, Statement, StatementListItem};
use boa_interner::Interner;
use boa_parser::{Parser, Source};

use super::lines::{Lines, is_line_terminator};
use super::{Place, Problem, syntax, trivia};

pub(super) const HEAD: &str = "(async()=>{";
const TAIL: &str = "\n})()";
const MUST_BE_FIRST: &str =
    "meta must be the first statement of the script: `export const meta = { name: '…', description: '…' }`";

/// Where `export` stands, when the first tokens are `export const meta`.
pub(super) fn find_meta(lines: &Lines) -> Result<usize, Problem> {
    let text = lines.text();
    let start = trivia::skip(text, 0);
    let after = ["export", "const", "meta"]
        .into_iter()
        .try_fold(start, |at, word| trivia::word(text, trivia::skip(text, at), word));
    match after {
        Some(_) => Ok(start),
        None => Err(Problem::meta(MUST_BE_FIRST, lines.place(start))),
    }
}

/// The initialiser of the first statement, which must declare `meta` alone.
pub(super) fn meta_declaration<'a>(
    body: &'a FunctionBody,
    interner: &Interner,
    place: Place,
) -> Result<&'a Expression, Problem> {
    let refuse = |message: &str| Err(Problem::meta(message, place));
    let Some(StatementListItem::Declaration(declaration)) = body.statements().first() else {
        return refuse(MUST_BE_FIRST);
    };
    let Declaration::Lexical(LexicalDeclaration::Const(list)) = &**declaration else { return refuse(MUST_BE_FIRST) };
    let [variable] = list.as_ref() else { return refuse("meta must be declared alone") };
    match (variable.binding(), variable.init()) {
        (Binding::Identifier(name), Some(init)) if interner.resolve_expect(name.sym()).to_string() == "meta" => {
            Ok(init)
        }
        _ => refuse(MUST_BE_FIRST),
    }
}

/// Puts the head of the arrow where the declaration stood and the tail on a line after the end.
pub(super) fn wrap(lines: &Lines, start: usize, init: &Expression) -> Result<String, Problem> {
    let end = lines.offset(init.span().end().into());
    let mut program = String::with_capacity(lines.text().len() + HEAD.len() + TAIL.len());
    program.push_str(&lines.text()[..start]);
    program.push_str(&blank_with_head(&lines.text()[start..end]));
    program.push_str(&lines.text()[end..]);
    program.push_str(TAIL);
    if is_one_arrow_call(&program, lines)? {
        Ok(program)
    } else {
        Err(Problem::syntax("the script closes more blocks than it opens", lines.end()))
    }
}

/// The declaration as blanks with its line breaks kept, and the head in the first line that has room for it.
fn blank_with_head(declaration: &str) -> String {
    let mut blank: Vec<char> = declaration.chars().map(|c| if is_line_terminator(c) { c } else { ' ' }).collect();
    let room = blank.windows(HEAD.len()).position(|window| window.iter().all(|c| *c == ' '));
    match room {
        Some(at) => blank.splice(at..at + HEAD.len(), HEAD.chars()).for_each(drop),
        // Every line is shorter than the head: the columns of one line move, the lines do not.
        None => blank.splice(..0, HEAD.chars()).for_each(drop),
    }
    blank.into_iter().collect()
}

/// Parsing the body alone stops at a stray `}`, so the text around it is checked as a whole.
fn is_one_arrow_call(program: &str, lines: &Lines) -> Result<bool, Problem> {
    let mut interner = Interner::new();
    let mut parser = Parser::new(Source::from_bytes(program));
    parser.set_strict();
    let script = parser
        .parse_script(&boa_ast::scope::Scope::new_global(), &mut interner)
        .map_err(|error| syntax::explain(&error, lines))?;
    let [StatementListItem::Statement(statement)] = &**script.statements() else { return Ok(false) };
    let Statement::Expression(Expression::Call(call)) = &**statement else { return Ok(false) };
    Ok(matches!(call.function().flatten(), Expression::AsyncArrowFunction(_)))
}
