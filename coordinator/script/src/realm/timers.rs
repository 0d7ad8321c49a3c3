//! `setTimeout` and `clearTimeout`: each timer is a journalled call (C7).

use boa_engine::{Context, JsArgs, JsNativeError, JsResult, JsValue};
use skein_common::script::CallKind;

use super::shared;
use super::state::Pending;

const DELAY_MS_MAX: f64 = 24.0 * 60.0 * 60.0 * 1000.0;

pub(super) fn set_timeout(_this: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let Some(callback) = arguments.get_or_undefined(0).as_callable() else {
        return Err(JsNativeError::typ().with_message("setTimeout() expects a function").into());
    };
    let delay = arguments.get_or_undefined(1).to_number(context)?;
    if delay > DELAY_MS_MAX {
        return Err(JsNativeError::range().with_message("setTimeout() takes at most 24 hours").into());
    }
    // A cast of NaN or of a negative number gives 0.
    let kind = CallKind::Timer { delay_ms: delay as u64 };
    let arguments = arguments.get(2..).unwrap_or_default().to_vec();
    let call = shared(context)?.call(kind, Pending::Timer { callback, arguments });
    Ok(call.into())
}

pub(super) fn clear_timeout(_this: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    if let Some(number) = arguments.get_or_undefined(0).as_number() {
        // A number that is no call's clears nothing.
        shared(context)?.clear_timer(number as u32);
    }
    Ok(JsValue::undefined())
}
