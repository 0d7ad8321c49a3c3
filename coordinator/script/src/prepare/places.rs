//! Places that the engine gets wrong, put right from the syntax tree (C6).
//!
//! The engine knows the places of calls, member accesses and throws. Anything else, such as reading a name, it places
//! at the beginning of the function, which for the body is inside `meta`.

use std::ops::ControlFlow;

use boa_ast::expression::Identifier;
use boa_ast::expression::access::PropertyAccessField;
use boa_ast::property::PropertyName;
use boa_ast::visitor::{VisitWith, Visitor};
use boa_ast::{Spanned, scope::Scope};
use boa_interner::{Interner, Sym};
use boa_parser::{Parser, Source};

use super::wrap::HEAD;
use super::{Lines, Place};
use crate::realm::Frame;

/// The program that is evaluated, and the author's text, which has the same lines.
#[derive(Debug)]
pub(crate) struct Wrapped {
    /// One expression statement: the call of an async arrow around the author's body.
    pub(crate) program: String,
    pub(crate) lines: Lines,
}

impl Wrapped {
    /// Removes what is not the author's and finds the name that an error is about.
    pub(crate) fn correct(&self, frames: &mut Vec<Frame>, message: &str) {
        frames.retain(|frame| frame.place.is_none_or(|place| place.line <= self.lines.count()));
        let Some(first) = frames.first_mut() else { return };
        if let (Some(from), Some(name)) = (first.place, missing_name(message)) {
            first.place = self.find(name, from).or(first.place);
        }
        let head = self.head();
        for frame in frames {
            frame.place = frame.place.filter(|place| *place != head);
        }
    }

    /// Where the engine places the whole body: at its brace.
    fn head(&self) -> Place {
        let offset = self.program.find(HEAD).unwrap_or(0);
        let Place { line, column } = self.lines.place(self.lines.text().floor_char_boundary(offset));
        Place { line, column: column + HEAD.len() as u32 - 1 }
    }

    /// The first use of a name at or after a place. The program has been parsed before, so it parses again.
    fn find(&self, name: &str, from: Place) -> Option<Place> {
        let mut interner = Interner::new();
        let mut parser = Parser::new(Source::from_bytes(&self.program));
        parser.set_strict();
        let script = parser.parse_script(&Scope::new_global(), &mut interner).ok()?;
        let mut search = Search { symbol: interner.get(name)?, from, found: None };
        let _ = script.statements().visit_with(&mut search);
        search.found
    }
}

/// The name in the engine's two sentences about names that are not there.
fn missing_name(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("ReferenceError: ")?;
    rest.strip_suffix(" is not defined").or_else(|| rest.split('`').nth(1))
}

struct Search {
    symbol: Sym,
    from: Place,
    found: Option<Place>,
}

impl<'a> Visitor<'a> for Search {
    type BreakTy = ();

    fn visit_identifier(&mut self, node: &'a Identifier) -> ControlFlow<()> {
        let place = Place::from(node.span().start());
        let is_after = (place.line, place.column) >= (self.from.line, self.from.column);
        if node.sym() != self.symbol || !is_after {
            return ControlFlow::Continue(());
        }
        self.found = Some(place);
        ControlFlow::Break(())
    }

    fn visit_property_access_field(&mut self, node: &'a PropertyAccessField) -> ControlFlow<()> {
        match node {
            PropertyAccessField::Const(_) => ControlFlow::Continue(()),
            PropertyAccessField::Expr(expression) => self.visit_expression(expression),
        }
    }

    fn visit_property_name(&mut self, node: &'a PropertyName) -> ControlFlow<()> {
        match node {
            PropertyName::Literal(_) => ControlFlow::Continue(()),
            PropertyName::Computed(expression) => self.visit_expression(expression),
        }
    }
}
