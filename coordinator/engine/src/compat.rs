//! Versions of what a run remembers, so that old runs replay as they ran.

/// Version of the journal record. A higher one is refused: `journal of a newer version`.
pub const RECORD_VERSION: u32 = 1;

/// Version of the engine's behaviour, recorded in `RunStarted`. Raise it when the same commands would give other
/// events, and keep the old way for runs that recorded the old number.
pub const BEHAVIOUR: u32 = 1;

/// Name and version of the program that wrote a record, for people who read journals.
pub const ENGINE: &str = concat!("skein/", env!("CARGO_PKG_VERSION"));
