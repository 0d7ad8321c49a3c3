//! `args`, and its keys as variables (C37).

use boa_engine::property::Attribute;
use boa_engine::{Context, JsResult, JsString, JsValue, js_string};

use super::json_in;

/// Words that are no binding name in strict code with top-level await.
const RESERVED: [&str; 48] = [
    "arguments",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "eval",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "let",
    "new",
    "null",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "var",
    "void",
    "while",
    "with",
    "yield",
];
/// As the `var` that it would be at the top of a script.
const OPEN: Attribute = Attribute::WRITABLE.union(Attribute::ENUMERABLE).union(Attribute::CONFIGURABLE);

pub(super) fn install(json: Option<&str>, context: &mut Context) -> JsResult<()> {
    let args = match json {
        Some(json) => json_in::read(json, context)?,
        None => JsValue::undefined(),
    };
    context.register_global_property(js_string!("args"), args.clone(), OPEN)?;
    let Some(object) = args.as_object().filter(|object| !object.is_array()) else { return Ok(()) };
    let global = context.global_object();
    for key in object.own_property_keys(context)? {
        let name = JsString::from(key.to_string());
        if is_binding_name(&name.to_std_string_lossy()) && !global.has_property(name.clone(), context)? {
            let value = object.get(key, context)?;
            context.register_global_property(name, value, OPEN)?;
        }
    }
    Ok(())
}

fn is_binding_name(name: &str) -> bool {
    let mut characters = name.chars();
    let starts = characters.next().is_some_and(|c| c.is_alphabetic() || matches!(c, '_' | '$'));
    starts && characters.all(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::is_binding_name;

    #[test]
    fn c37_only_binding_names_become_variables() {
        for name in ["host", "_x", "$", "größe", "a1", "of", "async"] {
            assert!(is_binding_name(name), "{name}");
        }
        for name in ["", "1a", "a-b", "a b", "class", "await", "let", "eval", "arguments", "x;y"] {
            assert!(!is_binding_name(name), "{name}");
        }
    }
}
