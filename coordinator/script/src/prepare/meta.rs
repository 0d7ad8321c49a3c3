//! `meta` as a pure literal, read from the syntax tree (C2, C3).

use boa_ast::expression::literal::{LiteralKind, ObjectLiteral, PropertyDefinition, TemplateElement};
use boa_ast::expression::operator::unary::UnaryOp;
use boa_ast::property::PropertyName;
use boa_ast::{Expression, Position, Spanned};
use boa_interner::{Interner, Sym};
use serde_json::{Map, Number, Value};
use skein_common::script::{Meta, PhaseDeclaration};

use super::{Problem, beginning};

const DEPTH_MAX: u32 = 64;
const NODES_MAX: u32 = 20_000;
const RESERVED: [&str; 3] = ["__proto__", "constructor", "prototype"];

/// The fields we know and a warning for each malformed optional one.
pub(super) fn read(init: &Expression, interner: &Interner) -> Result<(Meta, Vec<String>), Problem> {
    let place = init.span().start();
    let mut literal = Literal { interner, nodes: 0 };
    let Expression::ObjectLiteral(object) = init.flatten() else {
        return Err(Problem::meta(format!("meta must be an object literal, not {}", construct(init)), place));
    };
    let mut fields = literal.object(object, 0)?;
    let mut warnings = Vec::new();
    let meta = Meta {
        name: required(&mut fields, "name", place)?,
        description: required(&mut fields, "description", place)?,
        when_to_use: optional_text(&mut fields, "whenToUse", "meta.whenToUse", &mut warnings),
        phases: phases(fields.remove("phases"), &mut warnings),
    };
    Ok((meta, warnings))
}

fn required(fields: &mut Map<String, Value>, key: &str, place: Position) -> Result<String, Problem> {
    match fields.remove(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(Problem::meta(format!("meta.{key} must be a non-empty string"), place)),
    }
}

fn optional_text(
    fields: &mut Map<String, Value>,
    key: &str,
    shown: &str,
    warnings: &mut Vec<String>,
) -> Option<String> {
    match fields.remove(key)? {
        Value::String(text) => Some(text),
        _ => {
            warnings.push(format!("{shown} must be a string; ignored"));
            None
        }
    }
}

fn phases(value: Option<Value>, warnings: &mut Vec<String>) -> Vec<PhaseDeclaration> {
    let entries = match value {
        None => return Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(_) => {
            warnings.push("meta.phases must be an array; ignored".to_owned());
            return Vec::new();
        }
    };
    let mut declared = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let shown = format!("meta.phases[{index}]");
        match entry {
            Value::Object(mut fields) => match fields.remove("title") {
                Some(Value::String(title)) => declared.push(PhaseDeclaration {
                    title,
                    detail: optional_text(&mut fields, "detail", &format!("{shown}.detail"), warnings),
                    model: optional_text(&mut fields, "model", &format!("{shown}.model"), warnings),
                }),
                _ => warnings.push(format!("{shown}.title must be a string; ignored")),
            },
            _ => warnings.push(format!("{shown} must be an object with a title; ignored")),
        }
    }
    declared
}

struct Literal<'a> {
    interner: &'a Interner,
    nodes: u32,
}

