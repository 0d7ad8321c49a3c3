//! Schema: whether an agent's schema can be understood, and whether any value can fit it (C22, C27). Decided before the
//! agent starts, because an agent that cannot succeed should cost nothing.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Deeper places are not looked at; options are less deep than that anyway (C11).
const DEPTH_MAX: usize = 100;

/// Keywords of drafts 7 and 2020-12. Another one is a slip that would silently check nothing.
const KEYWORDS: [&str; 62] = [
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$ref",
    "$schema",
    "$vocabulary",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "description",
    "else",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "readOnly",
    "required",
    "then",
    "title",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "writeOnly",
    "$recursiveRef",
    "$recursiveAnchor",
];
/// Keywords whose value is a schema, a list of schemas, or schemas by name.
const ONE: [&str; 12] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const LIST: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
const NAMED: [&str; 6] =
    ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties", "dependencies"];
/// A lower bound and the upper bound that must not be below it.
const BOUNDS: [(&str, &str); 5] = [
    ("minimum", "maximum"),
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("minContains", "maxContains"),
];

/// Schemas that were found good, so that a thousand calls with one schema look at it once. Only saves time: what is
/// accepted does not depend on it.
#[derive(Debug, Clone, Default)]
pub struct Accepted(BTreeSet<String>);

/// Beyond it the memory starts anew: a script that makes up schemas gains nothing.
const ACCEPTED_MAX: usize = 64;

impl Accepted {
    /// The schema's text, or why no agent should start with it.
    pub fn check(&mut self, schema: &Value) -> Result<String, String> {
        let text = schema.to_string();
        if self.0.contains(&text) {
            return Ok(text);
        }
        if let Some(reason) = refusal(schema) {
            return Err(reason);
        }
        if self.0.len() >= ACCEPTED_MAX {
            self.0.clear();
        }
        self.0.insert(text.clone());
        Ok(text)
    }
}

/// Why no agent should start with this schema: names the key and the reason.
#[must_use]
fn refusal(schema: &Value) -> Option<String> {
    let bad_place = find_bad(schema, "", 0);
    let understood = || match jsonschema::options().offline().build(schema) {
        Ok(_) => None,
        Err(error) => Some(at(&error.instance_path().to_string(), &error.to_string())),
    };
    bad_place.or_else(understood).or_else(|| impossible(schema, "", 0))
}

/// A place for people: `properties/n: …`, the root without one.
fn at(pointer: &str, reason: &str) -> String {
    match pointer.trim_start_matches('/') {
        "" => reason.to_owned(),
        place => format!("{place}: {reason}"),
    }
}

/// The first unknown keyword or remote reference.
fn find_bad(schema: &Value, pointer: &str, depth: usize) -> Option<String> {
    let Value::Object(keywords) = schema else { return None };
    if depth > DEPTH_MAX {
        return Some(at(pointer, "the schema is nested too deeply"));
    }
    for (key, value) in keywords {
        if !KEYWORDS.contains(&key.as_str()) {
            return Some(at(pointer, &format!("unknown keyword `{}`", key.chars().take(80).collect::<String>())));
        }
        let remote = |text: &&str| key == "$ref" && !text.starts_with('#');
        if let Some(reference) = value.as_str().filter(remote) {
            return Some(at(pointer, &format!("$ref to `{}` leads outside of the schema", clip(reference))));
        }
    }
    subschemas(keywords).into_iter().find_map(|(place, part)| find_bad(part, &format!("{pointer}/{place}"), depth + 1))
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

/// All schemas directly inside, with their places.
fn subschemas(keywords: &Map<String, Value>) -> Vec<(String, &Value)> {
    let mut parts = Vec::new();
    for (key, value) in keywords {
        match value {
            Value::Object(_) if ONE.contains(&key.as_str()) => parts.push((key.clone(), value)),
            Value::Array(list) if LIST.contains(&key.as_str()) => {
                parts.extend(list.iter().enumerate().map(|(index, part)| (format!("{key}/{index}"), part)));
            }
            Value::Object(named) if NAMED.contains(&key.as_str()) => {
                parts.extend(named.iter().map(|(name, part)| (format!("{key}/{name}"), part)));
            }
            _ => {}
        }
    }
    parts
}

/// Why no value can fit, as far as bounds, enumerations, required keys and combinations tell. References are not
/// followed: what is not seen to be impossible may start.
fn impossible(schema: &Value, pointer: &str, depth: usize) -> Option<String> {
    let keywords = match schema {
        Value::Bool(false) => return Some(at(pointer, "false: nothing fits")),
        Value::Object(keywords) if depth <= DEPTH_MAX => keywords,
        _ => return None,
    };
    if keywords.get("enum").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        return Some(at(pointer, "enum is empty"));
    }
    let crossed = BOUNDS.into_iter().find(|(low, high)| {
        let bound = |key: &str| keywords.get(key).and_then(Value::as_f64);
        bound(low).zip(bound(high)).is_some_and(|(low, high)| low > high)
    });
    if let Some((low, high)) = crossed {
        return Some(at(pointer, &format!("{low} is above {high}")));
    }
    impossible_object(keywords, pointer, depth).or_else(|| impossible_combination(keywords, pointer, depth))
}

