//! Puts the host's globals into a realm and takes out what a script must not have (C7).

use std::path::Path;

use boa_engine::object::{FunctionObjectBuilder, IntegrityLevel, ObjectInitializer};
use boa_engine::property::Attribute;
use boa_engine::{
    Context, JsArgs, JsNativeError, JsObject, JsResult, JsString, JsValue, NativeFunction, Source, js_string,
};
use boa_runtime::extensions::{EncodingExtension, RuntimeExtension, StructuredCloneExtension, UrlExtension};

use super::state::Shared;
use super::{PRELUDE_NAME, agent, console, dates, locale, own_function, shared, slots, timers, workflow};

const PRELUDE: &str = include_str!("prelude.js");
/// Timing of the collector, shared memory, the machine's time zone and locale.
const REMOVED: [&str; 8] = [
    "WeakRef",
    "FinalizationRegistry",
    "SharedArrayBuffer",
    "Atomics",
    "Temporal",
    "Intl",
    "queueMicrotask",
    "TypedArray",
];

type Native = fn(&JsValue, &[JsValue], &mut Context) -> JsResult<JsValue>;

const FUNCTIONS: [(&str, usize, Native); 8] = [
    ("agent", 2, agent::agent),
    ("workflow", 2, workflow::workflow),
    ("log", 0, console::log),
    ("phase", 1, phase),
    ("setTimeout", 2, timers::set_timeout),
    ("clearTimeout", 1, timers::clear_timeout),
    ("now", 0, now),
    ("random", 0, random),
];
const CONSOLE: [(&str, Native); 5] = [
    ("log", console::log),
    ("info", console::log),
    ("debug", console::log),
    ("warn", console::warn),
    ("error", console::error),
];
/// A script may shadow, replace or delete our globals (C9).
const OPEN: Attribute = Attribute::WRITABLE.union(Attribute::CONFIGURABLE);

pub(super) fn install(context: &mut Context, shared: &Shared) -> JsResult<()> {
    UrlExtension.register(None, context)?;
    EncodingExtension.register(None, context)?;
    StructuredCloneExtension.register(None, context)?;
    dates::install(context)?;
    locale::install(context)?;
    for (name, length, native) in FUNCTIONS {
        let function = function(name, length, native, context);
        context.register_global_property(JsString::from(name), function, OPEN)?;
    }
    let console = object_of(&CONSOLE, context);
    context.register_global_property(js_string!("console"), console, OPEN)?;
    run_prelude(context, shared)?;
    let global = context.global_object();
    for name in REMOVED {
        global.delete_property_or_throw(JsString::from(name), context)?;
    }
    Ok(())
}

/// `budget`, frozen and without a prototype (C38).
pub(super) fn install_budget(total: Option<u64>, context: &mut Context) -> JsResult<()> {
    let budget = JsObject::with_null_proto();
    let total = total.map_or(JsValue::null(), |total| JsValue::from(total as f64));
    budget.create_data_property_or_throw(js_string!("total"), total, context)?;
    for (name, native) in [("spent", spent as Native), ("remaining", remaining)] {
        let function = function(name, 0, native, context);
        budget.create_data_property_or_throw(JsString::from(name), function, context)?;
    }
    budget.set_integrity_level(IntegrityLevel::Frozen, context)?;
    context.register_global_property(js_string!("budget"), budget, OPEN)
}

fn run_prelude(context: &mut Context, shared: &Shared) -> JsResult<()> {
    let prelude = context.eval(Source::from_bytes(PRELUDE).with_path(Path::new(PRELUDE_NAME)))?;
    let host = object_of(&[("gate", slots::gate as Native), ("lost", slots::lost)], context);
    let Some(prelude) = prelude.as_callable() else {
        return Err(JsNativeError::typ().with_message("the prelude is not a function").into());
    };
    let made = prelude.call(&JsValue::undefined(), &[host.into()], context)?.to_object(context)?;
    for name in ["parallel", "pipeline"] {
        let function = own_function(&made, name, context)?;
        context.register_global_property(JsString::from(name), function, OPEN)?;
    }
    let mark = own_function(&made, "markDelivered", context)?;
    shared.intrinsics.mark_delivered.replace(Some(mark));
    Ok(())
}

fn function(name: &str, length: usize, native: Native, context: &Context) -> JsValue {
    FunctionObjectBuilder::new(context.realm(), NativeFunction::from_fn_ptr(native))
        .name(JsString::from(name))
        .length(length)
        .build()
        .into()
}

fn object_of(functions: &[(&str, Native)], context: &mut Context) -> JsObject {
    let mut object = ObjectInitializer::new(context);
    for (name, native) in functions {
        object.function(NativeFunction::from_fn_ptr(*native), JsString::from(*name), 0);
    }
    object.build()
}

fn phase(_this: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let title = arguments.get_or_undefined(0).to_string(context)?.to_std_string_lossy();
    shared(context)?.enter_phase(title);
    Ok(JsValue::undefined())
}

fn now(_this: &JsValue, _arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    Ok(JsValue::from(shared(context)?.state.borrow().now_ms as f64))
}

fn random(_this: &JsValue, _arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    Ok(JsValue::from(shared(context)?.state.borrow_mut().random()))
}

fn spent(_this: &JsValue, _arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    Ok(JsValue::from(shared(context)?.state.borrow().spent as f64))
}

fn remaining(_this: &JsValue, _arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let shared = shared(context)?;
    let state = shared.state.borrow();
    let left = state.budget_total.map_or(f64::INFINITY, |total| total.saturating_sub(state.spent) as f64);
    Ok(JsValue::from(left))
}
