//! A task that ends with whoever started it.

use tokio::task::JoinHandle;

/// Aborts the task when it is dropped: a process that drops its ports is dead, and so is what worked for it.
#[derive(Debug)]
pub(super) struct Background(JoinHandle<()>);

impl Background {
    pub fn start(work: impl Future<Output = ()> + Send + 'static) -> Background {
        Background(tokio::spawn(work))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}
