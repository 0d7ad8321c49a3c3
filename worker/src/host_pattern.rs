//! Host patterns: `nginx-[001-100]` for a hundred names.

use std::str::Chars;

/// Names that patterns may stand for, all together. A worker has a task for each.
pub const HOSTS_MAX: usize = 10_000;
/// Of a host name in DNS, characters.
const NAME_CHARS_MAX: usize = 253;
/// More digits than any range of [`HOSTS_MAX`] names needs.
const DIGITS_MAX: usize = 18;

/// What a person gets who types a pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostPatternError {
    #[error("`{pattern}` is no host pattern: {reason}; expected a name such as web-1, or nginx-[001-100], a[1-3,7]b")]
    Malformed { pattern: String, reason: &'static str },
    #[error("`{pattern}` stands for more than {HOSTS_MAX} hosts")]
    TooMany { pattern: String },
}

/// A part of a pattern: each of these texts in turn.
type Choices = Vec<String>;

/// The names that these patterns stand for, each once, in their order.
///
/// # Errors
/// One of them is no pattern, or they stand for more than [`HOSTS_MAX`] names together.
pub fn expand_hosts<P: AsRef<str>>(patterns: &[P]) -> Result<Vec<String>, HostPatternError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut names = Vec::new();
    for pattern in patterns.iter().map(AsRef::as_ref) {
        names.extend(expand(pattern)?.into_iter().filter(|name| seen.insert(name.clone())));
        if names.len() > HOSTS_MAX {
            return Err(HostPatternError::TooMany { pattern: shown(pattern) });
        }
    }
    Ok(names)
}

/// The names that this pattern stands for.
fn expand(pattern: &str) -> Result<Vec<String>, HostPatternError> {
    let parts = parse(pattern).map_err(|refusal| match refusal {
        Refusal::Malformed(reason) => HostPatternError::Malformed { pattern: shown(pattern), reason },
        Refusal::TooMany => HostPatternError::TooMany { pattern: shown(pattern) },
    })?;
    let count = parts.iter().try_fold(1_usize, |count, choices| count.checked_mul(choices.len()));
    if count.is_none_or(|count| count > HOSTS_MAX) {
        return Err(HostPatternError::TooMany { pattern: shown(pattern) });
    }
    let mut names = vec![String::new()];
    for choices in &parts {
        names = names.iter().flat_map(|name| choices.iter().map(move |choice| format!("{name}{choice}"))).collect();
    }
    if names.iter().any(|name| name.is_empty() || name.chars().count() > NAME_CHARS_MAX) {
        let reason = "a name has 1 to 253 characters";
        return Err(HostPatternError::Malformed { pattern: shown(pattern), reason });
    }
    Ok(names)
}

/// Why a pattern is refused.
enum Refusal {
    Malformed(&'static str),
    TooMany,
}

fn parse(pattern: &str) -> Result<Vec<Choices>, Refusal> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '[' => {
                parts.push(vec![std::mem::take(&mut literal)]);
                parts.push(choices(&brackets(&mut chars)?)?);
            }
            ']' => return Err(Refusal::Malformed("a bracket is closed that was not opened")),
            ',' => return Err(Refusal::Malformed("a comma is between brackets only")),
            c if c.is_whitespace() || c.is_control() => {
                return Err(Refusal::Malformed("a name has neither blanks nor control characters"));
            }
            c => literal.push(c),
        }
    }
    parts.push(vec![literal]);
    Ok(parts)
}

/// What is between this bracket and the next.
fn brackets(chars: &mut Chars<'_>) -> Result<String, Refusal> {
    let mut inside = String::new();
    for c in chars {
        match c {
            ']' => return Ok(inside),
            '[' => return Err(Refusal::Malformed("a bracket is opened in a bracket")),
            c => inside.push(c),
        }
    }
    Err(Refusal::Malformed("a bracket is not closed"))
}

/// `1,3,7-9`.
fn choices(list: &str) -> Result<Choices, Refusal> {
    let mut choices = Vec::new();
    for item in list.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        push_range(first, last, &mut choices)?;
    }
    Ok(choices)
}

/// Numbers are as wide as the first one is written.
fn push_range(first: &str, last: &str, choices: &mut Choices) -> Result<(), Refusal> {
    let (from, to) = (number(first)?, number(last)?);
    if from > to {
        return Err(Refusal::Malformed("a range begins with its smaller number"));
    }
    if first.starts_with('0') && first.len() > last.len() {
        return Err(Refusal::Malformed("the ends of a range with leading zeros are equally wide"));
    }
    if usize::try_from(to - from).is_ok_and(|steps| choices.len() + steps < HOSTS_MAX) {
        let width = first.len();
        choices.extend((from..=to).map(|number| format!("{number:0width$}")));
        return Ok(());
    }
    Err(Refusal::TooMany)
}

