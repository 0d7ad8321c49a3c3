//! JSON schemas: checking a value with the usual coercions (C27), and inventing the smallest value that fits.

use serde_json::{Map, Number, Value};
use std::borrow::Cow;

/// Deeper schemas, or ones that refer to themselves, are not followed further.
const DEPTH_MAX: usize = 64;

/// A schema that was understood.
#[derive(Debug)]
pub(crate) struct Schema {
    document: Value,
    validator: jsonschema::Validator,
}

/// Why a schema or a value is no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SchemaError {
    #[error("the schema is not JSON: {0}")]
    NotJson(String),
    #[error("the schema is invalid: {0}")]
    Invalid(String),
    #[error("{0}")]
    DoesNotFit(String),
}

impl Schema {
    /// Reads a schema; draft 2020-12 unless it names another. References to other documents are refused.
    pub(crate) fn parse(text: &str) -> Result<Schema, SchemaError> {
        let document: Value = serde_json::from_str(text).map_err(|error| SchemaError::NotJson(error.to_string()))?;
        let validator = jsonschema::options().offline().build(&document);
        let validator = validator.map_err(|error| SchemaError::Invalid(error.to_string()))?;
        Ok(Schema { document, validator })
    }

    /// The value as it is when it fits, else coerced when that fits; `Cow::Borrowed` tells which.
    pub(crate) fn fit<'v>(&self, value: &'v Value) -> Result<Cow<'v, Value>, SchemaError> {
        let Err(reason) = self.validator.validate(value) else { return Ok(Cow::Borrowed(value)) };
        let mut coerced = value.clone();
        self.coerce(&self.document, &mut coerced, 0);
        if self.validator.is_valid(&coerced) {
            return Ok(Cow::Owned(coerced));
        }
        let place = reason.instance_path().to_string();
        let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
        Err(SchemaError::DoesNotFit(format!("{place}{reason}")))
    }

    /// A smallest value that fits, as far as types, required keys, enumerations and lower bounds tell.
    pub(crate) fn smallest(&self) -> Result<Value, SchemaError> {
        let value = self.invent(&self.document, 0);
        let fitted = self.fit(&value);
        fitted
            .map(Cow::into_owned)
            .map_err(|error| SchemaError::DoesNotFit(format!("no value could be invented for the schema: {error}")))
    }

    /// Follows local references.
    fn resolve<'s>(&'s self, mut schema: &'s Value) -> &'s Value {
        for _ in 0..DEPTH_MAX {
            let reference = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
            match reference.and_then(|pointer| self.document.pointer(pointer)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    fn coerce(&self, schema: &Value, value: &mut Value, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        let schema = self.resolve(schema);
        if let Some(wanted) = types(schema) {
            coerce_scalar(&wanted, value);
        }
        for part in subschemas(schema, "allOf") {
            self.coerce(part, value, depth + 1);
        }
        for key in ["anyOf", "oneOf"] {
            let branches = subschemas(schema, key);
            // The first branch that the value can be made to look like.
            let fitting = branches.iter().find_map(|branch| {
                let mut candidate = value.clone();
                self.coerce(branch, &mut candidate, depth + 1);
                self.looks_like(branch, &candidate).then_some(candidate)
            });
            if let Some(candidate) = fitting {
                *value = candidate;
            }
        }
        match value {
            Value::Object(fields) => {
                for (key, field) in fields {
                    let declared = schema.get("properties").and_then(|properties| properties.get(key));
                    let other = schema.get("additionalProperties").filter(|other| other.is_object());
                    if let Some(part) = declared.or(other) {
                        self.coerce(part, field, depth + 1);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let Some(part) = item_schema(schema, index) {
                        self.coerce(part, item, depth + 1);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Whether type and constants agree, without a look inside.
    fn looks_like(&self, schema: &Value, value: &Value) -> bool {
        let schema = self.resolve(schema);
        let type_agrees = types(schema).is_none_or(|wanted| wanted.iter().any(|name| is_type(name, value)));
        let constant_agrees = schema.get("const").is_none_or(|constant| constant == value);
        let listed = schema.get("enum").and_then(Value::as_array);
        type_agrees && constant_agrees && listed.is_none_or(|values| values.contains(value))
    }

    fn invent(&self, schema: &Value, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        let schema = &self.merged(schema, depth);
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|values| values.first()) {
            return first.clone();
        }
        match types(schema).and_then(|names| names.first().copied()).unwrap_or_else(|| implied_type(schema)) {
            "object" => self.invent_object(schema, depth),
            "array" => self.invent_array(schema, depth),
            "string" => Value::String(invent_string(schema)),
            "integer" => invent_number(schema, true),
            "number" => invent_number(schema, false),
            "boolean" => Value::Bool(false),
            _ => Value::Null,
        }
    }

    /// The schema with its references followed, all of `allOf` and the first of `anyOf` and `oneOf` laid into it.
    fn merged(&self, schema: &Value, depth: usize) -> Value {
        let resolved = self.resolve(schema);
        let mut merged = resolved.clone();
        let first = |key| subschemas(resolved, key).into_iter().take(1);
        let parts = subschemas(resolved, "allOf").into_iter().chain(first("anyOf")).chain(first("oneOf"));
        for part in parts {
            if depth < DEPTH_MAX {
                lay_into(&mut merged, &self.merged(part, depth + 8));
            }
        }
        merged
    }

    fn invent_object(&self, schema: &Value, depth: usize) -> Value {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let mut fields = Map::new();
        for key in required.filter_map(Value::as_str) {
            let declared = schema.get("properties").and_then(|properties| properties.get(key));
            let part = declared.or_else(|| schema.get("additionalProperties"));
            let value = part.map_or(Value::Null, |part| self.invent(part, depth + 1));
            fields.insert(key.to_owned(), value);
        }
        Value::Object(fields)
    }

    fn invent_array(&self, schema: &Value, depth: usize) -> Value {
        const ITEMS_MAX: u64 = 1000;
        let wanted = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(ITEMS_MAX);
        let wanted = usize::try_from(wanted).unwrap_or_default();
        let item = |index| item_schema(schema, index).map_or(Value::Null, |part| self.invent(part, depth + 1));
        Value::Array((0..wanted).map(item).collect())
    }
}

fn subschemas<'s>(schema: &'s Value, key: &str) -> Vec<&'s Value> {
    schema.get(key).and_then(Value::as_array).map(|parts| parts.iter().collect()).unwrap_or_default()
}

fn item_schema(schema: &Value, index: usize) -> Option<&Value> {
    let tuple = |key| schema.get(key).and_then(Value::as_array).and_then(|parts| parts.get(index));
    tuple("prefixItems").or_else(|| tuple("items")).or_else(|| schema.get("items").filter(|items| items.is_object()))
}

fn types(schema: &Value) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => Some(names.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

fn implied_type(schema: &Value) -> &'static str {
    let has = |keys: &[&str]| keys.iter().any(|key| schema.get(key).is_some());
    if has(&["properties", "required", "additionalProperties"]) {
        "object"
    } else if has(&["items", "prefixItems", "minItems"]) {
        "array"
    } else if has(&["minLength", "pattern", "format"]) {
        "string"
    } else if has(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) {
        "number"
    } else {
        "null"
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    }
}

/// Turns a scalar into one of the wanted types, if it is none of them.
fn coerce_scalar(wanted: &[&str], value: &mut Value) {
    if wanted.iter().any(|name| is_type(name, value)) {
        return;
    }
    let coerced = wanted.iter().find_map(|name| {
        let candidate = scalar_as(name, value)?;
        is_type(name, &candidate).then_some(candidate)
    });
    if let Some(coerced) = coerced {
        *value = coerced;
    }
}

fn scalar_as(name: &str, value: &Value) -> Option<Value> {
    match (name, value) {
        ("number" | "integer", Value::String(text)) => {
            serde_json::from_str::<Number>(text.trim()).ok().map(Value::Number)
        }
        ("number" | "integer", Value::Bool(truth)) => Some(Value::from(u8::from(*truth))),
        ("number" | "integer", Value::Null) => Some(Value::from(0)),
        ("string", Value::Number(number)) => Some(Value::String(number.to_string())),
        ("string", Value::Bool(truth)) => Some(Value::String(truth.to_string())),
        ("string", Value::Null) => Some(Value::String(String::new())),
        ("boolean", Value::String(text)) => text.parse().ok().map(Value::Bool),
        ("boolean", Value::Null) => Some(Value::Bool(false)),
        ("boolean", Value::Number(number)) if number.as_f64() == Some(0.0) => Some(Value::Bool(false)),
        ("boolean", Value::Number(number)) if number.as_f64() == Some(1.0) => Some(Value::Bool(true)),
        ("null", Value::String(text)) if text.is_empty() => Some(Value::Null),
        ("null", Value::Number(number)) if number.as_f64() == Some(0.0) => Some(Value::Null),
        ("null", Value::Bool(false)) => Some(Value::Null),
        _ => None,
    }
}

/// Adds keys of one schema to another: properties and required keys together, the rest where it is missing.
fn lay_into(target: &mut Value, addition: &Value) {
    let (Value::Object(target), Value::Object(addition)) = (target, addition) else { return };
    for (key, value) in addition {
        match (target.get_mut(key), value) {
            (Some(Value::Object(there)), Value::Object(more)) if key == "properties" => {
                for (name, property) in more {
                    there.entry(name).or_insert_with(|| property.clone());
                }
            }
            (Some(Value::Array(there)), Value::Array(more)) if key == "required" => there.extend(more.iter().cloned()),
            (Some(_), _) => {}
            (None, value) => {
                target.insert(key.clone(), value.clone());
            }
        }
    }
}

fn invent_string(schema: &Value) -> String {
    const CHARS_MAX: u64 = 100_000;
    let known = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("date") => "2026-01-01",
        Some("time") => "00:00:00Z",
        Some("email") => "a@example.com",
        Some("uri" | "url" | "iri") => "https://example.com/",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        _ => "",
    };
    let wanted = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0).min(CHARS_MAX);
    let missing = usize::try_from(wanted).unwrap_or_default().saturating_sub(known.len());
    format!("{known}{}", "x".repeat(missing))
}

fn invent_number(schema: &Value, whole: bool) -> Value {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let step = bound("multipleOf").filter(|step| *step > 0.0);
    let up =
        |number: f64| step.map_or(if whole { number.ceil() } else { number }, |step| (number / step).ceil() * step);
    let mut number = up(bound("minimum").unwrap_or(0.0).max(bound("exclusiveMinimum").unwrap_or(f64::MIN)));
    if bound("exclusiveMinimum").is_some_and(|limit| number <= limit) {
        number = up(number + step.unwrap_or(1.0));
    }
    let highest = [bound("maximum"), bound("exclusiveMaximum").map(|limit| limit - step.unwrap_or(1.0))];
    if bound("minimum").or(bound("exclusiveMinimum")).is_none() {
        number = highest.into_iter().flatten().fold(number, f64::min);
        number = if whole { number.floor() } else { number };
    }
    whole_number(number).unwrap_or_else(|| Value::from(number))
}

/// As a JSON number without a fraction, when it is one.
fn whole_number(number: f64) -> Option<Value> {
    format!("{number:.0}").parse::<i64>().ok().filter(|_| number.fract() == 0.0).map(Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(value: &Value) -> Schema {
        Schema::parse(&value.to_string()).expect("is a schema")
    }

    fn fitted(of: &Value, value: &Value) -> Result<Value, SchemaError> {
        schema(of).fit(value).map(Cow::into_owned)
    }

    #[test]
    fn c27_values_are_coerced_as_validators_commonly_do() {
        let of = json!({"type": "object", "properties": {"n": {"type": "integer"}, "b": {"type": "boolean"},
            "s": {"type": "string"}, "l": {"type": "array", "items": {"type": "number"}}}});
        let value = json!({"n": "3", "b": "true", "s": 7, "l": ["1.5", 2]});
        assert_eq!(fitted(&of, &value), Ok(json!({"n": 3, "b": true, "s": "7", "l": [1.5, 2]})));
    }

    #[test]
    fn c27_what_fits_is_left_alone() {
        let of = json!({"anyOf": [{"type": "integer"}, {"type": "string"}]});
        assert_eq!(fitted(&of, &json!("3")), Ok(json!("3")));
    }

    #[test]
    fn c27_coercion_reaches_through_references_and_alternatives() {
        let of = json!({"$defs": {"n": {"type": "number"}}, "type": "object", "required": ["a"],
            "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"oneOf": [{"type": "null"}, {"type": "integer"}]}}});
        assert_eq!(fitted(&of, &json!({"a": "2", "b": "4"})), Ok(json!({"a": 2, "b": 4})));
    }

    #[test]
    fn c27_what_cannot_be_coerced_is_refused_with_the_place() {
        let of = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        let refusal = fitted(&of, &json!({"n": "three"})).expect_err("refused").to_string();
        assert!(refusal.starts_with("/n: ") && refusal.contains("three"), "{refusal}");
    }

    #[test]
    fn c27_draft_07_and_2020_12_both_work_and_two_schemas_do_not_share_an_id() {
        for draft in ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"] {
            let of = json!({"$schema": draft, "$id": "https://example.com/same", "type": "string"});
            assert!(fitted(&of, &json!("x")).is_ok(), "{draft}");
            let other = json!({"$schema": draft, "$id": "https://example.com/same", "type": "object"});
            assert!(fitted(&other, &json!("x")).is_err(), "{draft}");
        }
    }

    #[test]
    fn c27_a_remote_reference_is_refused() {
        let text = json!({"$ref": "https://example.com/other.json"}).to_string();
        assert!(matches!(Schema::parse(&text), Err(SchemaError::Invalid(_))));
    }

    #[test]
    fn a01_the_smallest_instance_fits() {
        let cases = [
            (
                json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "string", "minLength": 3},
                "b": {"type": "array", "minItems": 2, "items": {"type": "integer", "minimum": 5}}}}),
                json!({"a": "xxx", "b": [5, 5]}),
            ),
            (json!({"enum": ["high", "low"]}), json!("high")),
            (json!({"const": 4}), json!(4)),
            (json!({"type": ["null", "string"]}), json!(null)),
            (json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]}), json!(false)),
            (
                json!({"allOf": [{"required": ["x"]}, {"properties": {"x": {"type": "number", "exclusiveMinimum": 1}}}]}),
                json!({"x": 2}),
            ),
            (
                json!({"$defs": {"p": {"type": "object", "required": ["q"], "properties": {"q": {"type": "integer"}}}},
                "$ref": "#/$defs/p"}),
                json!({"q": 0}),
            ),
            (json!({"type": "integer", "maximum": -2}), json!(-2)),
            (json!({"type": "number", "multipleOf": 0.5, "minimum": 0.7}), json!(1)),
        ];
        for (of, expected) in cases {
            assert_eq!(schema(&of).smallest(), Ok(expected), "{of}");
        }
    }

    #[test]
    fn a01_a_schema_nothing_fits_is_said_to_be_so() {
        let impossible = schema(&json!({"type": "string", "pattern": "^[a-f]{40}$"}));
        assert!(impossible.smallest().expect_err("no value").to_string().contains("no value could be invented"));
        let recursive = schema(&json!({"type": "object", "required": ["me"], "properties": {"me": {"$ref": "#"}}}));
        assert!(recursive.smallest().is_err());
    }
}
