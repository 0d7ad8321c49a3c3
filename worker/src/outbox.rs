//! Reports on their way to the owners of their runs. What is not accepted soon is kept on disk until it is, so that a
//! result survives this process.

use skein_common::ports::{Results, ResultsError};
use skein_common::wire::{AttemptReport, decode, encode};
use skein_common::{Digest, RunId};
use std::cell::{Cell, RefCell};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// A report that is not accepted for so long is written to disk.
const KEEP_AFTER: Duration = Duration::from_secs(1);
/// Between two tries to publish a report, at first and at most.
const PUBLISH_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// What an earlier process kept is waited for so long at the start; the rest goes on beside.
const LEFT_OVER_WAIT: Duration = Duration::from_secs(5);
/// Where files go that are no reports.
const DAMAGED: &str = "damaged";
/// How the name of a file ends that is being written.
const UNFINISHED: &str = ".new";

/// The reports of one worker. Without a folder nothing is kept.
pub(crate) struct Outbox {
    results: Arc<dyn Results>,
    dir: Option<PathBuf>,
    /// Sends what no attempt waits for.
    background: RefCell<JoinSet<()>>,
    /// How many it has not sent yet.
    unsent: Cell<usize>,
}

/// A report as it is sent.
#[derive(Debug)]
pub(crate) struct Letter {
    run: RunId,
    report: bytes::Bytes,
    /// It is on disk.
    kept: Cell<bool>,
}

impl Letter {
    /// Of this report. `None` cannot happen: every report has bytes.
    pub(crate) fn of(report: &AttemptReport) -> Option<Letter> {
        let bytes = encode(report).inspect_err(|error| warn!(%error, "a report cannot be written")).ok()?;
        Some(Letter { run: report.attempt.run.clone(), report: bytes, kept: Cell::new(false) })
    }

    /// Of a file. Its name is the digest of its bytes, and they name the run.
    fn of_file(name: &str, bytes: Vec<u8>) -> Option<Letter> {
        let report: AttemptReport = decode(&bytes).ok()?;
        let is_whole = Digest::of(&bytes).0 == name;
        is_whole.then(|| Letter { run: report.attempt.run, report: bytes.into(), kept: Cell::new(true) })
    }

    fn file_name(&self) -> String {
        Digest::of(&self.report).0
    }
}

