//! `log` and `console`: one line each, strings as they are, the rest as JSON (C7, C36).

use boa_engine::builtins::error::Error;
use boa_engine::{Context, JsResult, JsValue, JsVariant};

use super::failure::describe;
use super::json_out::{self, Refused, Rules};
use super::shared;
use super::state::Shared;

pub(super) fn log(_this: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    print("", arguments, context)
}

pub(super) fn warn(_this: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    print("[warn] ", arguments, context)
}

pub(super) fn error(_this: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    print("[error] ", arguments, context)
}

fn print(prefix: &str, values: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let shared = shared(context)?;
    let mut line = prefix.to_owned();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            line.push(' ');
        }
        line.push_str(&text(value, &shared, context)?);
    }
    shared.log(&line);
    Ok(JsValue::undefined())
}

fn text(value: &JsValue, shared: &Shared, context: &mut Context) -> JsResult<String> {
    let object = match value.variant() {
        JsVariant::String(text) => return Ok(text.to_std_string_lossy()),
        JsVariant::Object(object) => object,
        _ => return Ok(value.display().to_string()),
    };
    if object.is_callable() {
        return Ok("[function]".to_owned());
    }
    if object.is::<Error>() {
        return Ok(describe(value, context).title());
    }
    match json_out::write(value, Rules::line(), &mut Vec::new(), shared, context) {
        Ok(json) => Ok(json.unwrap_or_else(|| "undefined".to_owned())),
        Err(Refused::Threw(error)) if error.as_engine().is_some() => Err(error),
        Err(_) => Ok("[object]".to_owned()),
    }
}
