//! Worktrees: a fresh checkout of the project's git repository for each attempt that asks for one (C23).
//!
//! | after the attempt | the worktree |
//! |---|---|
//! | nothing is changed, added or committed | is removed, and its branch |
//! | something is | stays, and the agent's record names path and branch |
//!
//! Ignored files are no change. What a kill left behind is settled by the next worker on this node, once no process of
//! the run is left.
//!
//! A report may be lost with who hears it, so what is kept is told again by every later attempt of the agent on this
//! node; who shows an agent shows the same note once.

mod git;
mod leave;
mod record;

pub(crate) use git::{Git, GitError};
pub use leave::{forget_worktrees, settle_worktrees};

use crate::process::{AttemptsLock, LockOutcome};
use crate::runner::{Ended, Stop};
use record::Record;
use skein_common::RunId;
use skein_common::agent::Cause;
use skein_common::wire::AttemptRef;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tokio::sync::Mutex;
use tracing::{info, warn};

/// Makes worktrees and removes them.
#[derive(Debug)]
pub(crate) struct Worktrees {
    git: Git,
    attempts_dir: PathBuf,
    /// Two worktrees of one repository are not made or removed at the same time: git locks some files without waiting.
    repositories: RefCell<BTreeMap<PathBuf, Rc<Mutex<()>>>>,
    /// Those that attempts of this worker are in.
    own: RefCell<BTreeSet<PathBuf>>,
    /// Held while what was left behind is settled.
    cleaning: Mutex<()>,
}

/// What becomes of a worktree of which git does not say whether it was changed.
#[derive(Debug, Clone, Copy)]
enum Doubt {
    /// It is looked at again another time: nobody waits for an answer now.
    Wait,
    /// It is kept, and the note says why.
    Keep,
}

/// A worktree in which an attempt works.
#[derive(Debug)]
pub(crate) struct Worktree {
    record: Record,
    /// The folder in it that stands for the one in which the attempt would have worked.
    pub cwd: PathBuf,
}

/// Where in a repository an attempt would work.
struct Place {
    repository: PathBuf,
    /// From the repository's root.
    prefix: PathBuf,
    commit: String,
}

impl Worktrees {
    /// Records and worktrees are in a folder of `attempts_dir`.
    pub(crate) fn new(git: Git, attempts_dir: PathBuf) -> Worktrees {
        Worktrees {
            git,
            attempts_dir,
            repositories: RefCell::default(),
            own: RefCell::default(),
            cleaning: Mutex::default(),
        }
    }

    /// A fresh worktree of the last commit, for an attempt that would work in the folder `wanted`. The run is held.
    pub(crate) async fn create(&self, attempt: &AttemptRef, wanted: &Path, stop: &mut Stop) -> Result<Worktree, Ended> {
        let place = tokio::select! {
            place = self.place(attempt, wanted) => place?,
            () = stop.asked() => return Err(Ended::lost(None, "stopped")),
        };
        let dir = self.dir();
        let reserved = Record::reserve(&dir, attempt, &place.repository, &place.commit);
        let mut record = reserved
            .map_err(|error| failed("worktree", format!("no worktree can be made in {}: {error}", dir.display())))?;
        self.own.borrow_mut().insert(record.path.clone());
        let made = tokio::select! {
            made = self.make(&mut record) => made,
            () = stop.asked() => Err(Ended::lost(None, "stopped")),
        };
        let cwd = record.path.join(&place.prefix);
        let found = made.and_then(|()| match cwd.is_dir() {
            true => Ok(()),
            false => Err(failed(
                "no_directory",
                format!("isolation 'worktree': {} is not in the last commit", place.prefix.display()),
            )),
        });
        if let Err(ended) = found {
            self.discard(&record).await;
            return Err(ended);
        }
        Ok(Worktree { record, cwd })
    }

    async fn place(&self, attempt: &AttemptRef, wanted: &Path) -> Result<Place, Ended> {
        let asked = ["rev-parse", "--show-toplevel", "--show-prefix"];
        let answer = self.git.run(attempt, wanted, &asked).await.map_err(|error| match error {
            GitError::Failed { message } => {
                let folder = wanted.display();
                failed("no_repository", format!("isolation 'worktree': {folder} is in no git worktree: {message}"))
            }
            other => not_made(other),
        })?;
        let (repository, prefix) = answer.split_once('\n').unwrap_or((&answer, ""));
        let repository = PathBuf::from(repository);
        let asked = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
        let commit = self.git.run(attempt, &repository, &asked).await.map_err(|error| match error {
            GitError::Failed { .. } => {
                let folder = repository.display();
                failed("no_commit", format!("isolation 'worktree': {folder} has no commit to begin with"))
            }
            other => not_made(other),
        })?;
        Ok(Place { repository, prefix: PathBuf::from(prefix), commit })
    }

