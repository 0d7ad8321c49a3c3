//! Control: questions of workers to the owner of a run, and broadcasts to all workers.

use super::BoxError;
use crate::RunId;
use async_trait::async_trait;
use bytes::Bytes;

/// Questions of workers to owners, and broadcasts to workers.
///
/// Contract:
/// - A request reaches the process that serves; its reply reaches the asker once.
/// - With nobody serving, or a server that drops the request unanswered, `request` answers `NoAnswer`.
/// - A question to all owners reaches each process that serves, and each answers at most once; an answer may be lost.
///   With nobody serving the answers end at once.
/// - A broadcast reaches every subscriber of the moment, in order, at most once; it may be lost, never blocks.
#[async_trait]
pub trait Control: Send + Sync {
    /// Asks the owner of `run`.
    async fn request(&self, run: &RunId, request: Bytes) -> Result<Bytes, ControlError>;
    /// Asks every process that owns runs. The caller stops listening when it has heard enough.
    async fn ask_owners(&self, request: Bytes) -> Result<Box<dyn Answers>, ControlError>;
    /// Becomes the one that answers. A later call replaces the earlier server.
    async fn serve(&self) -> Result<Box<dyn ControlServer>, ControlError>;
    /// Tells all workers.
    async fn broadcast(&self, message: Bytes) -> Result<(), ControlError>;
    /// Listens to broadcasts from now on.
    async fn subscribe(&self) -> Result<Box<dyn super::FeedSubscription>, ControlError>;
}

/// The answering side of [`Control`].
#[async_trait]
pub trait ControlServer: Send {
    /// The next request; `None` when another server took over.
    async fn next(&mut self) -> Option<ControlRequest>;
}

/// The answers to one question to all owners, as they come.
#[async_trait]
pub trait Answers: Send {
    /// The next one; `None` when nothing can come any more.
    async fn next(&mut self) -> Option<Bytes>;
}

/// One question and the way to answer it.
pub struct ControlRequest {
    pub request: Bytes,
    pub reply: Reply,
}

/// Sends the answer; dropped unused, the asker gets `NoAnswer`.
pub struct Reply(Box<dyn FnOnce(Bytes) + Send>);

impl Reply {
    /// A reply that hands the answer to `send`.
    pub fn new(send: impl FnOnce(Bytes) + Send + 'static) -> Reply {
        Reply(Box::new(send))
    }

    /// Answers.
    pub fn send(self, answer: Bytes) {
        (self.0)(answer);
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}

impl std::fmt::Debug for ControlRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlRequest").field("request_bytes", &self.request.len()).finish()
    }
}

/// What a caller of [`Control`] can do something about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    #[error("nobody answered")]
    NoAnswer,
    #[error("control unavailable")]
    Unavailable {
        #[source]
        source: BoxError,
    },
}
