//! A file whose lock dies with the process that holds it, and that names its holder.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Probes hold a shared lock for some microseconds each; so many in a row in our way do not happen.
const TRIES_MAX: u32 = 10_000;
const UNKNOWN_HOLDER: &str = "an unknown process";

/// An exclusive lock. Dropped, the file is removed and the lock is free; killed, the lock is free.
///
/// The descriptor closes on exec (Rust opens files so), therefore child processes do not keep the lock.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    file: File,
}

/// How trying to take a lock ended.
#[derive(Debug)]
pub enum Taken {
    Ours(LockFile),
    /// Who holds it.
    Theirs(String),
}

impl LockFile {
    /// Takes the lock at `path` for `owner`, without waiting.
    pub fn take(path: &Path, owner: &str) -> io::Result<Taken> {
        for _ in 0..TRIES_MAX {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            if try_lock(&file, FlockOperation::NonBlockingLockExclusive)? {
                let lock = LockFile { path: path.to_owned(), file };
                if !lock.is_in_place()? {
                    continue; // Its holder removed the file between our open and our lock.
                }
                lock.file.set_len(0)?;
                lock.file.write_all_at(format!("{owner}\n{}\n", std::process::id()).as_bytes(), 0)?;
                return Ok(Taken::Ours(lock));
            }
            if !try_lock(&file, FlockOperation::NonBlockingLockShared)? {
                return Ok(Taken::Theirs(describe(&file)));
            }
            // A shared lock could be had, so there is no holder: somebody only looked.
            std::thread::yield_now();
        }
        Ok(Taken::Theirs(UNKNOWN_HOLDER.to_owned()))
    }

    /// Who holds the lock at `path`. Never waits; a `take` that meets it tries again.
    pub fn holder(path: &Path) -> io::Result<Option<String>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let free = try_lock(&file, FlockOperation::NonBlockingLockShared)?;
        Ok((!free).then(|| describe(&file)))
    }

    /// Whether the file is still there. When somebody removed it, another process may hold a new one.
    pub fn is_in_place(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() > 0)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // The name may belong to the file of another holder already.
        if self.is_in_place().unwrap_or(false) {
            let _ = fs::remove_file(&self.path);
        }
        // Closing is not enough: a child process between its fork and its exec has the descriptor, too.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn describe(file: &File) -> String {
    let mut text = [0; 512];
    let length = file.read_at(&mut text, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]);
    match text.trim_end().rsplit_once('\n') {
        Some((owner, process)) => format!("{owner} (process {process})"),
        None => UNKNOWN_HOLDER.to_owned(), // It has just taken the lock.
    }
}
