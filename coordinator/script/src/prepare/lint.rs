//! What the syntax tree shows of places that must not run (C5, C13) or will throw (C8).

use std::ops::ControlFlow;

use boa_ast::expression::access::{PropertyAccessField, SimplePropertyAccess};
use boa_ast::expression::literal::LiteralKind;
use boa_ast::expression::{Call, ImportCall, ImportMeta, New, Optional, OptionalOperationKind};
use boa_ast::function::FunctionBody;
use boa_ast::pattern::{ObjectPattern, ObjectPatternElement};
use boa_ast::visitor::{VisitWith, Visitor};
use boa_ast::{Expression, Position, Spanned};
use boa_interner::{Interner, Sym};
use skein_common::script::Finding;

use super::{Place, Problem, beginning, redeclared};

const FINDINGS_MAX: usize = 100;
const ADVICE: &str = "throws in a workflow script, because a resumed run must repeat it: pass the value in `args`";
const NESTED_WITH_REST: &str = "an object pattern with a nested pattern and ...rest is not supported: \
     take the rest first, then destructure the inner value";

/// Refuses or collects findings, in source order.
pub(super) fn look(body: &FunctionBody, interner: &Interner) -> Result<Vec<Finding>, Problem> {
    let mut lint = Lint { interner, findings: Vec::new() };
    match lint.visit_function_body(body) {
        ControlFlow::Break(problem) => Err(problem),
        ControlFlow::Continue(()) => {
            lint.findings.sort_by_key(|finding| (finding.line, finding.column));
            lint.findings.truncate(FINDINGS_MAX);
            Ok(lint.findings)
        }
    }
}

struct Lint<'a> {
    interner: &'a Interner,
    findings: Vec<Finding>,
}

impl Lint<'_> {
    fn find(&mut self, what: &str, alternative: &str, position: Position) {
        let Place { line, column } = position.into();
        self.findings.push(Finding { line, column, message: format!("{what} {ADVICE}, or use {alternative}") });
    }

    fn is_name(&self, expression: &Expression, name: &str) -> bool {
        matches!(expression.flatten(), Expression::Identifier(identifier) if self.text(identifier.sym()) == name)
    }

    fn text(&self, symbol: Sym) -> String {
        self.interner.resolve_expect(symbol).to_string()
    }

    fn field(&self, field: &PropertyAccessField) -> Option<String> {
        match field {
            PropertyAccessField::Const(name) => Some(self.text(name.sym())),
            PropertyAccessField::Expr(expression) => match expression.flatten() {
                Expression::Literal(literal) => match literal.kind() {
                    LiteralKind::String(symbol) => Some(self.text(*symbol)),
                    _ => None,
                },
                _ => None,
            },
        }
    }

    fn access(&mut self, target: &Expression, field: &PropertyAccessField) {
        let position = beginning(target);
        match self.field(field).as_deref() {
            Some("now") if self.is_name(target, "Date") => self.find("Date.now()", "now()", position),
            Some("random") if self.is_name(target, "Math") => self.find("Math.random()", "random()", position),
            _ => {}
        }
    }
}

impl<'a> Visitor<'a> for Lint<'_> {
    type BreakTy = Problem;

    fn visit_function_body(&mut self, node: &'a FunctionBody) -> ControlFlow<Problem> {
        match redeclared::check(node, self.interner) {
            Ok(()) => node.visit_with(self),
            Err(problem) => ControlFlow::Break(problem),
        }
    }

    fn visit_import_call(&mut self, node: &'a ImportCall) -> ControlFlow<Problem> {
        let what = "import() is not available in workflow scripts";
        ControlFlow::Break(Problem::syntax(what, node.span().start()))
    }

    fn visit_import_meta(&mut self, node: &'a ImportMeta) -> ControlFlow<Problem> {
        let what = "import.meta is not available in workflow scripts";
        ControlFlow::Break(Problem::syntax(what, node.span().start()))
    }

    fn visit_object_pattern(&mut self, node: &'a ObjectPattern) -> ControlFlow<Problem> {
        use ObjectPatternElement::{AssignmentRestPropertyAccess, Pattern, RestProperty};
        let elements = node.bindings();
        let rest = elements.iter().any(|e| matches!(e, RestProperty { .. } | AssignmentRestPropertyAccess { .. }));
        if rest && elements.iter().any(|e| matches!(e, Pattern { .. })) {
            return ControlFlow::Break(Problem::syntax(NESTED_WITH_REST, node.span().start()));
        }
        node.visit_with(self)
    }

    fn visit_simple_property_access(&mut self, node: &'a SimplePropertyAccess) -> ControlFlow<Problem> {
        self.access(node.target(), node.field());
        node.visit_with(self)
    }

    fn visit_optional(&mut self, node: &'a Optional) -> ControlFlow<Problem> {
        match node.chain().first().map(|first| first.kind()) {
            Some(OptionalOperationKind::SimplePropertyAccess { field }) => self.access(node.target(), field),
            Some(OptionalOperationKind::Call { .. }) if self.is_name(node.target(), "Date") => {
                self.find("Date()", "now()", beginning(node.target()));
            }
            _ => {}
        }
        node.visit_with(self)
    }

    fn visit_new(&mut self, node: &'a New) -> ControlFlow<Problem> {
        if node.arguments().is_empty() && self.is_name(node.constructor(), "Date") {
            self.find("new Date()", "new Date(now())", node.span().start());
        }
        // Not by the inner call: `new Date(0)` is no `Date(0)`.
        self.visit_expression(node.constructor())?;
        node.arguments().iter().try_for_each(|argument| self.visit_expression(argument))
    }

    fn visit_call(&mut self, node: &'a Call) -> ControlFlow<Problem> {
        if self.is_name(node.function(), "Date") {
            self.find("Date()", "now()", beginning(node.function()));
        }
        node.visit_with(self)
    }
}
