//! Records: one file beside each worktree, so that the next worker on this node finds what a kill left behind, and every
//! later attempt of the agent what was kept of the earlier ones. It goes with the worktree, or with its run.

use serde::{Deserialize, Serialize};
use skein_common::wire::AttemptRef;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// An attempt may find worktrees of its own name left behind and changed; then the next free name is taken.
const NAMES_MAX: u32 = 100;

/// A worktree that is being made, used or removed, or that was kept. Stored: grows by optional fields only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub attempt: AttemptRef,
    /// Of the worktree it was made from.
    pub repository: PathBuf,
    pub path: PathBuf,
    pub branch: String,
    /// The commit it began with.
    pub base: String,
    /// It was made whole, so that a program may have worked in it.
    #[serde(default)]
    pub ready: bool,
    /// It was changed, so it stays: what the agent's record is told. Nothing of ours touches it from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

impl Record {
    /// Takes a free name in this folder. Path and branch carry run, agent and attempt.
    pub(super) fn reserve(dir: &Path, attempt: &AttemptRef, repository: &Path, base: &str) -> io::Result<Record> {
        fs::create_dir_all(dir)?;
        let AttemptRef { run, agent, attempt: number } = attempt;
        for name in 1..=NAMES_MAX {
            let more = if name == 1 { String::new() } else { format!("-{name}") };
            let record = Record {
                attempt: attempt.clone(),
                repository: repository.to_owned(),
                path: dir.join(format!("{run}-{agent}-{number}{more}")),
                branch: format!("skein/{run}/{agent}-{number}{more}"),
                base: base.to_owned(),
                ready: false,
                kept: None,
            };
            if record.path.exists() {
                continue;
            }
            match fs::File::create_new(record.file()) {
                Ok(mut file) => {
                    file.write_all(&record.encoded()?)?;
                    return Ok(record);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("too many worktrees of this attempt are left"))
    }

    /// A program may work in it from now on.
    pub(super) fn mark_ready(&mut self) -> io::Result<()> {
        self.ready = true;
        self.store()
    }

    /// It stays for good, and this is said of it.
    pub(super) fn mark_kept(&self, note: &str) -> io::Result<()> {
        Record { kept: Some(note.to_owned()), ..self.clone() }.store()
    }

    fn store(&self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        fs::write(&new, self.encoded()?)?;
        fs::rename(new, self.file())
    }

    /// Nobody needs to hear of it any more.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(self.path.with_extension("new"));
        if let Err(error) = fs::remove_file(self.file()) {
            tracing::debug!(path = %self.path.display(), %error, "no record of a worktree to remove");
        }
    }

    /// Every record in this folder that can be read.
    pub(super) fn all_in(dir: &Path) -> Vec<Record> {
        let files = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let records = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        records.filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect()
    }

    fn file(&self) -> PathBuf {
        self.path.with_extension("json")
    }

    fn encoded(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> AttemptRef {
        AttemptRef { run: skein_common::RunId::from_uuid(uuid::Uuid::nil()), agent: 3, attempt: 1 }
    }

    #[test]
    fn c23_a_name_that_is_taken_is_not_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = || Record::reserve(dir.path(), &attempt(), Path::new("/repository"), "base").unwrap();
        let (first, second) = (reserve(), reserve());
        assert!(first.path.to_str().unwrap().ends_with("-3-1"), "{first:?}");
        assert!(second.path.to_str().unwrap().ends_with("-3-1-2") && second.branch.ends_with("/3-1-2"), "{second:?}");
    }

    #[test]
    fn c23_a_record_is_found_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Record::all_in(&dir.path().join("missing")), []);
        let mut record = Record::reserve(dir.path(), &attempt(), Path::new("/repository"), "base").unwrap();
        record.mark_ready().unwrap();
        fs::write(dir.path().join("torn.json"), "{").unwrap();
        assert_eq!(Record::all_in(dir.path()), [record.clone()]);
        record.mark_kept("note").unwrap();
        assert_eq!(Record::all_in(dir.path()), [Record { kept: Some("note".into()), ..record.clone() }]);
        record.forget();
        assert_eq!(Record::all_in(dir.path()), []);
    }
}