fn number(text: &str) -> Result<u64, Refusal> {
    if text.is_empty() || text.len() > DIGITS_MAX || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Malformed("in brackets there are numbers and ranges of them"));
    }
    text.parse().map_err(|_| Refusal::Malformed("in brackets there are numbers and ranges of them"))
}

/// The pattern as an error shows it.
fn shown(pattern: &str) -> String {
    pattern.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(pattern: &str) -> Vec<String> {
        expand_hosts(&[pattern]).expect(pattern)
    }

    #[test]
    fn a_hundred_hosts_keep_their_zeros() {
        let names = one("nginx-[001-100]");
        assert_eq!((names.len(), names[0].as_str(), names[99].as_str()), (100, "nginx-001", "nginx-100"));
        assert_eq!(one("n[8-11]"), ["n8", "n9", "n10", "n11"]);
    }

    #[test]
    fn several_ranges_and_lists_are_combined() {
        assert_eq!(one("a[1-3]b[01-02]"), ["a1b01", "a1b02", "a2b01", "a2b02", "a3b01", "a3b02"]);
        assert_eq!(one("w[1,3,7-9]"), ["w1", "w3", "w7", "w8", "w9"]);
        assert_eq!(one("[5].example.org"), ["5.example.org"]);
        assert_eq!(one("db-1.example.org"), ["db-1.example.org"]);
    }

    #[test]
    fn names_of_several_patterns_are_there_once() {
        assert_eq!(expand_hosts(&["a[1-2]", "b", "a[2-3]"]).expect("expands"), ["a1", "a2", "b", "a3"]);
        assert_eq!(expand_hosts::<&str>(&[]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_is_expected() {
        let bad = ["", "a[", "a]", "a[]", "a[1", "a[1-]", "a[-1]", "a[3-1]", "a[x]", "a[1,,2]", "a[[1]]", "a,b"];
        let odd = ["a b", "a\n", "a\0", "a[1- 2]", "a[1-2-3]", "a[+1-2]", "a[010-09]", "a[12345678901234567890]"];
        for pattern in bad.into_iter().chain(odd) {
            let refusal = expand_hosts(&[pattern]).expect_err(pattern).to_string();
            assert!(refusal.contains("expected a name such as"), "{pattern:?}: {refusal}");
        }
    }

    #[test]
    fn more_than_ten_thousand_names_are_refused_before_they_are_made() {
        assert_eq!(one("a[1-10000]").len(), HOSTS_MAX);
        let vast = "a[1-999999999999999999]";
        let many = ["a[1-10001]", "a[0-99]b[0-99]c[0-1]", "[1-9999][1-9999][1-9999][1-9999][1-9999][1-9999]", vast];
        for pattern in many {
            let refused = HostPatternError::TooMany { pattern: pattern.into() };
            assert_eq!(expand_hosts(&[pattern]), Err(refused));
        }
        assert!(matches!(expand_hosts(&["a[1-6000]", "b[1-6000]"]), Err(HostPatternError::TooMany { .. })));
    }

    proptest! {
        /// A range gives each of its numbers, as wide as it was written.
        #[test]
        fn a_range_is_all_its_numbers(from in 0_u64..5_000, steps in 0_u64..500, width in 0_usize..6, name in "[a-z.-]{0,8}") {
            let (first, last) = (format!("{from:0width$}"), format!("{:0width$}", from + steps));
            let names = one(&format!("{name}[{first}-{last}]"));
            let expected: Vec<String> = (from..=from + steps).map(|n| format!("{name}{n:0width$}")).collect();
            prop_assert_eq!(names, expected);
        }

        /// Whatever is typed: an error, or names that are different, not empty, and not too many.
        #[test]
        fn nothing_that_is_typed_does_harm(pattern in r"[a-c0-9\[\],\-]{0,24}") {
            let Ok(names) = expand_hosts(&[&pattern]) else { return Ok(()) };
            prop_assert!((1..=HOSTS_MAX).contains(&names.len()));
            prop_assert!(names.iter().all(|name| !name.is_empty() && !name.contains(['[', ']', ','])));
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            prop_assert_eq!(distinct.len(), names.len());
        }

        /// A name without brackets stands for itself.
        #[test]
        fn a_plain_name_is_itself(name in "[a-zA-Z0-9._/-]{1,60}") {
            prop_assert_eq!(one(&name), [name]);
        }
    }
}
