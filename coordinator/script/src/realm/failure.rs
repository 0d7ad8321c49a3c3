//! From thrown values to the words of an error, and back.

use boa_engine::error::{EngineError, PanicError, RuntimeLimitError};
use boa_engine::object::builtins::JsPromise;
use boa_engine::property::PropertyDescriptor;
use boa_engine::{
    Context, JsError, JsNativeError, JsNativeErrorKind, JsObject, JsResult, JsString, JsValue, JsVariant, js_string,
};
use skein_common::script::ScriptErrorKind;

use super::json_out::{self, Rules};
use super::state::Shared;
use super::{SCRIPT_NAME, shared};
use crate::limits::HostLimits;
use crate::prepare::Place;

const MESSAGE_BYTES_MAX: usize = 64 << 10;
const FRAMES_MAX: usize = 20;
const FUNCTION_CHARS_MAX: usize = 200;

/// What a thrown value says of itself.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) name: Option<String>,
    pub(super) message: String,
}

impl Described {
    /// `Name: message`, as an uncaught error is shown.
    pub(super) fn title(&self) -> String {
        match (self.name.as_deref().unwrap_or("Error"), self.message.as_str()) {
            (name, "") => name.to_owned(),
            ("", message) => message.to_owned(),
            (name, message) => format!("{name}: {message}"),
        }
    }
}

/// Reads name and message; getters of the script may run, and what they throw is ignored.
pub(super) fn describe(value: &JsValue, context: &mut Context) -> Described {
    let mut described = match value.variant() {
        JsVariant::Object(object) => describe_object(&object, context),
        JsVariant::String(text) => Described { name: None, message: text.to_std_string_lossy() },
        _ => Described { name: None, message: value.display().to_string() },
    };
    described.message.truncate(described.message.floor_char_boundary(MESSAGE_BYTES_MAX));
    described
}

fn describe_object(object: &JsObject, context: &mut Context) -> Described {
    let name = text_of(object, "name", context);
    let message = text_of(object, "message", context);
    match (name, message) {
        (name, Some(message)) => Described { name, message },
        (Some(name), None) => Described { name: Some(name), message: String::new() },
        (None, None) => Described { name: None, message: as_json(object, context) },
    }
}

fn text_of(object: &JsObject, key: &str, context: &mut Context) -> Option<String> {
    let value = object.get(JsString::from(key), context).ok()?;
    value.as_string().map(|text| text.to_std_string_lossy())
}

fn as_json(object: &JsObject, context: &mut Context) -> String {
    let Ok(shared) = shared(context) else { return String::new() };
    let value = JsValue::from(object.clone());
    match json_out::write(&value, Rules::line(), &mut Vec::new(), &shared, context) {
        Ok(Some(json)) => json,
        _ => "[object]".to_owned(),
    }
}

/// The engine's own stack of an error, whatever the script did to its `stack` property. An error that the host
/// delivered has none, and says where its call was made.
pub(super) fn stack(value: &JsValue, shared: &Shared, context: &mut Context) -> String {
    let engine = shared.intrinsics.error_stack.call(value, &[], context).ok().and_then(|stack| stack.as_string());
    let own = || {
        let object = value.as_object()?;
        let stack = object.borrow().properties().get(&js_string!("stack").into())?;
        stack.value()?.as_string()
    };
    engine.or_else(own).map(|stack| stack.to_std_string_lossy()).unwrap_or_default()
}

/// An error made now, for its stack.
pub(super) fn here(context: &mut Context) -> JsResult<JsObject> {
    let constructor = context.intrinsics().constructors().error().constructor();
    constructor.construct(&[], None, context)
}

/// What a global that gives promises returns when it refuses its arguments; an engine error stays one.
pub(super) fn rejected(error: JsError, context: &mut Context) -> JsResult<JsValue> {
    if error.as_engine().is_some() {
        return Err(error);
    }
    let error = thrown_here(error, context)?;
    Ok(JsPromise::reject(error, context)?.into())
}

/// Our own error with the stack of the call that it is about: a rejection carries none by itself.
fn thrown_here(error: JsError, context: &mut Context) -> JsResult<JsError> {
    let Some(native) = error.as_native() else { return Ok(error) };
    let message = JsString::from(native.message().to_owned());
    let constructors = context.intrinsics().constructors();
    let constructor = match native.kind() {
        JsNativeErrorKind::Type => constructors.type_error(),
        JsNativeErrorKind::Range => constructors.range_error(),
        JsNativeErrorKind::Error => constructors.error(),
        _ => return Ok(error),
    };
    let constructor = constructor.constructor();
    Ok(JsError::from_opaque(constructor.construct(&[message.into()], None, context)?.into()))
}

/// One line of a stack.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    function: String,
    /// `None` when the engine does not know it.
    pub(crate) place: Option<Place>,
}