impl Literal<'_> {
    fn text(&self, symbol: Sym) -> String {
        self.interner.resolve_expect(symbol).to_string()
    }

    fn value(&mut self, expression: &Expression, depth: u32) -> Result<Value, Problem> {
        let place = expression.span().start();
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            let message = format!("meta is too large: at most {DEPTH_MAX} levels and {NODES_MAX} values");
            return Err(Problem::meta(message, place));
        }
        Ok(match expression {
            Expression::Literal(literal) => match literal.kind() {
                LiteralKind::String(symbol) => Value::String(self.text(*symbol)),
                LiteralKind::Num(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
                LiteralKind::Int(number) => Value::from(*number),
                LiteralKind::Bool(flag) => Value::Bool(*flag),
                LiteralKind::Null => Value::Null,
                _ => return Err(refuse(expression)),
            },
            Expression::Unary(unary) if unary.op() == UnaryOp::Minus => match self.value(unary.target(), depth + 1)? {
                Value::Number(number) => {
                    let negative = -number.as_f64().unwrap_or(0.0);
                    Number::from_f64(negative).map_or(Value::Null, Value::Number)
                }
                _ => return Err(refuse(expression)),
            },
            Expression::TemplateLiteral(template) => {
                let mut text = String::new();
                for element in template.elements() {
                    let TemplateElement::String(part) = element else {
                        return Err(Problem::meta("template interpolation is not allowed in meta", place));
                    };
                    text.push_str(&self.text(*part));
                }
                Value::String(text)
            }
            Expression::Parenthesized(inner) => self.value(inner.expression(), depth + 1)?,
            Expression::ArrayLiteral(array) => {
                let mut items = Vec::new();
                for item in array.as_ref() {
                    match item {
                        Some(item) => items.push(self.value(item, depth + 1)?),
                        None => return Err(Problem::meta("array holes are not allowed in meta", place)),
                    }
                }
                Value::Array(items)
            }
            Expression::ObjectLiteral(object) => Value::Object(self.object(object, depth)?),
            _ => return Err(refuse(expression)),
        })
    }

    fn object(&mut self, object: &ObjectLiteral, depth: u32) -> Result<Map<String, Value>, Problem> {
        let place = object.span().start();
        let mut fields = Map::new();
        for property in object.properties() {
            let (key, value) = match property {
                PropertyDefinition::Property(PropertyName::Literal(key), value) => (key, value),
                // How the parser presents a number as a key; no field of ours has such a name.
                PropertyDefinition::Property(PropertyName::Computed(Expression::Literal(key)), value)
                    if matches!(key.kind(), LiteralKind::Int(_) | LiteralKind::Num(_)) =>
                {
                    self.value(value, depth + 1)?;
                    continue;
                }
                PropertyDefinition::Property(PropertyName::Computed(key), _) => {
                    return Err(Problem::meta("computed keys are not allowed in meta", key.span().start()));
                }
                PropertyDefinition::SpreadObject(spread) => {
                    return Err(Problem::meta("spread is not allowed in meta", spread.span().start()));
                }
                PropertyDefinition::MethodDefinition(_) => {
                    return Err(Problem::meta("methods and accessors are not allowed in meta", place));
                }
                PropertyDefinition::IdentifierReference(name) | PropertyDefinition::CoverInitializedName(name, _) => {
                    let message = "meta must be a pure literal: an identifier is not allowed";
                    return Err(Problem::meta(message, name.span().start()));
                }
            };
            let name = self.text(key.sym());
            if RESERVED.contains(&name.as_str()) {
                let message = format!("reserved key name not allowed in meta: {name}");
                return Err(Problem::meta(message, key.span().start()));
            }
            let value = self.value(value, depth + 1)?;
            fields.insert(name, value);
        }
        Ok(fields)
    }
}

fn refuse(expression: &Expression) -> Problem {
    let message = format!("meta must be a pure literal: {} is not allowed", construct(expression));
    Problem::meta(message, beginning(expression))
}

/// What the author would call it.
fn construct(expression: &Expression) -> &'static str {
    match expression {
        Expression::Identifier(_) | Expression::This(_) => "an identifier",
        Expression::Call(_) | Expression::SuperCall(_) => "a call",
        Expression::New(_) => "new",
        Expression::ImportCall(_) => "import()",
        Expression::ImportMeta(_) => "import.meta",
        Expression::RegExpLiteral(_) => "a regular expression",
        Expression::Literal(literal) if matches!(literal.kind(), LiteralKind::BigInt(_)) => "a bigint",
        Expression::Literal(_) => "this literal",
        Expression::Spread(_) => "spread",
        Expression::ArrowFunction(_)
        | Expression::AsyncArrowFunction(_)
        | Expression::FunctionExpression(_)
        | Expression::AsyncFunctionExpression(_)
        | Expression::GeneratorExpression(_)
        | Expression::AsyncGeneratorExpression(_) => "a function",
        Expression::ClassExpression(_) => "a class",
        Expression::PropertyAccess(_) | Expression::Optional(_) => "a property access",
        Expression::TaggedTemplate(_) => "a tagged template",
        Expression::Await(_) | Expression::Yield(_) => "await",
        Expression::ArrayLiteral(_) => "an array",
        Expression::TemplateLiteral(_) => "a template",
        _ => "an operator",
    }
}