/// Required keys that cannot be there. Applies to objects only, so not when the type excludes them.
fn impossible_object(keywords: &Map<String, Value>, pointer: &str, depth: usize) -> Option<String> {
    let may_be_object = match keywords.get("type") {
        Some(Value::String(name)) => name == "object",
        _ => false,
    };
    let required: Vec<&str> =
        keywords.get("required")?.as_array()?.iter().filter_map(Value::as_str).filter(|_| may_be_object).collect();
    let max = keywords.get("maxProperties").and_then(Value::as_u64);
    if max.is_some_and(|max| required.len() as u64 > max) {
        return Some(at(pointer, "more keys are required than maxProperties allows"));
    }
    let closed = keywords.get("additionalProperties") == Some(&Value::Bool(false))
        && !keywords.contains_key("patternProperties");
    required.into_iter().find_map(|key| match keywords.get("properties").and_then(|properties| properties.get(key)) {
        Some(property) => impossible(property, &format!("{pointer}/properties/{key}"), depth + 1),
        None if closed => {
            Some(at(pointer, &format!("required key `{}` is excluded by additionalProperties: false", clip(key))))
        }
        None => None,
    })
}

/// One impossible part of `allOf`, or nothing but impossible parts of `anyOf` or `oneOf`.
fn impossible_combination(keywords: &Map<String, Value>, pointer: &str, depth: usize) -> Option<String> {
    let reasons = |key: &str| -> Vec<Option<String>> {
        let parts = keywords.get(key).and_then(Value::as_array);
        let look = |(index, part)| impossible(part, &format!("{pointer}/{key}/{index}"), depth + 1);
        parts.into_iter().flatten().enumerate().map(look).collect()
    };
    if let Some(reason) = reasons("allOf").into_iter().flatten().next() {
        return Some(reason);
    }
    ["anyOf", "oneOf"].into_iter().find_map(|key| {
        let reasons = reasons(key);
        if reasons.iter().all(Option::is_some) { reasons.into_iter().flatten().next() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn c22_what_no_value_can_fit_is_refused_with_key_and_reason() {
        for (schema, word) in [
            (
                json!({"type": "object", "required": ["b"], "properties": {"a": {}}, "additionalProperties": false}),
                "`b`",
            ),
            (json!({"type": "number", "minimum": 5, "maximum": 4}), "minimum is above maximum"),
            (json!({"enum": []}), "enum"),
            (json!({"type": "object", "required": ["a", "b"], "maxProperties": 1}), "maxProperties"),
            (json!({"type": "object", "required": ["a"], "properties": {"a": false}}), "properties/a"),
            (
                json!({"type": "object", "required": ["a"], "properties": {"a": {"minLength": 3, "maxLength": 2}}}),
                "properties/a: minLength is above maxLength",
            ),
            (json!({"allOf": [{}, {"minItems": 2, "maxItems": 1}]}), "allOf/1"),
            (json!({"anyOf": [false, {"enum": []}]}), "anyOf/0"),
        ] {
            let reason = refusal(&schema).unwrap_or_else(|| panic!("{schema}"));
            assert!(reason.contains(word), "{schema}: {reason}");
        }
    }

    #[test]
    fn c22_what_some_value_can_fit_may_start() {
        for schema in [
            json!({}),
            json!({"type": "object", "properties": {"a": false}}),
            json!({"anyOf": [false, {"type": "string"}]}),
            json!({"type": "array", "items": {"minimum": 2, "maximum": 1}}),
            json!({"$defs": {"never": false}, "type": "string"}),
            json!({"$defs": {"n": {"type": "number"}}, "$ref": "#/$defs/n"}),
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [{"type": "string"}]}),
            json!({"type": "string", "format": "email", "description": "d", "examples": ["a@b.c"], "default": ""}),
            json!({"type": ["string", "null"], "required": ["only for objects"], "additionalProperties": false}),
            json!({"properties": {"pattern": {"type": "string"}, "anything at all": {}}}),
        ] {
            assert_eq!(refusal(&schema), None, "{schema}");
        }
    }

    #[test]
    fn c27_unknown_keywords_types_and_references_are_refused() {
        for (schema, word) in [
            (json!({"type": "strng"}), "strng"),
            (json!({"typ": "string"}), "unknown keyword `typ`"),
            (json!({"type": "object", "properties": {"a": {"requird": ["x"]}}}), "properties/a: unknown keyword"),
            (json!({"$ref": "https://example.com/schema.json"}), "outside"),
            (json!({"$ref": "other.json"}), "outside"),
            (json!({"$ref": "#/$defs/missing"}), "missing"),
            (json!({"required": "a"}), "required"),
            (json!({"minimum": "five"}), "minimum"),
        ] {
            let reason = refusal(&schema).unwrap_or_else(|| panic!("{schema}"));
            assert!(reason.contains(word), "{schema}: {reason}");
        }
    }
}
