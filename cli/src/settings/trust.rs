//! Trust: which projects may name programs that run here. Recorded by folder and by what was trusted, so that a project
//! that changes has to be trusted again.

use super::{ProjectItems, state_dir};
use serde::{Deserialize, Serialize};
use skein_common::Digest;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A folder that a person trusts. Stored: grows by optional fields only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedFolder {
    pub dir: PathBuf,
    /// Of what was trusted.
    pub digest: Digest,
    #[serde(default)]
    pub at_ms: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct TrustFile {
    folders: Vec<TrustedFolder>,
}

/// Whether this very content of the project is trusted.
#[must_use]
pub fn is_trusted(dir: &Path, items: &ProjectItems) -> bool {
    let Ok(dir) = dir.canonicalize() else { return false };
    match trusted_folders() {
        Ok(folders) => folders.iter().any(|folder| folder.dir == dir && folder.digest == items.digest()),
        Err(error) => {
            tracing::warn!(%error, "no project is trusted: the list cannot be read");
            false
        }
    }
}

/// The command that trusts this folder, for a shell.
#[must_use]
pub fn command_for(dir: &Path) -> String {
    format!("skein trust {}", shell_words::quote(&dir.to_string_lossy()))
}

/// All folders that are trusted, in the order in which they were.
///
/// # Errors
/// The list is there and cannot be read.
pub fn trusted_folders() -> io::Result<Vec<TrustedFolder>> {
    let Some(path) = list_path() else { return Ok(Vec::new()) };
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice::<TrustFile>(&bytes)?.folders),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Trusts what the folder holds now, instead of what it held before.
///
/// # Errors
/// The list cannot be written.
pub fn add(folder: TrustedFolder) -> io::Result<()> {
    change_list(|folders| {
        folders.retain(|known| known.dir != folder.dir);
        folders.push(folder);
    })
}

/// Trusts the folder no more; whether it was trusted.
///
/// # Errors
/// The list cannot be written.
pub fn remove(dir: &Path) -> io::Result<bool> {
    let mut was_there = false;
    change_list(|folders| {
        let before = folders.len();
        folders.retain(|known| known.dir != dir);
        was_there = folders.len() < before;
    })?;
    Ok(was_there)
}

fn list_path() -> Option<PathBuf> {
    Some(state_dir()?.join("trusted.json"))
}

/// One process at a time reads, changes and replaces the list; readers see the old or the new one.
fn change_list(change: impl FnOnce(&mut Vec<TrustedFolder>)) -> io::Result<()> {
    let no_home = || io::Error::new(io::ErrorKind::NotFound, "no home directory to keep the list in");
    let path = list_path().ok_or_else(no_home)?;
    let dir = path.parent().ok_or_else(no_home)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let lock = private_file(&dir.join("trusted.lock"))?;
    lock.lock()?;
    let mut folders = trusted_folders()?;
    change(&mut folders);
    let replacement = path.with_extension("new");
    let mut file = private_file(&replacement)?;
    file.set_len(0)?;
    file.write_all(&serde_json::to_vec_pretty(&TrustFile { folders })?)?;
    file.sync_all()?;
    fs::rename(replacement, path)
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}
