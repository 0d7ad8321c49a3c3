//! A `Date` that knows only the times it is given, and a `Math.random` that throws (C8).

use boa_engine::object::FunctionObjectBuilder;
use boa_engine::property::PropertyDescriptor;
use boa_engine::{Context, JsError, JsNativeError, JsResult, JsString, JsValue, NativeFunction, js_string};

fn unavailable(what: &str, instead: &str) -> JsError {
    JsNativeError::error()
        .with_message(format!(
            "{what} unavailable in workflow scripts (breaks resume). Pass the value in `args`, or use {instead}."
        ))
        .into()
}

fn now(_this: &JsValue, _arguments: &[JsValue], _context: &mut Context) -> JsResult<JsValue> {
    Err(unavailable("Date.now() / new Date() are", "now()"))
}

fn random(_this: &JsValue, _arguments: &[JsValue], _context: &mut Context) -> JsResult<JsValue> {
    Err(unavailable("Math.random() is", "random()"))
}

/// Stands in for the engine's constructor, which stays reachable from here only.
fn date(new_target: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let Some(new_target) = new_target.as_object().filter(|_| !arguments.is_empty()) else {
        return Err(unavailable("Date.now() / new Date() are", "now()"));
    };
    let original = context.intrinsics().constructors().date().constructor();
    Ok(original.construct(arguments, Some(&new_target), context)?.into())
}

pub(super) fn install(context: &mut Context) -> JsResult<()> {
    let original = context.intrinsics().constructors().date().constructor();
    let prototype = context.intrinsics().constructors().date().prototype();
    let stand_in = FunctionObjectBuilder::new(context.realm(), NativeFunction::from_fn_ptr(date))
        .name(js_string!("Date"))
        .length(7)
        .constructor(true)
        .build();
    let hidden = |value: JsValue| {
        PropertyDescriptor::builder().value(value).writable(true).enumerable(false).configurable(true).build()
    };
    let fixed = PropertyDescriptor::builder().value(prototype.clone());
    let fixed = fixed.writable(false).enumerable(false).configurable(false).build();
    stand_in.define_property_or_throw(js_string!("prototype"), fixed, context)?;
    for name in ["parse", "UTC"] {
        let function = original.get(JsString::from(name), context)?;
        stand_in.define_property_or_throw(JsString::from(name), hidden(function), context)?;
    }
    let now = named("now", now, context);
    stand_in.define_property_or_throw(js_string!("now"), hidden(now), context)?;
    let constructor = JsValue::from(stand_in);
    prototype.define_property_or_throw(js_string!("constructor"), hidden(constructor.clone()), context)?;
    let global = context.global_object();
    global.define_property_or_throw(js_string!("Date"), hidden(constructor), context)?;
    let math = global.get(js_string!("Math"), context)?.to_object(context)?;
    let random = named("random", random, context);
    math.define_property_or_throw(js_string!("random"), hidden(random), context)?;
    Ok(())
}

fn named(
    name: &str,
    function: fn(&JsValue, &[JsValue], &mut Context) -> JsResult<JsValue>,
    context: &Context,
) -> JsValue {
    FunctionObjectBuilder::new(context.realm(), NativeFunction::from_fn_ptr(function))
        .name(JsString::from(name))
        .build()
        .into()
}
