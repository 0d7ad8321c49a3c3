//! Leave: what becomes of a run's worktrees when the run itself is removed. Those that were changed stay, and are named.

use super::record::Record;
use super::{Git, Worktrees, dir_in};
use crate::environment::Environment;
use crate::process::Keeper;
use skein_common::RunId;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Nobody else has the run; at most processes of a killed worker end just now.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Settles what killed workers of this node left of a run: an unchanged worktree is removed, another one is recorded as
/// kept. What is being used by another process is left alone. `executable` and `attempts_dir` are those of a worker.
pub async fn settle_worktrees(executable: PathBuf, attempts_dir: PathBuf, run: &RunId) {
    let keeper = Rc::new(Keeper::new(executable, attempts_dir.clone(), LOCK_WAIT));
    let git = Git { keeper: Rc::clone(&keeper), environment: Environment::of_this_process() };
    let worktrees = Worktrees::new(git, attempts_dir);
    let is_any_left = worktrees.left_behind().any(|record| record.attempt.run == *run);
    if is_any_left && keeper.hold_run(run).await.is_ok() {
        worktrees.clean_up_run(run).await;
    }
    keeper.close().await;
}

/// Drops the records of a run's kept worktrees and gives what they said, for those that are still there. The
/// worktrees themselves are their user's.
#[must_use]
pub fn forget_worktrees(attempts_dir: &Path, run: &RunId) -> Vec<String> {
    let mut kept: Vec<Record> = Record::all_in(&dir_in(attempts_dir));
    kept.retain(|record| record.attempt.run == *run && record.kept.is_some());
    kept.sort_by_key(|record| (record.attempt.agent, record.attempt.attempt));
    kept.iter().for_each(Record::forget);
    kept.into_iter().filter(|record| record.path.exists()).filter_map(|record| record.kept).collect()
}
