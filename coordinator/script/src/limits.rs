//! What one script may use up (C10). Passing any of these ends that run only.

use serde::{Deserialize, Serialize};

/// A name or path that `workflow()` is given, bytes; a longer one is none.
pub(crate) const TARGET_BYTES_MAX: usize = 4096;

/// The caps of one script host. The message of a breach names the field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostLimits {
    /// Real time of one synchronous stretch, milliseconds; the parent's watchdog counts it.
    pub turn_ms: u64,
    /// Engine instructions over the whole life of the script, counted the same way in a replay.
    pub instructions: u64,
    /// Everything the host has allocated at one time, bytes.
    pub memory_bytes: u64,
    /// Depth of calls.
    pub recursion: u32,
    /// Promise jobs over the whole life of the script.
    pub jobs: u64,
    /// The script's text.
    pub source_bytes: u64,
    /// One prompt.
    pub prompt_bytes: u64,
    /// The options of one `agent()` call or the `args` of one `workflow()` call, as JSON.
    pub options_bytes: u64,
    /// The script's result, as JSON.
    pub result_bytes: u64,
    /// Log lines; then one marker line and no more.
    pub logs_max: u32,
    /// Calls of `phase`; then one marker line and no more.
    pub phases_max: u32,
    /// Calls of `workflow`. The engine never frees a realm, which takes a quarter of a mebibyte: its table of shapes
    /// holds every prototype for as long as the process lives.
    pub workflows_max: u32,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            turn_ms: 10_000,
            instructions: 2_000_000_000,
            memory_bytes: 256 << 20,
            recursion: 400,
            jobs: 1_000_000,
            source_bytes: 512 << 10,
            prompt_bytes: 1 << 20,
            options_bytes: 1 << 20,
            result_bytes: 16 << 20,
            logs_max: 10_000,
            phases_max: 10_000,
            workflows_max: 500,
        }
    }
}
