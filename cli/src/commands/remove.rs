//! `skein remove`: takes a run out of the store, with everything of its.

use crate::args::{Global, RunName};
use crate::commands::resume::holder_that_stays;
use crate::exit::{Code, usage};
use crate::output;
use crate::session::{existing_store, retention, this_program};
use skein_coordinator::RemoveError;

/// Removes (R12). A worktree that an agent changed is its user's: it stays and is named on standard error.
///
/// # Errors
/// The run lives, there is none, or the store refuses.
pub async fn remove(global: &Global, args: RunName) -> anyhow::Result<Code> {
    let store = existing_store(global)?;
    if let Some(holder) = holder_that_stays(&store.ports(), args.run.as_str()).await? {
        return Err(usage(format!("{} is being run by {holder}; stop it first", args.run)));
    }
    skein_worker::settle_worktrees(this_program()?, store.runs_dir(), &args.run).await;
    retention(&store, output::note).remove(&args.run).await.map_err(|error| match error {
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
