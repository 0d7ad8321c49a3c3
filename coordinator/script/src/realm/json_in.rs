//! JSON text to values of the realm: keys in the order written, `__proto__` an ordinary key.

use std::fmt;

use boa_engine::object::builtins::JsArray;
use boa_engine::{Context, JsNativeError, JsObject, JsResult, JsString, JsValue};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Reads a whole text. Deeper than the parser's 128 levels is an error.
pub(super) fn read(json: &str, context: &mut Context) -> JsResult<JsValue> {
    let tree: Tree = serde_json::from_str(json).map_err(|error| {
        JsNativeError::syntax().with_message(format!("a value that is no JSON reached the script: {error}"))
    })?;
    value(tree, context)
}

fn value(tree: Tree, context: &mut Context) -> JsResult<JsValue> {
    Ok(match tree {
        Tree::Null => JsValue::null(),
        Tree::Bool(flag) => flag.into(),
        Tree::Number(number) => number.into(),
        Tree::Text(text) => JsString::from(text).into(),
        Tree::Array(items) => {
            let values = items.into_iter().map(|item| value(item, context)).collect::<JsResult<Vec<_>>>()?;
            JsArray::from_iter(values, context).into()
        }
        Tree::Object(fields) => {
            let object = JsObject::with_object_proto(context.intrinsics());
            for (key, field) in fields {
                let field = value(field, context)?;
                object.create_data_property_or_throw(JsString::from(key), field, context)?;
            }
            object.into()
        }
    })
}

enum Tree {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Tree, E> {
        Ok(Tree::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Tree::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Tree, A::Error> {
        let mut object = Vec::new();
        while let Some(field) = fields.next_entry()? {
            object.push(field);
        }
        Ok(Tree::Object(object))
    }
}
