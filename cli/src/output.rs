//! Everything that reaches standard output and standard error goes through here.

pub use skein_common::view::short_time;
use std::io::{IsTerminal, Write};

/// A line of the answer, on standard output. A reader that went away is no error.
pub fn line(text: &str) {
    let _reader_is_gone = writeln!(std::io::stdout().lock(), "{text}");
}

/// Bytes of the answer as they are.
pub fn bytes(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _reader_is_gone = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// A line about the answer, on standard error.
pub fn note(text: &str) {
    let _reader_is_gone = writeln!(std::io::stderr().lock(), "{text}");
}

/// An error a person should act on.
pub fn problem(text: &str) {
    note(&format!("error: {text}"));
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// The value cannot be JSON; none of ours cannot.
pub fn json<T: serde::Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?);
    Ok(())
}

/// Text from scripts and logs with its control characters made visible, so that it cannot steer a terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Whether a person is looking at standard error.
#[must_use]
pub fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether a person is looking at standard output.
#[must_use]
pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// `1234567` as `1.2M`.
#[must_use]
pub fn short_count(count: u64) -> String {
    match count {
        0..=9_999 => count.to_string(),
        10_000..=999_999 => format!("{}k", count / 1000),
        _ => format!("{}.{}M", count / 1_000_000, count % 1_000_000 / 100_000),
    }
}
