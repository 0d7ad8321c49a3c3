//! Changes: wakes whoever waits for something that another process writes to the store.

use std::path::Path;
use std::time::Duration;

/// Without a word from the system a waiter looks by itself after this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// With one, only what the system may have failed to say is left to find.
#[cfg(target_os = "linux")]
const LOOK_ALTHOUGH_TOLD: Duration = Duration::from_secs(10);

/// Tells that the store may have changed since it was last asked: a commit of any process, or a lease that ended.
///
/// Open it before the first look, so that nothing that happens after that look is missed.
#[derive(Debug)]
pub struct Changes {
    #[cfg(target_os = "linux")]
    told: Option<told::Told>,
}

impl Changes {
    /// Changes of the store in `dir` from now on.
    #[cfg(target_os = "linux")]
    pub(super) fn of(dir: &Path) -> Changes {
        match told::Told::about(dir) {
            Ok(told) => Changes { told: Some(told) },
            Err(error) => {
                tracing::info!(%error, "no notice of changes; the store is looked at every second");
                Changes { told: None }
            }
        }
    }

    /// Changes of the store in `dir` from now on.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn of(_dir: &Path) -> Changes {
        Changes {}
    }

    /// Answers when there may be something new, at the latest after some seconds.
    pub async fn next(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(told) = &self.told {
            let _in_time = tokio::time::timeout(LOOK_ALTHOUGH_TOLD, told.next()).await;
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(target_os = "linux")]
mod told {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::io::Errno;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use tokio::io::unix::AsyncFd;

    /// What the kernel tells about the folder of a store. What exactly it tells does not matter.
    #[derive(Debug)]
    pub(super) struct Told {
        queue: AsyncFd<OwnedFd>,
    }

    impl Told {
        pub fn about(dir: &Path) -> io::Result<Told> {
            let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            // A commit is written to the log beside the database.
            inotify::add_watch(&queue, dir, WatchFlags::MODIFY)?;
            // A lease ends when its file is removed, or closed because its holder died.
            inotify::add_watch(&queue, dir.join("runs"), WatchFlags::CLOSE_WRITE | WatchFlags::DELETE)?;
            #[expect(
                deprecated,
                reason = "its replacement is unsafe; with a descriptor that it owns this one is sound"
            )]
            let queue = AsyncFd::new(queue)?;
            Ok(Told { queue })
        }

        /// Waits for the next thing the kernel tells, and takes all of it.
        pub async fn next(&self) {
            let Ok(mut ready) = self.queue.readable().await else { return std::future::pending().await };
            let mut buffer = [0u8; 4096];
            loop {
                match rustix::io::read(&self.queue, &mut buffer) {
                    Ok(bytes) if bytes > 0 => {}
                    Err(Errno::INTR) => {}
                    _ => break,
                }
            }
            ready.clear_ready();
        }
    }
}
