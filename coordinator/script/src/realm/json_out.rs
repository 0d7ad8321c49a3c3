//! Values of the script to JSON text, with a cap on bytes and depth. Getters and traps run under the engine's limits.

use boa_engine::object::builtins::{JsMap, JsProxy, JsSet};
use boa_engine::property::PropertyKey;
use boa_engine::{
    Context, JsBigInt, JsError, JsNativeError, JsObject, JsResult, JsString, JsValue, JsVariant, js_string,
};
use skein_common::script::ScriptErrorKind;

use super::state::Shared;

/// How deep JSON may be that crosses the boundary (C11).
pub(super) const DEPTH_MAX: usize = 100;
const LINE_BYTES_MAX: u64 = 1 << 20;

/// How strict the walk is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    bytes_max: u64,
    /// The cap's name for the message.
    cap: &'static str,
    /// NaN and Infinity are an error instead of null (C23).
    finite: bool,
    /// BigInt and cycles become text instead of an error.
    lenient: bool,
}

impl Rules {
    pub(super) const fn result(bytes_max: u64) -> Self {
        Self { bytes_max, cap: "result_bytes", finite: false, lenient: false }
    }

    pub(super) const fn options(bytes_max: u64) -> Self {
        Self { bytes_max, cap: "options_bytes", finite: true, lenient: false }
    }

    /// `args` of a workflow that a script starts.
    pub(super) const fn args(bytes_max: u64) -> Self {
        Self { bytes_max, cap: "options_bytes", finite: false, lenient: false }
    }

    pub(super) const fn prompt(bytes_max: u64) -> Self {
        Self { bytes_max, cap: "prompt_bytes", finite: false, lenient: false }
    }

    pub(super) const fn line() -> Self {
        Self { bytes_max: LINE_BYTES_MAX, cap: "line", finite: false, lenient: true }
    }
}

/// Why a value has no JSON.
#[derive(Debug)]
pub(super) enum Refused {
    /// Code of the script threw on the way, or an engine limit was reached.
    Threw(JsError),
    TooLarge {
        cap: &'static str,
        bytes_max: u64,
    },
    TooDeep,
    Cycle {
        path: String,
    },
    BigInt {
        path: String,
    },
    NotFinite {
        path: String,
    },
}

impl From<JsError> for Refused {
    fn from(error: JsError) -> Self {
        Self::Threw(error)
    }
}

impl Refused {
    pub(super) const fn kind(&self) -> ScriptErrorKind {
        match self {
            Self::TooLarge { .. } => ScriptErrorKind::Limit,
            _ => ScriptErrorKind::Serialization,
        }
    }

    /// For a person, about `what`.
    pub(super) fn sentence(&self, what: &str) -> String {
        match self {
            Self::Threw(error) => format!("{what} threw while it was read: {error}"),
            Self::TooLarge { cap, bytes_max } => format!("{what} is larger than the cap `{cap}` of {bytes_max} bytes"),
            Self::TooDeep => format!("{what} is nested deeper than {DEPTH_MAX} levels"),
            Self::Cycle { path } => format!("{what} cannot be JSON: {path} is a cycle"),
            Self::BigInt { path } => format!("{what} cannot be JSON: {path} is a BigInt, make it a string"),
            Self::NotFinite { path } => format!("{what}: {path} must be a finite number"),
        }
    }

    /// For the script, about `what`.
    pub(super) fn throw(self, what: &str) -> JsError {
        match self {
            Self::Threw(error) => error,
            Self::TooLarge { .. } | Self::TooDeep => JsNativeError::range().with_message(self.sentence(what)).into(),
            _ => JsNativeError::typ().with_message(self.sentence(what)).into(),
        }
    }
}

/// `None` when JSON has nothing for it: undefined, a function, a symbol.
pub(super) fn write(
    value: &JsValue,
    rules: Rules,
    warnings: &mut Vec<String>,
    shared: &Shared,
    context: &mut Context,
) -> Result<Option<String>, Refused> {
    let mut writer =
        Writer { out: Vec::new(), rules, ancestors: Vec::new(), path: Vec::new(), warnings, shared, context };
    let there = writer.value(value)?;
    Ok(there.then(|| String::from_utf8_lossy(&writer.out).into_owned()))
}

enum Step {
    Key(JsString),
    Index(u64),
}