    async fn make(&self, record: &mut Record) -> Result<(), Ended> {
        let alone = self.alone(&record.repository);
        let _alone = alone.lock().await;
        let path = record.path.to_string_lossy().into_owned();
        // Where HEAD was is how commits on other branches are found; git goes on with a log that is there.
        let logged = ["-c", "core.logAllRefUpdates=true"];
        let add = ["worktree", "add", "--quiet", "--no-track", "-b", &record.branch, &path, &record.base];
        let add = [&logged[..], &add[..]].concat();
        self.git.run(&record.attempt, &record.repository, &add).await.map_err(not_made)?;
        record.mark_ready().map_err(|error| failed("worktree", format!("{path} cannot be recorded: {error}")))
    }

    /// Removes a worktree in which nothing was changed; says where it is if something was.
    pub(crate) async fn settle(&self, worktree: Worktree) -> Option<String> {
        self.settle_record(&worktree.record, Doubt::Keep).await
    }

    /// What was kept of earlier attempts of this agent, the oldest first.
    pub(crate) fn kept_earlier(&self, attempt: &AttemptRef) -> Vec<String> {
        let same = |record: &Record| record.attempt.run == attempt.run && record.attempt.agent == attempt.agent;
        let mut earlier: Vec<Record> = Record::all_in(&self.dir()).into_iter().filter(same).collect();
        earlier.sort_by(|one, other| (one.attempt.attempt, &one.path).cmp(&(other.attempt.attempt, &other.path)));
        earlier.into_iter().filter_map(|record| record.kept).collect()
    }

