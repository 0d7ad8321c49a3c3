//! Check: what a look at a script's text says of it; nothing of it runs.

use serde::{Deserialize, Serialize};
use skein_common::script::{Finding, Loaded, Meta, ScriptError};
use utoipa::ToSchema;

/// What `skein check --json` says of a script, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Checked {
    /// It can run, and no place of it is known to throw (C8).
    pub ok: bool,
    pub meta: Option<Meta>,
    /// Why it cannot run at all.
    pub error: Option<ScriptError>,
    pub findings: Vec<Finding>,
    pub warnings: Vec<String>,
}

impl From<Loaded> for Checked {
    fn from(loaded: Loaded) -> Checked {
        let Loaded { meta, warnings, findings } = loaded;
        Checked { ok: findings.is_empty(), meta: Some(meta), error: None, findings, warnings }
    }
}

impl From<ScriptError> for Checked {
    fn from(error: ScriptError) -> Checked {
        Checked { ok: false, meta: None, error: Some(error), findings: Vec::new(), warnings: Vec::new() }
    }
}