impl Outbox {
    /// Keeps what is not accepted in the folder `outbox` of this one.
    pub(crate) fn open(results: Arc<dyn Results>, state_dir: Option<&Path>) -> io::Result<Outbox> {
        let dir = state_dir.map(|dir| dir.join("outbox"));
        if let Some(dir) = &dir {
            DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir)?;
        }
        Ok(Outbox { results, dir, background: RefCell::default(), unsent: Cell::new(0) })
    }

    /// Publishes until the report is accepted.
    pub(crate) async fn send(&self, letter: &Letter) {
        let (mut pause, pause_max) = PUBLISH_AGAIN;
        while let Err(error) = self.publish(letter).await {
            warn!(run_id = %letter.run, %error, "a report is not published yet");
            self.keep(letter).await;
            tokio::time::sleep(pause).await;
            pause = pause_max.min(pause * 2);
        }
        self.discard(letter).await;
    }

    /// Once; meanwhile the report is kept when it takes long.
    async fn publish(&self, letter: &Letter) -> Result<(), ResultsError> {
        let mut publishing = pin!(self.results.publish(&letter.run, letter.report.clone()));
        if let Ok(published) = timeout(KEEP_AFTER, &mut publishing).await {
            return published;
        }
        self.keep(letter).await;
        publishing.await
    }

    /// Goes on publishing when nobody waits for it any more.
    pub(crate) fn send_beside(self: &Rc<Self>, letter: Letter, sent: impl FnOnce() + 'static) {
        let outbox = Rc::clone(self);
        let mut background = self.background.borrow_mut();
        while background.try_join_next().is_some() {}
        self.unsent.set(self.unsent.get() + 1);
        background.spawn_local(async move {
            outbox.send(&letter).await;
            outbox.unsent.set(outbox.unsent.get().saturating_sub(1));
            sent();
        });
    }

    /// Publishes what an earlier process kept; waits for it for a while only.
    pub(crate) async fn send_left_over(self: &Rc<Self>) {
        let Some(dir) = self.dir.clone() else { return };
        let letters = match on_blocking_thread(move || left_over(&dir)).await {
            Ok(letters) => letters,
            Err(error) => return warn!(%error, "reports that were kept cannot be read"),
        };
        if letters.is_empty() {
            return;
        }
        info!(reports = letters.len(), "reports that an earlier process kept are published");
        let (left, mut none_left) = watch::channel(letters.len());
        let left = Rc::new(left);
        for letter in letters {
            let left = Rc::clone(&left);
            self.send_beside(letter, move || left.send_modify(|left| *left -= 1));
        }
        let _ = timeout(LEFT_OVER_WAIT, none_left.wait_for(|left| *left == 0)).await;
    }

    /// Writes the report to disk, unless it is there or there is no place for it.
    pub(crate) async fn keep(&self, letter: &Letter) {
        let Some(dir) = self.dir.clone().filter(|_| !letter.kept.get()) else { return };
        let (name, report) = (letter.file_name(), letter.report.clone());
        match on_blocking_thread(move || write(&dir, &name, &report)).await {
            Ok(()) => letter.kept.set(true),
            // It is in memory still.
            Err(error) => warn!(run_id = %letter.run, %error, "a report cannot be kept on disk"),
        }
    }

    /// Nobody needs the report any more.
    pub(crate) async fn discard(&self, letter: &Letter) {
        let Some(dir) = self.dir.as_deref().filter(|_| letter.kept.get()) else { return };
        let path = dir.join(letter.file_name());
        match on_blocking_thread(move || fs::remove_file(path)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // It is published again at the next start, and dropped by its owner.
                warn!(run_id = %letter.run, %error, "a report that was accepted cannot be removed from disk");
            }
            _ => letter.kept.set(false),
        }
    }

    /// Whether a report that is given up now can be published later.
    pub(crate) fn keeps(&self) -> bool {
        self.dir.is_some()
    }

    /// Whether every report is accepted, but for those that attempts wait for.
    pub(crate) fn is_clear(&self) -> bool {
        self.unsent.get() == 0
    }

    /// Ends what goes on beside; it is on disk.
    pub(crate) fn close(&self) {
        self.background.borrow_mut().abort_all();
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("dir", &self.dir).finish_non_exhaustive()
    }
}

async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(io::Error::other("the process is ending")))
}

/// Whole or not at all, also when the power fails.
fn write(dir: &Path, name: &str, report: &[u8]) -> io::Result<()> {
    let unfinished = dir.join(format!("{name}{UNFINISHED}"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(&unfinished)?;
    file.write_all(report)?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(name))?;
    fs::File::open(dir)?.sync_all()
}

/// What is in the folder: reports, in the order in which they were kept. What is none is moved aside.
fn left_over(dir: &Path) -> io::Result<Vec<Letter>> {
    let mut letters = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if !metadata.is_file() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(UNFINISHED) {
            // Its writer died before the report was whole.
            fs::remove_file(entry.path())?;
            continue;
        }
        match Letter::of_file(&name, fs::read(entry.path())?) {
            Some(letter) => letters.push((metadata.modified()?, letter)),
            None => move_aside(dir, &entry.path())?,
        }
    }
    letters.sort_by_key(|(kept_at, _)| *kept_at);
    Ok(letters.into_iter().map(|(_, letter)| letter).collect())
}

fn move_aside(dir: &Path, path: &Path) -> io::Result<()> {
    let aside = dir.join(DAMAGED);
    DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(&aside)?;
    let Some(name) = path.file_name() else { return Ok(()) };
    warn!(path = %path.display(), aside = %aside.display(), "this is no report, or a damaged one: it is moved aside");
    fs::rename(path, aside.join(name))
}
