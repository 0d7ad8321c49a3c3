//! `workflow(nameOrRef, args)` (C40): reads its arguments, records the call, returns a promise of the script's realm.

use boa_engine::object::builtins::JsPromise;
use boa_engine::{Context, JsArgs, JsNativeError, JsResult, JsValue, js_string};
use skein_common::script::CallKind;
use skein_common::workflow::WorkflowRef;

use super::failure;
use super::json_out::{self, Rules};
use super::shared;
use super::state::{Asked, Owner, Pending, Shared};
use crate::limits::TARGET_BYTES_MAX;

pub(super) fn workflow(_this: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let shared = shared(context)?;
    let (target, args) = match read(arguments, &shared, context) {
        Ok(read) => read,
        Err(error) => return failure::rejected(error, context),
    };
    let called = failure::here(context)?;
    let (promise, resolvers) = JsPromise::new_pending(context);
    let kind = CallKind::Workflow { target: target.clone(), args: args.clone() };
    shared.call(kind, Pending::Workflow(Asked { target, args, resolvers, called }));
    Ok(promise.into())
}

fn read(arguments: &[JsValue], shared: &Shared, context: &mut Context) -> JsResult<(WorkflowRef, Option<String>)> {
    if shared.owner != Owner::Run {
        let message = "workflow() cannot be called from within a child workflow";
        return Err(JsNativeError::error().with_message(message).into());
    }
    let target = target(arguments.get_or_undefined(0), context)?;
    let rules = Rules::args(shared.state.borrow().limits.options_bytes);
    let args = json_out::write(arguments.get_or_undefined(1), rules, &mut Vec::new(), shared, context);
    let args = args.map_err(|refused| refused.throw("workflow() args"))?;
    shared.state.borrow_mut().admit_workflow()?;
    Ok((target, args))
}

fn target(value: &JsValue, context: &mut Context) -> JsResult<WorkflowRef> {
    let path = match value.as_object() {
        Some(object) => object.get(js_string!("scriptPath"), context)?.as_string(),
        None => None,
    };
    let (text, is_path) = match (value.as_string(), path) {
        (Some(name), _) => (name.to_std_string_lossy(), false),
        (None, Some(path)) => (path.to_std_string_lossy(), true),
        (None, None) => (String::new(), false),
    };
    if text.is_empty() || text.len() > TARGET_BYTES_MAX {
        let message = "workflow() expects the name of a saved workflow or {scriptPath: '…'}";
        return Err(JsNativeError::typ().with_message(message).into());
    }
    Ok(if is_path { WorkflowRef::Path { path: text } } else { WorkflowRef::Name { name: text } })
}
