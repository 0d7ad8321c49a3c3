//! Control in memory: questions go to the one server of this process.

use super::feed::LocalFeed;
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{
    Answers, Control, ControlError, ControlRequest, ControlServer, Feed as _, FeedSubscription, Reply,
};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Questions that wait for the server; beyond it `request` waits for room. A worker asks for each of its attempts
/// now and then, so a server that is this far behind is not helped by more.
const REQUESTS_MAX: usize = 1024;
const BROADCASTS: &str = "control";

/// Questions and broadcasts of one process. A server that keeps a question and never answers keeps the asker waiting;
/// deadlines are the asker's.
#[derive(Debug, Default)]
pub struct LocalControl {
    server: Mutex<Option<mpsc::Sender<ControlRequest>>>,
    broadcasts: LocalFeed,
}

/// The one answer of the one owner, while it is on its way.
struct OneAnswer(Option<oneshot::Receiver<Bytes>>);

struct LocalServer(mpsc::Receiver<ControlRequest>);

impl LocalControl {
    /// Hands the question to the server; its answer comes.
    async fn ask(&self, request: Bytes) -> Result<oneshot::Receiver<Bytes>, ControlError> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let server = server.ok_or(ControlError::NoAnswer)?;
        let (answer, answered) = oneshot::channel();
        let reply = Reply::new(move |bytes| {
            // The asker may have given up.
            let _ = answer.send(bytes);
        });
        server.send(ControlRequest { request, reply }).await.map_err(|_| ControlError::NoAnswer)?;
        drop(server);
        Ok(answered)
    }
}

#[async_trait]
impl Control for LocalControl {
    async fn request(&self, _run: &RunId, request: Bytes) -> Result<Bytes, ControlError> {
        self.ask(request).await?.await.map_err(|_| ControlError::NoAnswer)
    }

    async fn ask_owners(&self, request: Bytes) -> Result<Box<dyn Answers>, ControlError> {
        match self.ask(request).await {
            Err(ControlError::NoAnswer) => Ok(Box::new(OneAnswer(None))),
            asked => Ok(Box::new(OneAnswer(Some(asked?)))),
        }
    }

    async fn serve(&self) -> Result<Box<dyn ControlServer>, ControlError> {
        let (server, requests) = mpsc::channel(REQUESTS_MAX);
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(Box::new(LocalServer(requests)))
    }

    async fn broadcast(&self, message: Bytes) -> Result<(), ControlError> {
        self.broadcasts.publish(BROADCASTS, message);
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn FeedSubscription>, ControlError> {
        Ok(self.broadcasts.subscribe(BROADCASTS))
    }
}

#[async_trait]
impl ControlServer for LocalServer {
    async fn next(&mut self) -> Option<ControlRequest> {
        self.0.recv().await
    }
}

#[async_trait]
impl Answers for OneAnswer {
    async fn next(&mut self) -> Option<Bytes> {
        self.0.take()?.await.ok()
    }
}
