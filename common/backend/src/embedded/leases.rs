//! Leases: a locked file per name, and a counter in SQLite for the epochs.

use super::lock_file::{LockFile, Taken};
use super::writer::Writer;
use async_trait::async_trait;
use skein_common::Epoch;
use skein_common::ports::{BoxError, Lease, LeaseError, Leases};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A file name is at most 255 bytes.
const NAME_BYTES_MAX: usize = 200;

/// Leases that last as long as their process: there is no time to renew in. One counter serves all names, so epochs
/// grow but are not consecutive.
#[derive(Debug)]
pub struct FileLeases {
    writer: Arc<Writer>,
    dir: PathBuf,
    held: Mutex<BTreeMap<String, Held>>,
}

#[derive(Debug)]
struct Held {
    epoch: Epoch,
    lock: LockFile,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` cannot name a lease: expected letters, digits, `_`, `-` and `.`")]
struct BadName(String);

impl FileLeases {
    /// Leases whose files are in `dir`.
    pub fn new(writer: Arc<Writer>, dir: PathBuf) -> FileLeases {
        FileLeases { writer, dir, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> Result<PathBuf, LeaseError> {
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if !fits {
            return Err(unavailable(BadName(name.chars().take(NAME_BYTES_MAX).collect())));
        }
        Ok(self.dir.join(format!("{name}.lock")))
    }

    /// Takes the lease out of our hands if it is this one.
    fn give_up(&self, lease: &Lease) -> Option<Held> {
        let mut held = self.held();
        held.get(&lease.name).is_some_and(|held| held.epoch == lease.epoch).then(|| held.remove(&lease.name)).flatten()
    }
}

#[async_trait]
impl Leases for FileLeases {
    async fn acquire(&self, name: &str, owner: &str) -> Result<Lease, LeaseError> {
        let (path, owner) = (self.path(name)?, owner.to_owned());
        let lock = match on_blocking_thread(move || LockFile::take(&path, &owner)).await? {
            Taken::Ours(lock) => lock,
            Taken::Theirs(holder) => return Err(LeaseError::Held { name: name.to_owned(), holder }),
        };
        let bump = self.writer.write(|connection| {
            let mut update = connection.prepare_cached("UPDATE epochs SET newest = newest + 1 RETURNING newest")?;
            update.query_row([], |row| row.get::<_, i64>(0))
        });
        let epoch = bump.await.map_err(unavailable)?.cast_unsigned();
        self.held().insert(name.to_owned(), Held { epoch, lock });
        Ok(Lease { name: name.to_owned(), epoch })
    }

    async fn renew(&self, lease: &Lease) -> Result<(), LeaseError> {
        let is_ours = |held: &Held| held.epoch == lease.epoch && held.lock.is_in_place().unwrap_or(false);
        if self.held().get(&lease.name).is_some_and(is_ours) {
            return Ok(());
        }
        drop(self.give_up(lease));
        Err(LeaseError::Lost { name: lease.name.clone() })
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        let held = self.give_up(lease);
        on_blocking_thread(move || {
            drop(held);
            Ok(())
        })
        .await
    }

    async fn holder(&self, name: &str) -> Result<Option<String>, LeaseError> {
        let path = self.path(name)?;
        on_blocking_thread(move || LockFile::holder(&path)).await
    }

    async fn holders(&self, prefix: &str) -> Result<Vec<(String, String)>, LeaseError> {
        let (dir, prefix) = (self.dir.clone(), prefix.to_owned());
        on_blocking_thread(move || holders_in(&dir, &prefix)).await
    }
}

fn holders_in(dir: &Path, prefix: &str) -> std::io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let name = file_name.to_str().and_then(|name| name.strip_suffix(".lock"));
        let Some(name) = name.filter(|name| name.starts_with(prefix)) else { continue };
        if let Some(holder) = LockFile::holder(&entry.path())? {
            found.push((name.to_owned(), holder));
        }
    }
    found.sort();
    Ok(found)
}

/// Creating and removing a file may wait for the disk.
async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, LeaseError> {
    tokio::task::spawn_blocking(work).await.map_err(unavailable)?.map_err(unavailable)
}

fn unavailable(error: impl Into<BoxError>) -> LeaseError {
    LeaseError::Unavailable { source: error.into() }
}
