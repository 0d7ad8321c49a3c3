//! Names declared twice in one function, which the engine lets pass at the top of a function's body.

use std::collections::HashSet;
use std::ops::ControlFlow;

use boa_ast::expression::Identifier;
use boa_ast::function::FunctionBody;
use boa_ast::operations::{bound_names, var_declared_names};
use boa_ast::visitor::{VisitWith, Visitor};
use boa_ast::{Declaration, Spanned, StatementListItem};
use boa_interner::{Interner, Sym};
use skein_common::script::ScriptErrorKind;

use super::{Place, Problem};

/// The first `let`, `const` or `class` whose name the body has already declared, or declares as a `var` too.
pub(super) fn check(body: &FunctionBody, interner: &Interner) -> Result<(), Problem> {
    let vars = var_declared_names(body);
    let mut seen = HashSet::new();
    for item in body.statements() {
        let StatementListItem::Declaration(declaration) = item else { continue };
        let names = match &**declaration {
            Declaration::Lexical(lexical) => bound_names(lexical),
            Declaration::ClassDeclaration(class) => bound_names(&**class),
            _ => continue,
        };
        for name in names {
            if vars.contains(&name) || !seen.insert(name) {
                let message = format!("SyntaxError: '{}' has already been declared", interner.resolve_expect(name));
                return Err(Problem { kind: ScriptErrorKind::Syntax, message, place: place_of(name, declaration) });
            }
        }
    }
    Ok(())
}

fn place_of(name: Sym, declaration: &Declaration) -> Option<Place> {
    match declaration.visit_with(&mut First(name)) {
        ControlFlow::Break(place) => Some(place),
        ControlFlow::Continue(()) => None,
    }
}

struct First(Sym);

impl<'a> Visitor<'a> for First {
    type BreakTy = Place;

    fn visit_identifier(&mut self, node: &'a Identifier) -> ControlFlow<Place> {
        if node.sym() == self.0 { ControlFlow::Break(node.span().start().into()) } else { ControlFlow::Continue(()) }
    }
}
