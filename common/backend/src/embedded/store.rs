//! A store: one directory with the database, the locks of the runs, and the ports over them.

use super::blobs::SqliteBlobs;
use super::changes::Changes;
use super::control::LocalControl;
use super::database;
use super::directory::SqliteDirectory;
use super::feed::LocalFeed;
use super::file_system::network_file_system;
use super::journal::SqliteJournal;
use super::leases::FileLeases;
use super::open_error::OpenError;
use super::readers::Readers;
use super::results::LocalResults;
use super::tasks::LocalTasks;
use super::writer::Writer;
use skein_common::RunId;
use skein_common::ports::Ports;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// An open store. Clones share it; it closes when the last of them and of its ports is dropped.
///
/// Besides `skein.db` the directory holds SQLite's `skein.db-wal`, which belongs to it: copy both or neither.
#[derive(Debug, Clone)]
pub struct Store {
    ports: Ports,
    runs_dir: PathBuf,
}

/// What tests set and users do not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    /// Refuses to let the database grow beyond so many pages, as a full disk does.
    pub pages_max: Option<u32>,
}

impl Store {
    /// Opens the store in `dir`, and creates both when they are not there.
    pub fn open(dir: &Path) -> Result<Store, OpenError> {
        Store::open_with(dir, Settings::default())
    }

    pub(crate) fn open_with(dir: &Path, settings: Settings) -> Result<Store, OpenError> {
        let refuse = |error: io::Error| OpenError::from_io(dir, &error);
        create_private_dir(dir).map_err(refuse)?;
        refuse_network(dir)?;
        create_private_dir(&dir.join("runs")).map_err(refuse)?;
        let opening = opening_lock(dir).map_err(refuse)?;
        create_private_file(&dir.join(database::FILE_NAME)).map_err(refuse)?;
        let connection = database::open(dir, true)?;
        drop(opening);
        let sqlite = |error: rusqlite::Error| OpenError::from_sqlite(dir, &error);
        if database::is_read_only(&connection).map_err(sqlite)? {
            return Err(OpenError::ReadOnly { dir: dir.to_owned() });
        }
        if let Some(pages) = settings.pages_max {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).map_err(sqlite)?;
        }
        Ok(Store::over(dir, Writer::start(connection).map_err(refuse)?))
    }

    /// Opens the store in `dir` for a reader: nothing is created, and a store that may only be read is read. In a
    /// store that may only be read every write answers that it is read-only.
    pub fn open_existing(dir: &Path) -> Result<Store, OpenError> {
        if !dir.join(database::FILE_NAME).exists() {
            return Err(OpenError::NotFound { dir: dir.to_owned() });
        }
        refuse_network(dir)?;
        let connection = database::open(dir, false)?;
        let read_only = database::is_read_only(&connection).map_err(|error| OpenError::from_sqlite(dir, &error))?;
        let writer = if read_only {
            Writer::refusing()
        } else {
            Writer::start(connection).map_err(|error| OpenError::from_io(dir, &error))?
        };
        Ok(Store::over(dir, writer))
    }

    /// The ports over this store.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports.clone()
    }

    /// Where the lock and the socket of each run are.
    #[must_use]
    pub fn runs_dir(&self) -> PathBuf {
        self.runs_dir.clone()
    }

    /// Notices of what any process does to this store from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes::of(self.runs_dir.parent().unwrap_or(&self.runs_dir))
    }

    /// Removes what a run left in the folder of locks and sockets. Its lease file goes when the lease is released.
    pub fn remove_files(&self, run: &RunId) -> io::Result<()> {
        for entry in fs::read_dir(&self.runs_dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let of_run = name.to_str().and_then(|name| name.strip_prefix(run.as_str())?.strip_prefix('.'));
            if of_run.is_some_and(|rest| rest != "lock") {
                match fs::remove_file(entry.path()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _removed_or_gone_already => {}
                }
            }
        }
        Ok(())
    }

    fn over(dir: &Path, writer: Writer) -> Store {
        let (writer, readers) = (Arc::new(writer), Arc::new(Readers::new(dir)));
        let runs_dir = dir.join("runs");
        let ports = Ports {
            journal: Arc::new(SqliteJournal::new(writer.clone(), readers.clone())),
            blobs: Arc::new(SqliteBlobs::new(writer.clone(), readers.clone())),
            directory: Arc::new(SqliteDirectory::new(writer.clone(), readers)),
            leases: Arc::new(FileLeases::new(writer, runs_dir.clone())),
            tasks: Arc::new(LocalTasks::default()),
            results: Arc::new(LocalResults::default()),
            control: Arc::new(LocalControl::default()),
            steering: Arc::new(LocalControl::default()),
            shards: None,
            feed: Arc::new(LocalFeed::default()),
        };
        Store { ports, runs_dir }
    }
}

fn refuse_network(dir: &Path) -> Result<(), OpenError> {
    match network_file_system(dir) {
        Some(kind) => Err(OpenError::NetworkFileSystem { dir: dir.to_owned(), kind }),
        None => Ok(()),
    }
}

/// A directory that is there already keeps its mode: it is the user's.
fn create_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir)
}

/// SQLite gives its other files the mode of the database. Under the opening lock only: closing a file that a
/// connection of this process has open would drop SQLite's own locks.
fn create_private_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(PRIVATE_FILE).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !fs::exists(path)? => Err(error),
        _ => Ok(()),
    }
}

/// Held while a store is opened, by one process and thread at a time.
fn opening_lock(dir: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE_FILE).open(dir.join("open.lock"))?;
    file.lock()?;
    Ok(file)
}
