//! Why a store cannot be opened, in words for the person who typed the command.

use rusqlite::ErrorCode;
use std::io;
use std::path::{Path, PathBuf};

/// What a person can do something about when a store does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("there is no store in {}", dir.display())]
    NotFound { dir: PathBuf },
    #[error("{} holds a store of a newer version ({found}, this program knows up to {known})", dir.display())]
    NewerVersion { dir: PathBuf, found: i64, known: i64 },
    #[error(
        "{} is on a network file system ({kind}), where locks and shared memory cannot be relied on; \
         name a local directory with --store", dir.display()
    )]
    NetworkFileSystem { dir: PathBuf, kind: String },
    #[error("the store in {} is read-only; name a directory you may write with --store", dir.display())]
    ReadOnly { dir: PathBuf },
    #[error("disk full: no room for the store in {}", dir.display())]
    DiskFull { dir: PathBuf },
    #[error("the store in {} is damaged: {reason}", dir.display())]
    Damaged { dir: PathBuf, reason: String },
    #[error("{} is the database of another program", dir.join("skein.db").display())]
    Foreign { dir: PathBuf },
    #[error("cannot open the store in {}: {reason}", dir.display())]
    Unavailable { dir: PathBuf, reason: String },
}

impl OpenError {
    /// Sorts what the operating system answered.
    pub(super) fn from_io(dir: &Path, error: &io::Error) -> OpenError {
        let dir = dir.to_owned();
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => OpenError::ReadOnly { dir },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::DiskFull { dir },
            _ => OpenError::Unavailable { dir, reason: error.to_string() },
        }
    }

    /// Sorts what SQLite answered.
    pub(super) fn from_sqlite(dir: &Path, error: &rusqlite::Error) -> OpenError {
        let (dir, reason) = (dir.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => OpenError::DiskFull { dir },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => OpenError::ReadOnly { dir },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => OpenError::Damaged { dir, reason },
            _ => OpenError::Unavailable { dir, reason },
        }
    }
}
