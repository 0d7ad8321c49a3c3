//! The store: whether runs can be kept where they would be, and for how long there is room.

use super::Check;
use crate::args::Global;
use bytes::Bytes;
use rustix::fs::{Access, access, statvfs};
use skein_backend::embedded::{OpenError, Store, network_file_system};
use std::path::{Path, PathBuf};

/// A run of 1000 agents writes about 1 MiB.
const FREE_WARN: u64 = 1024 * 1024 * 1024;
const FREE_FAIL: u64 = 64 * 1024 * 1024;
const ELSEWHERE: &str = "name a local folder that you may write with --store DIR or store.dir of the settings";
/// Written and removed again.
const TABLE: &str = "doctor";

pub async fn store(global: &Global) -> Check {
    let dir = match global.settings.store_dir() {
        Ok(dir) => dir,
        Err(error) => return Check::fail("store", error.to_string(), ELSEWHERE),
    };
    match Store::open_existing(&dir) {
        Ok(store) => existing(&dir, &store).await,
        Err(OpenError::NotFound { .. }) => absent(&dir),
        Err(error @ OpenError::NewerVersion { .. }) => {
            Check::fail("store", error.to_string(), "use the skein that wrote it, or a later one")
        }
        Err(error @ OpenError::DiskFull { .. }) => Check::fail("store", error.to_string(), "make room on that disk"),
        Err(error) => Check::fail("store", error.to_string(), ELSEWHERE),
    }
}

async fn existing(dir: &Path, store: &Store) -> Check {
    let (directory, key) = (store.ports().directory, std::process::id().to_string());
    let written = async {
        directory.put(TABLE, &key, Bytes::from_static(b"written")).await?;
        directory.remove(TABLE, &key).await?;
        Ok::<usize, skein_common::ports::DirectoryError>(directory.list(skein_coordinator::RUNS_TABLE).await?.len())
    };
    match written.await {
        Ok(runs) => Check::ok("store", format!("{}: writable, local, {runs} runs", dir.display())),
        Err(error) => Check::fail("store", format!("{}: {error}", dir.display()), ELSEWHERE),
    }
}

/// The first run will create it in the nearest folder that is there.
fn absent(dir: &Path) -> Check {
    let parent = nearest_existing(dir);
    if let Some(kind) = network_file_system(&parent) {
        return Check::fail("store", format!("{} is on a network file system ({kind})", parent.display()), ELSEWHERE);
    }
    match access(&parent, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if parent.is_dir() => Check::ok("store", format!("{}: the first run creates it", dir.display())),
        Ok(()) => Check::fail("store", format!("{} is no folder", parent.display()), ELSEWHERE),
        Err(error) => Check::fail("store", format!("{}: {error}", parent.display()), ELSEWHERE),
    }
}

pub fn space(global: &Global) -> Check {
    let Ok(dir) = global.settings.store_dir() else {
        return Check::warn("space", "unknown: there is no store", ELSEWHERE);
    };
    let dir = nearest_existing(&dir);
    match statvfs(&dir) {
        Ok(disk) => of_free(&dir, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Check::warn("space", format!("{}: {error}", dir.display()), ELSEWHERE),
    }
}

fn of_free(dir: &Path, free: u64) -> Check {
    let text = format!("{} MiB free for {}", free / (1024 * 1024), dir.display());
    let advice = "remove runs (`skein remove`), shorten retention.days, or name another folder with --store DIR";
    match free {
        0..FREE_FAIL => Check::fail("space", text, advice),
        FREE_FAIL..FREE_WARN => Check::warn("space", text, advice),
        _ => Check::ok("space", text),
    }
}

fn nearest_existing(dir: &Path) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    dir.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn little_room_is_a_warning_and_none_a_failure() {
        let status = |free| of_free(Path::new("/"), free).status;
        assert_eq!(
            [status(0), status(FREE_FAIL), status(FREE_WARN - 1), status(FREE_WARN)],
            [Status::Fail, Status::Warn, Status::Warn, Status::Ok]
        );
    }
}