/// Frames in the author's file, which the engine knows as `script`, innermost first.
pub(super) fn script_frames(stack: &str, script: &str) -> Vec<Frame> {
    stack.lines().filter_map(|line| frame(line, script)).take(FRAMES_MAX).collect()
}

/// Reads `    at name (workflow.js:3:7)`; frames of the engine and of the prelude look otherwise.
fn frame(line: &str, script: &str) -> Option<Frame> {
    let (function, place) = line.trim().strip_prefix("at ")?.rsplit_once(" (")?;
    let place = place.strip_prefix(script)?.strip_prefix(':')?;
    let (line, column) = place.strip_suffix(')')?.split_once(':')?;
    let place = Place { line: line.parse().ok()?, column: column.parse().ok()? };
    Some(Frame { function: function.chars().take(FUNCTION_CHARS_MAX).collect(), place: Some(place) })
}

pub(super) fn stack_text(frames: &[Frame]) -> String {
    let lines: Vec<_> = frames
        .iter()
        .map(|Frame { function, place }| match place {
            Some(Place { line, column }) => format!("at {function} ({SCRIPT_NAME}:{line}:{column})"),
            None => format!("at {function} ({SCRIPT_NAME})"),
        })
        .collect();
    lines.join("\n")
}

/// The cap behind an error of the engine that no script can catch.
pub(super) fn engine(error: &EngineError, limits: &HostLimits) -> (ScriptErrorKind, String) {
    let limit = |message: String| (ScriptErrorKind::Limit, message);
    match error {
        EngineError::NoInstructionsRemain => {
            limit(format!("the script ran more instructions than its cap `instructions` of {}", limits.instructions))
        }
        EngineError::RuntimeLimit(RuntimeLimitError::Recursion) => {
            limit(format!("calls are nested deeper than the cap `recursion` of {}", limits.recursion))
        }
        EngineError::RuntimeLimit(RuntimeLimitError::StackSize) => {
            limit("a call needs more values on the stack than the engine's cap".to_owned())
        }
        EngineError::RuntimeLimit(error) => limit(error.to_string()),
        EngineError::Panic(error) => match limit_below(error) {
            Some(limit) => engine(limit, limits),
            None => (ScriptErrorKind::Engine, format!("the interpreter failed: {error}")),
        },
    }
}

/// A limit that was reached where the engine does not expect an error, such as at the start of an async function.
fn limit_below(error: &PanicError) -> Option<&EngineError> {
    let source = std::error::Error::source(error)?;
    let source =
        source.downcast_ref::<JsError>().or_else(|| source.downcast_ref::<Box<JsError>>().map(|boxed| &**boxed))?;
    match source.as_engine()? {
        EngineError::Panic(deeper) => limit_below(deeper),
        limit => Some(limit),
    }
}

/// An Error of the script's realm with this name.
pub(super) fn named_error(name: &str, message: &str, context: &mut Context) -> JsResult<JsError> {
    let native = match name {
        "TypeError" => JsNativeError::typ(),
        "RangeError" => JsNativeError::range(),
        "ReferenceError" => JsNativeError::reference(),
        "SyntaxError" => JsNativeError::syntax(),
        "EvalError" => JsNativeError::eval(),
        "URIError" => JsNativeError::uri(),
        _ => JsNativeError::error(),
    };
    let is_plain = native.is_error();
    let error = JsError::from(native.with_message(message.to_owned())).into_opaque(context)?;
    if let (true, Some(object)) = (is_plain && name != "Error", error.as_object()) {
        object.define_property_or_throw(js_string!("name"), hidden(JsString::from(name)), context)?;
    }
    Ok(JsError::from_opaque(error))
}

fn hidden(text: JsString) -> PropertyDescriptor {
    PropertyDescriptor::builder().value(text).writable(true).enumerable(false).configurable(true).build()
}

/// The same, remembered as not of the script's own making, with the stack of the call.
pub(super) fn delivered_error(
    name: &str,
    message: &str,
    called: &JsObject,
    shared: &Shared,
    context: &mut Context,
) -> JsResult<JsValue> {
    let error = named_error(name, message, context)?.into_opaque(context)?;
    let stack = stack(&called.clone().into(), shared, context);
    if let Some(object) = error.as_object() {
        object.define_property_or_throw(js_string!("stack"), hidden(JsString::from(stack)), context)?;
    }
    let mark = shared.intrinsics.mark_delivered.borrow().clone();
    if let Some(mark) = mark {
        mark.call(&JsValue::undefined(), std::slice::from_ref(&error), context)?;
    }
    Ok(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_frames_of_the_script_are_kept() {
        let stack = "    at boom (workflow.js:3:20)\n    at <main> (<prelude>:4:1)\n    at map (native)\n    at f (workflow.js:?:?)";
        let frames = script_frames(stack, SCRIPT_NAME);
        assert_eq!(frames, [Frame { function: "boom".to_owned(), place: Some(Place { line: 3, column: 20 }) }]);
        assert_eq!(stack_text(&frames), "at boom (workflow.js:3:20)");
    }
}
