//! The native half of `parallel` and `pipeline`: the cap gate and the record of a lost slot (C30, C33).

use boa_engine::{Context, JsArgs, JsResult, JsValue};
use skein_common::script::Op;

use super::failure::{self, describe};
use super::shared;

pub(super) const CAP_ERROR: &str = "WorkflowAgentCapError";
/// What every pending and later call rejects with once the run is stopped.
pub(super) const STOPPED: &str = "run stopped";
pub(super) const OF_THE_SCRIPT: [&str; 6] =
    ["TypeError", "ReferenceError", "RangeError", "SyntaxError", "EvalError", "URIError"];

/// Throws when the agent cap was reached before.
pub(super) fn gate(_this: &JsValue, _arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let message = shared(context)?.state.borrow().cap_message.clone();
    match message {
        Some(message) => Err(failure::named_error(CAP_ERROR, &message, context)?),
        None => Ok(JsValue::undefined()),
    }
}

/// `lost(place, error, fromHost)`: records a slot that threw; true when the run was stopped.
pub(super) fn lost(_this: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let place = arguments.get_or_undefined(0).to_string(context)?.to_std_string_lossy();
    let from_host = arguments.get_or_undefined(2).to_boolean();
    let error = describe(arguments.get_or_undefined(1), context);
    if from_host && error.message == STOPPED {
        return Ok(true.into());
    }
    let name = error.name.as_deref().unwrap_or_default();
    let script_error = !from_host && OF_THE_SCRIPT.contains(&name);
    let refused = name == CAP_ERROR || (from_host && error.message.starts_with("budget exhausted"));
    let message = if script_error || error.message.is_empty() { error.title() } else { error.message.clone() };
    let shared = shared(context)?;
    let place = shared.named(&place);
    shared.state.borrow_mut().ops.push(Op::SlotFailed { place, message, script_error, refused });
    Ok(false.into())
}
