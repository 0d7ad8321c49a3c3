//! Connections that read, so that a reader does not wait for commits.

use super::database;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Reads at the same time; more wait. Each costs a thread while it runs and a page cache afterwards.
const READERS_MAX: usize = 4;

/// A small pool of reading connections.
#[derive(Debug)]
pub struct Readers {
    pool: Arc<Pool>,
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
struct Pool {
    dir: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{}", database::reason(.0))]
    Sqlite(#[from] rusqlite::Error),
    #[error("the process is ending")]
    Ending,
}

impl Readers {
    /// Readers of the store in `dir`.
    pub fn new(dir: &Path) -> Readers {
        let pool = Pool { dir: dir.to_owned(), idle: Mutex::default() };
        Readers { pool: Arc::new(pool), permits: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// Carries out the query on a thread that may block. It sees all that was acknowledged before.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| ReadError::Ending)?;
        let pool = self.pool.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let connection = pool.take()?;
            let answer = query(&connection)?; // A connection that answered an error is not used again.
            pool.give_back(connection);
            Ok(answer)
        });
        reading.await.map_err(|_| ReadError::Ending)?
    }
}

impl Pool {
    fn take(&self) -> rusqlite::Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| database::connect(&self.dir), Ok)
    }

    fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}
