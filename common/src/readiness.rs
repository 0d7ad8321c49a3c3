//! Readiness: whether a process can do its job now, for those who send it work.

use async_trait::async_trait;

/// Says what keeps a process from doing its job. Asked by whoever likes, so the answer is cheap, comes within a few
/// seconds, and names neither files nor addresses.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// One sentence each; nothing when the process can do its job.
    async fn obstacles(&self) -> Vec<String>;
}

/// Nothing keeps it.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysReady;

#[async_trait]
impl Readiness for AlwaysReady {
    async fn obstacles(&self) -> Vec<String> {
        Vec::new()
    }
}