struct Writer<'a> {
    out: Vec<u8>,
    rules: Rules,
    ancestors: Vec<JsObject>,
    path: Vec<Step>,
    warnings: &'a mut Vec<String>,
    shared: &'a Shared,
    context: &'a mut Context,
}

impl Writer<'_> {
    fn put(&mut self, text: &str) -> Result<(), Refused> {
        self.room_for(text.len() as u64)?;
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn room_for(&self, bytes: u64) -> Result<(), Refused> {
        let Rules { cap, bytes_max, .. } = self.rules;
        if self.out.len() as u64 + bytes > bytes_max { Err(Refused::TooLarge { cap, bytes_max }) } else { Ok(()) }
    }

    fn text(&mut self, text: &JsString) -> Result<(), Refused> {
        self.room_for(text.len() as u64)?;
        let text = text.to_std_string_lossy();
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut self.out, &text);
        self.room_for(0)
    }

    /// Writes the value; false when there is nothing to write.
    fn value(&mut self, value: &JsValue) -> Result<bool, Refused> {
        match value.variant() {
            JsVariant::Undefined | JsVariant::Symbol(_) => return Ok(false),
            JsVariant::Null => self.put("null")?,
            JsVariant::Boolean(flag) => self.put(if flag { "true" } else { "false" })?,
            JsVariant::Integer32(number) => self.put(&number.to_string())?,
            JsVariant::Float64(number) => self.number(number)?,
            JsVariant::String(text) => self.text(&text)?,
            JsVariant::BigInt(number) => self.bigint(&number)?,
            JsVariant::Object(object) => return self.object(&object),
        }
        Ok(true)
    }

    fn number(&mut self, number: f64) -> Result<(), Refused> {
        if number.is_finite() {
            let text = JsValue::from(number).to_string(self.context)?;
            self.put(&text.to_std_string_lossy())
        } else if self.rules.finite {
            Err(Refused::NotFinite { path: self.shown_path() })
        } else {
            self.put("null")
        }
    }

    fn bigint(&mut self, number: &JsBigInt) -> Result<(), Refused> {
        if self.rules.lenient {
            self.put(&format!("\"{number}n\""))
        } else {
            Err(Refused::BigInt { path: self.shown_path() })
        }
    }

    fn object(&mut self, object: &JsObject) -> Result<bool, Refused> {
        if object.is_callable() {
            return Ok(false);
        }
        if self.ancestors.iter().any(|ancestor| JsObject::equals(ancestor, object)) {
            return if self.rules.lenient {
                self.put("\"[circular]\"").map(|()| true)
            } else {
                Err(Refused::Cycle { path: self.shown_path() })
            };
        }
        if self.ancestors.len() >= DEPTH_MAX {
            return Err(Refused::TooDeep);
        }
        self.ancestors.push(object.clone());
        let written = self.members(object);
        self.ancestors.pop();
        written
    }

    fn members(&mut self, object: &JsObject) -> Result<bool, Refused> {
        if let Some(replaced) = self.through_to_json(object)? {
            return self.value(&replaced);
        }
        if let Some(primitive) = unboxed(object, self.context)? {
            return self.value(&primitive);
        }
        if self.is_array(object)? {
            self.array(object)?
        } else {
            self.fields(object)?
        }
        Ok(true)
    }

    /// `toJSON` of the object itself or of its class. One that was put on the prototype of all objects or arrays is
    /// pollution, and the host does not read it (C9).
    fn through_to_json(&mut self, object: &JsObject) -> Result<Option<JsValue>, Refused> {
        let key = PropertyKey::from(js_string!("toJSON"));
        let constructors = self.context.intrinsics().constructors();
        let common = [constructors.object().prototype(), constructors.array().prototype()];
        let mut holder = Some(object.clone());
        while let Some(current) = holder {
            if common.iter().any(|prototype| JsObject::equals(prototype, &current)) {
                return Ok(None);
            }
            if is_proxy(&current) || current.borrow().properties().contains_key(&key) {
                break;
            }
            holder = current.prototype();
            if holder.is_none() {
                return Ok(None);
            }
        }
        let Some(method) = object.get(key, self.context)?.as_callable() else { return Ok(None) };
        let name = match self.path.last() {
            Some(Step::Key(key)) => key.clone(),
            Some(Step::Index(index)) => JsString::from(index.to_string()),
            None => js_string!(),
        };
        Ok(Some(method.call(&object.clone().into(), &[name.into()], self.context)?))
    }

    fn is_array(&mut self, object: &JsObject) -> JsResult<bool> {
        if !is_proxy(object) {
            return Ok(object.is_array());
        }
        let is_array =
            self.shared.intrinsics.is_array.call(&JsValue::undefined(), &[object.clone().into()], self.context)?;
        Ok(is_array.to_boolean())
    }

    fn array(&mut self, object: &JsObject) -> Result<(), Refused> {
        let length = object.get(js_string!("length"), self.context)?.to_length(self.context)?;
        // At least one character and a comma each.
        self.room_for(length.saturating_mul(2))?;
        self.put("[")?;
        for index in 0..length {
            if index > 0 {
                self.put(",")?;
            }
            let item = object.get(index, self.context)?;
            self.path.push(Step::Index(index));
            let there = self.value(&item)?;
            self.path.pop();
            if !there {
                self.put("null")?;
            }
        }
        self.put("]")
    }

    fn fields(&mut self, object: &JsObject) -> Result<(), Refused> {
        self.warn_of_collections(object);
        self.put("{")?;
        let mut first = true;
        for key in self.keys(object)? {
            let field = object.get(PropertyKey::from(key.clone()), self.context)?;
            let start = self.out.len();
            if !first {
                self.put(",")?;
            }
            self.text(&key)?;
            self.put(":")?;
            self.path.push(Step::Key(key));
            let there = self.value(&field)?;
            self.path.pop();
            if there {
                first = false;
            } else {
                self.out.truncate(start);
            }
        }
        self.put("}")
    }

    /// Own enumerable string keys, in the language's order.
    fn keys(&mut self, object: &JsObject) -> JsResult<Vec<JsString>> {
        if is_proxy(object) {
            return self.keys_by_traps(object);
        }
        let mut keys = Vec::new();
        for key in object.own_property_keys(self.context)? {
            let hidden = object.borrow().properties().get(&key).is_some_and(|d| d.enumerable() == Some(false));
            match key {
                PropertyKey::String(name) if !hidden => keys.push(name),
                PropertyKey::Index(index) if !hidden => keys.push(JsString::from(index.get().to_string())),
                _ => {}
            }
        }
        Ok(keys)
    }

    fn keys_by_traps(&mut self, object: &JsObject) -> JsResult<Vec<JsString>> {
        let undefined = JsValue::undefined();
        let keys = self.shared.intrinsics.object_keys.call(&undefined, &[object.clone().into()], self.context)?;
        let keys = keys.to_object(self.context)?;
        let length = keys.get(js_string!("length"), self.context)?.to_length(self.context)?;
        (0..length).map(|index| keys.get(index, self.context)?.to_string(self.context)).collect()
    }

    fn warn_of_collections(&mut self, object: &JsObject) {
        let what = if JsMap::from_object(object.clone()).is_ok() {
            "Map"
        } else if JsSet::from_object(object.clone()).is_ok() {
            "Set"
        } else {
            return;
        };
        let warning = format!("{} is a {what}, which is {{}} in JSON: convert it first", self.shown_path());
        if self.warnings.len() < 10 {
            self.warnings.push(warning);
        }
    }

    fn shown_path(&self) -> String {
        let mut shown = String::new();
        for step in &self.path {
            match step {
                Step::Index(index) => shown.push_str(&format!("[{index}]")),
                Step::Key(key) if shown.is_empty() => shown.push_str(&key.to_std_string_lossy()),
                Step::Key(key) => shown.push_str(&format!(".{}", key.to_std_string_lossy())),
            }
        }
        if shown.is_empty() {
            "the value".to_owned()
        } else {
            format!("`{}`", shown.chars().take(200).collect::<String>())
        }
    }
}

fn is_proxy(object: &JsObject) -> bool {
    JsProxy::from_object(object.clone()).is_ok()
}

/// The value inside `new Number(1)` and its like.
fn unboxed(object: &JsObject, context: &mut Context) -> JsResult<Option<JsValue>> {
    let value = JsValue::from(object.clone());
    if object.is::<f64>() {
        return Ok(Some(value.to_number(context)?.into()));
    }
    if object.is::<JsString>() {
        return Ok(Some(value.to_string(context)?.into()));
    }
    if let Some(flag) = object.downcast_ref::<bool>() {
        return Ok(Some((*flag).into()));
    }
    if let Some(number) = object.downcast_ref::<JsBigInt>() {
        return Ok(Some(number.clone().into()));
    }
    Ok(None)
}
