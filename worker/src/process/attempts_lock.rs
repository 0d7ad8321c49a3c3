//! The attempts lock of a run: held by the keeper whose processes carry out its attempts, so that a new owner of
//! the run starts nothing while processes of the one before still run.

use super::descendants::{Marked, ProcessTable, marked};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, stat};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A held lock; given back when dropped. The file exists while it is held, and after its holder was killed.
#[derive(Debug)]
pub(crate) struct AttemptsLock {
    _file: File,
    path: PathBuf,
}

/// How an attempt to lock went.
#[derive(Debug)]
pub(crate) enum LockOutcome {
    Locked(AttemptsLock),
    /// These processes are why not, each as `PID (NAME)`.
    Busy {
        holders: Vec<String>,
    },
}

impl AttemptsLock {
    /// Takes the lock of `run`, unless somebody has it or processes of its dead holder are still there. Those are
    /// killed here, since nobody else is left to do it.
    pub(crate) fn acquire(path: &Path, run: &str) -> io::Result<LockOutcome> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(open(path, flags, Mode::RUSR | Mode::WUSR)?);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(LockOutcome::Busy { holders: holders(&mut file) }),
            Err(error) => return Err(error.into()),
        }
        if !still_that_file(&file, path) {
            return Ok(LockOutcome::Busy { holders: Vec::new() });
        }
        let mut earlier = String::new();
        file.read_to_string(&mut earlier)?;
        if !earlier.is_empty() {
            let left = kill_left_behind(run);
            if !left.is_empty() {
                return Ok(LockOutcome::Busy { holders: left });
            }
        }
        file.set_len(0)?;
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())?;
        Ok(LockOutcome::Locked(AttemptsLock { _file: file, path: path.to_owned() }))
    }
}

impl Drop for AttemptsLock {
    fn drop(&mut self) {
        // While it is still locked, so that nobody else's file is removed.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// False when the holder removed the file between our opening and locking it.
fn still_that_file(file: &File, path: &Path) -> bool {
    match (fstat(file), stat(path)) {
        (Ok(ours), Ok(there)) => ours.st_ino == there.st_ino && ours.st_dev == there.st_dev,
        _ => false,
    }
}

/// The keeper that holds the lock, and what still runs below it.
fn holders(file: &mut File) -> Vec<String> {
    let mut text = String::new();
    let Ok(_) = file.read_to_string(&mut text) else { return Vec::new() };
    let Ok(keeper) = text.trim().parse::<i32>() else { return Vec::new() };
    let table = ProcessTable::read();
    let below = table.below(keeper);
    std::iter::once(keeper).chain(below).map(|pid| table.describe(pid)).collect()
}

/// Kills processes of attempts of this run whose keeper was killed too; gives those that were there.
fn kill_left_behind(run: &str) -> Vec<String> {
    let table = ProcessTable::read();
    let own: BTreeSet<i32> = i32::try_from(std::process::id()).map(|pid| table.ancestors(pid)).unwrap_or_default();
    let kept = |pid: &i32| table.ancestors(*pid).into_iter().any(is_keeper);
    let of_run = |pid: &i32| matches!(marked(*pid), Marked::By(mark) if mark.run == run) && !kept(pid);
    let foreign = table.pids().filter(|pid| !own.contains(pid));
    let left: Vec<i32> =
        foreign.filter(|pid| table.get(*pid).is_some_and(|process| !process.zombie)).filter(of_run).collect();
    left.into_iter().filter(|pid| table.kill(*pid)).map(|pid| table.describe(pid)).collect()
}

/// Whether this is a keeper: it ends what is below it by itself, such as attempts of the run on another worker here.
fn is_keeper(pid: i32) -> bool {
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command_line.split(|byte| *byte == 0).nth(1) == Some(b"keeper")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_exclusive_and_comes_back() {
        let directory = tempfile::tempdir().expect("creates");
        let path = directory.path().join("deep/wf_1.attempts");
        let LockOutcome::Locked(lock) = AttemptsLock::acquire(&path, "wf_1").expect("locks") else {
            panic!("nobody has it");
        };
        let LockOutcome::Busy { holders } = AttemptsLock::acquire(&path, "wf_1").expect("answers") else {
            panic!("it is held");
        };
        assert!(holders[0].starts_with(&std::process::id().to_string()), "{holders:?}");
        drop(lock);
        assert!(!path.exists());
        assert!(matches!(AttemptsLock::acquire(&path, "wf_1"), Ok(LockOutcome::Locked(_))));
    }

    #[test]
    fn a_file_left_by_a_dead_holder_does_not_keep_others_out() {
        let directory = tempfile::tempdir().expect("creates");
        let path = directory.path().join("wf_1.attempts");
        std::fs::write(&path, "999999999\n").expect("writes");
        assert!(matches!(AttemptsLock::acquire(&path, "wf_1"), Ok(LockOutcome::Locked(_))));
    }
}
