//! Trace: the place of a run in a trace of whoever started it (W3C Trace Context, level 1).

use serde::{Deserialize, Deserializer, Serialize};

/// The value of a `traceparent` header: `00-` and the ids of the trace and of the span that the run belongs to. Always
/// one that may be passed on: it becomes a variable of programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Traceparent(String);

impl Traceparent {
    /// The header, when it is one that may be passed on: version 00, ids of the right length, in small hexadecimal
    /// digits and not all zero. A later version is passed on as its first four parts (section 4.3 of the standard).
    #[must_use]
    pub fn parse(header: &str) -> Option<Traceparent> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_known = version == "00" && parts.next().is_none();
        let is_later = is_hex(version, 2) && version != "ff" && version != "00";
        let are_ids = is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2);
        ((is_known || is_later) && are_ids).then(|| Traceparent(format!("00-{trace}-{span}-{flags}")))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads one where a message or a journal has it; what is none is ignored, as the standard asks.
///
/// # Errors
/// It is not even a text.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Traceparent>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.as_deref().and_then(Traceparent::parse))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_id(text: &str, length: usize) -> bool {
    is_hex(text, length) && text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_good_one_is_kept_and_a_later_version_is_cut_to_what_is_known() {
        assert_eq!(Traceparent::parse(GOOD).expect("is one").as_str(), GOOD);
        let later = GOOD.replacen("00", "cc", 1) + "-what-the-future-brings";
        assert_eq!(Traceparent::parse(&later).expect("is one").as_str(), GOOD);
    }

    #[test]
    fn what_is_none_is_ignored() {
        for bad in [
            String::new(),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            format!("{GOOD}-more"),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace("-01", "-1"),
            GOOD.replace("-01", "\n01"),
            GOOD.replace('4', "ä"),
            format!("00-{}", "a".repeat(100_000)),
        ] {
            assert_eq!(Traceparent::parse(&bad), None, "{bad:.80}");
        }
    }
}