    async fn settle_record(&self, record: &Record, doubt: Doubt) -> Option<String> {
        let path = record.path.display();
        let settled = match self.is_unchanged(record).await {
            Ok(false) => Ok(format!("worktree kept: {path} ({})", self.branch_of(record).await)),
            Ok(true) => match self.remove(record, &[]).await {
                Ok(()) => return None,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let note = match (settled, doubt) {
            (Ok(note), _) => note,
            (Err(error), Doubt::Keep) => format!("worktree kept: {path} (branch {}): {error}", record.branch),
            (Err(error), Doubt::Wait) => {
                warn!(%path, %error, "what was left of a worktree cannot be settled yet");
                return None;
            }
        };
        if let Err(error) = record.mark_kept(&note) {
            // Its record stays as it was, so it is settled again.
            warn!(%path, %error, "that a worktree is kept cannot be recorded");
        }
        self.own.borrow_mut().remove(&record.path);
        Some(note)
    }

    /// Nothing was committed, changed or added since it was made.
    async fn is_unchanged(&self, record: &Record) -> Result<bool, GitError> {
        let Record { attempt, repository, path, branch, base, .. } = record;
        let branch = format!("refs/heads/{branch}");
        let asked = ["for-each-ref", "--format=%(objectname)", &branch];
        let tip = self.git.run(attempt, repository, &asked).await?;
        if !tip.is_empty() && tip != *base {
            return Ok(false);
        }
        if !path.exists() {
            return Ok(true);
        }
        let asked = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
        let head = self.git.run(attempt, path, &asked).await?;
        if self.has_been_elsewhere(record).await? {
            return Ok(false);
        }
        let status = ["status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none"];
        match self.git.run(attempt, path, &status).await {
            Ok(changes) => Ok(head == *base && changes.is_empty()),
            Err(GitError::TooLarge) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether HEAD was at another commit than the first in between: a commit on another branch or on none may be
    /// all that an agent did, and is lost with the worktree's log when nothing else names it.
    async fn has_been_elsewhere(&self, record: &Record) -> Result<bool, GitError> {
        match self.git.run(&record.attempt, &record.path, &["rev-list", "--walk-reflogs", "HEAD"]).await {
            Ok(commits) => Ok(commits.lines().any(|commit| commit != record.base)),
            Err(GitError::TooLarge) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The branch it stands on now, for people.
    async fn branch_of(&self, record: &Record) -> String {
        let asked = ["symbolic-ref", "--short", "--quiet", "HEAD"];
        match self.git.run(&record.attempt, &record.path, &asked).await {
            Ok(branch) => format!("branch {branch}"),
            Err(_) => format!("branch {}, not checked out", record.branch),
        }
    }

    /// Takes worktree and branch out of the repository. Without `force` git refuses what it finds changed.
    async fn remove(&self, record: &Record, force: &[&str]) -> Result<(), GitError> {
        let Record { attempt, repository, path, .. } = record;
        let alone = self.alone(repository);
        let _alone = alone.lock().await;
        let path = path.to_string_lossy();
        let remove: Vec<&str> = ["worktree", "remove"].iter().chain(force).copied().chain([path.as_ref()]).collect();
        self.git.run(attempt, repository, &remove).await?;
        self.remove_branch(record).await;
        self.forget(record);
        Ok(())
    }

    /// Unless something was committed to it.
    async fn remove_branch(&self, record: &Record) {
        let Record { attempt, repository, branch, base, .. } = record;
        let name = format!("refs/heads/{branch}");
        if let Err(error) = self.git.run(attempt, repository, &["update-ref", "-d", &name, base]).await {
            warn!(branch, %error, "the branch of a removed worktree stays");
        }
    }

    fn forget(&self, record: &Record) {
        record.forget();
        self.own.borrow_mut().remove(&record.path);
    }

    /// Removes what no program has worked in, however much of it there is.
    async fn discard(&self, record: &Record) {
        // Twice: one that was being made is locked.
        let force = ["--force", "--force"];
        if self.remove(record, &force).await.is_ok() {
            return;
        }
        if record.path.exists()
            && let Err(error) = std::fs::remove_dir_all(&record.path)
        {
            warn!(path = %record.path.display(), %error, "what there is of a worktree cannot be removed");
            return;
        }
        // What git knows of it, if it was told of it at all.
        if self.remove(record, &force).await.is_err() {
            let name = format!("refs/heads/{}", record.branch);
            let asked = ["rev-parse", "--verify", "--quiet", &name];
            if self.git.run(&record.attempt, &record.repository, &asked).await.is_ok() {
                self.remove_branch(record).await;
            }
            self.forget(record);
        }
    }

    /// Settles what killed workers of this node left behind of runs that nobody has now.
    pub(crate) async fn clean_up(&self) {
        let runs: BTreeSet<RunId> = self.left_behind().map(|record| record.attempt.run).collect();
        for run in runs.into_iter().filter(|run| !self.is_held_elsewhere(run)) {
            if self.git.keeper.hold_run(&run).await.is_ok() {
                self.settle_left(&run, Doubt::Wait).await;
            }
            self.git.keeper.release_run(&run).await;
        }
    }

    /// Settles what killed workers of this node left behind of a run that is held here.
    pub(crate) async fn clean_up_run(&self, run: &RunId) {
        self.settle_left(run, Doubt::Keep).await;
    }

    async fn settle_left(&self, run: &RunId, doubt: Doubt) {
        let _alone = self.cleaning.lock().await;
        let left: Vec<Record> = self.left_behind().filter(|record| record.attempt.run == *run).collect();
        for record in left {
            self.clean_up_one(&record, doubt).await;
        }
    }

    /// What nobody works in any more and nobody has settled.
    fn left_behind(&self) -> impl Iterator<Item = Record> {
        let own = self.own.borrow().clone();
        let is_left = move |record: &Record| record.kept.is_none() && !own.contains(&record.path);
        Record::all_in(&self.dir()).into_iter().filter(is_left)
    }

    /// Whether another worker has processes of the run, or some of a killed one were just found and killed.
    fn is_held_elsewhere(&self, run: &RunId) -> bool {
        let lock = self.attempts_dir.join(format!("{run}.attempts"));
        !matches!(AttemptsLock::acquire(&lock, run.as_str()), Ok(LockOutcome::Locked(_)))
    }

    async fn clean_up_one(&self, record: &Record, doubt: Doubt) {
        let path = record.path.display();
        if !record.repository.exists() {
            warn!(%path, repository = %record.repository.display(), "a worktree is left whose repository is gone");
            self.forget(record);
        } else if record.ready {
            match self.settle_record(record, doubt).await {
                Some(note) => warn!(run_id = %record.attempt.run, agent = record.attempt.agent, "after a kill: {note}"),
                None if !record.path.exists() => info!(%path, "a worktree that was left behind is removed"),
                None => {}
            }
        } else {
            self.discard(record).await;
        }
    }

    fn dir(&self) -> PathBuf {
        dir_in(&self.attempts_dir)
    }

    fn alone(&self, repository: &Path) -> Rc<Mutex<()>> {
        Rc::clone(self.repositories.borrow_mut().entry(repository.to_owned()).or_default())
    }
}

/// Where worktrees and their records are.
fn dir_in(attempts_dir: &Path) -> PathBuf {
    attempts_dir.join("worktrees")
}

fn failed(detail: &str, message: impl Into<String>) -> Ended {
    Ended::failed(Cause::Failed, Some(detail), message)
}

fn not_made(error: GitError) -> Ended {
    match error {
        GitError::Missing => failed("no_git", format!("isolation 'worktree': {error}")),
        GitError::Keeper(error) => Ended::lost(Some("keeper"), error.to_string()),
        GitError::Failed { .. } | GitError::Slow | GitError::TooLarge => {
            failed("worktree", format!("isolation 'worktree': no worktree was made: {error}"))
        }
    }
}
