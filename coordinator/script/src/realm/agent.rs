//! `agent(prompt, options)` (C23): reads its arguments, records the call, returns a promise of the script's realm.

use boa_engine::object::builtins::JsPromise;
use boa_engine::{Context, JsArgs, JsNativeError, JsResult, JsValue};
use skein_common::script::CallKind;

use super::failure;
use super::json_out::{self, Refused, Rules};
use super::shared;
use super::state::{Pending, Shared};

pub(super) fn agent(_this: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let shared = shared(context)?;
    let kind = match read(arguments, &shared, context) {
        Ok(kind) => kind,
        Err(error) => return failure::rejected(error, context),
    };
    let called = failure::here(context)?;
    let (promise, resolvers) = JsPromise::new_pending(context);
    shared.call(kind, Pending::Promise { resolvers, called });
    Ok(promise.into())
}

fn read(arguments: &[JsValue], shared: &Shared, context: &mut Context) -> JsResult<CallKind> {
    let prompt = prompt(arguments.get_or_undefined(0), shared, context)?;
    let given = arguments.get_or_undefined(1);
    let is_array = |value: &JsValue| value.as_object().is_some_and(|object| object.is_array());
    let is_object = given.as_object().is_some_and(|object| !object.is_callable()) && !is_array(given);
    let options = if is_object { options(given, shared, context)? } else { None };
    Ok(CallKind::Agent {
        prompt,
        options,
        options_not_object: !is_object && !given.is_undefined(),
        phase: shared.phase(),
        workflow: shared.owner.call(),
    })
}

fn prompt(value: &JsValue, shared: &Shared, context: &mut Context) -> JsResult<String> {
    let max = shared.state.borrow().limits.prompt_bytes;
    let too_large = || {
        JsNativeError::range().with_message(format!("agent() prompt is larger than the cap `prompt_bytes` of {max}"))
    };
    let is_data = value.as_object().is_some_and(|object| !object.is_callable());
    let text = if value.is_undefined() {
        String::new()
    } else if is_data {
        let rules = Rules::prompt(max);
        match json_out::write(value, rules, &mut Vec::new(), shared, context) {
            Ok(json) => json.unwrap_or_default(),
            Err(Refused::TooLarge { .. }) => return Err(too_large().into()),
            Err(refused) => return Err(refused.throw("agent() prompt")),
        }
    } else {
        let text = value.to_string(context)?;
        if text.len() as u64 > max {
            return Err(too_large().into());
        }
        text.to_std_string_lossy()
    };
    if text.is_empty() {
        return Err(JsNativeError::typ().with_message("agent() expects a prompt: a string that is not empty").into());
    }
    if text.len() as u64 > max {
        return Err(too_large().into());
    }
    Ok(text)
}

fn options(value: &JsValue, shared: &Shared, context: &mut Context) -> JsResult<Option<String>> {
    let rules = Rules::options(shared.state.borrow().limits.options_bytes);
    json_out::write(value, rules, &mut Vec::new(), shared, context).map_err(|refused| refused.throw("agent() options"))
}
