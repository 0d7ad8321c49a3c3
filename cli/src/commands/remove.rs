//! `skein remove`: takes a run out of the store, with everything of its.

use crate::args::{Global, RunName};
use crate::exit::{Code, usage};
use crate::output;
use crate::session::{existing_store, retention};
use skein_coordinator::RemoveError;

/// Removes (R12).
///
/// # Errors
/// The run lives, there is none, or the store refuses.
pub async fn remove(global: &Global, args: RunName) -> anyhow::Result<Code> {
    let store = existing_store(global)?;
    retention(&store).remove(&args.run).await.map_err(|error| match error {
        RemoveError::Live { .. } | RemoveError::NotFound { .. } => usage(error.to_string()),
        other => anyhow::Error::new(other).context(format!("{} is not removed", args.run)),
    })?;
    if global.json {
        output::json(&serde_json::json!({ "removed": args.run }))?;
    } else if !global.quiet {
        output::note(&format!("removed {}", args.run));
    }
    Ok(Code::Completed)
}
