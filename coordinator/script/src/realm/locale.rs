//! `toLocaleString` of numbers in the one fixed locale, en-US (C8): the engine is built without locale data.

use boa_engine::object::FunctionObjectBuilder;
use boa_engine::property::PropertyDescriptor;
use boa_engine::{Context, JsArgs, JsNativeError, JsResult, JsString, JsValue, NativeFunction, js_string};

const FRACTION_DIGITS: usize = 3;
const FRACTION_DIGITS_MAX: f64 = 20.0;

pub(super) fn install(context: &mut Context) -> JsResult<()> {
    let prototype = context.intrinsics().constructors().number().prototype();
    let function = FunctionObjectBuilder::new(context.realm(), NativeFunction::from_fn_ptr(to_locale_string))
        .name(js_string!("toLocaleString"))
        .build();
    let descriptor = PropertyDescriptor::builder().value(function).writable(true).enumerable(false).configurable(true);
    prototype.define_property_or_throw(js_string!("toLocaleString"), descriptor.build(), context)?;
    Ok(())
}

fn to_locale_string(this: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let boxed = this.as_object().and_then(|object| object.downcast_ref::<f64>().map(|number| *number));
    let Some(number) = this.as_number().or(boxed) else {
        return Err(JsNativeError::typ().with_message("Number.prototype.toLocaleString expects a number").into());
    };
    let options = arguments.get_or_undefined(1);
    let min = digits(options, "minimumFractionDigits", context)?.unwrap_or(0);
    let max = digits(options, "maximumFractionDigits", context)?.unwrap_or(FRACTION_DIGITS.max(min)).max(min);
    Ok(JsString::from(grouped(number, min, max)).into())
}

fn digits(options: &JsValue, name: &str, context: &mut Context) -> JsResult<Option<usize>> {
    let Some(options) = options.as_object() else { return Ok(None) };
    let value = options.get(JsString::from(name), context)?;
    if value.is_undefined() {
        return Ok(None);
    }
    Ok(Some(value.to_number(context)?.clamp(0.0, FRACTION_DIGITS_MAX) as usize))
}

fn grouped(number: f64, min: usize, max: usize) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number < 0.0 { "-∞" } else { "∞" }.to_owned();
    }
    let text = format!("{:.max$}", number.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::from(if number.is_sign_negative() { "-" } else { "" });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    let kept = fraction.trim_end_matches('0').len().max(min);
    if kept > 0 {
        out.push('.');
        out.push_str(&fraction[..kept]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn numbers_are_grouped_as_in_en_us() {
        for (number, text) in [
            (0.0, "0"),
            (999.0, "999"),
            (1234567.891, "1,234,567.891"),
            (-1000.5, "-1,000.5"),
            (1e21, "1,000,000,000,000,000,000,000"),
            (f64::NEG_INFINITY, "-∞"),
        ] {
            assert_eq!(grouped(number, 0, 3), text);
        }
        assert_eq!(grouped(1.5, 2, 3), "1.50");
        assert_eq!(grouped(1.999, 0, 0), "2");
    }
}
