//! Control in memory: questions go to the one server of this process.

use super::feed::LocalFeed;
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{Control, ControlError, ControlRequest, ControlServer, Feed as _, FeedSubscription, Reply};
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

struct LocalServer(mpsc::Receiver<ControlRequest>);

#[async_trait]
impl Control for LocalControl {
    async fn request(&self, _run: &RunId, request: Bytes) -> Result<Bytes, ControlError> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let server = server.ok_or(ControlError::NoAnswer)?;
        let (answer, answered) = oneshot::channel();
        let reply = Reply::new(move |bytes| {
            // The asker may have given up.
            let _ = answer.send(bytes);
        });
        server.send(ControlRequest { request, reply }).await.map_err(|_| ControlError::NoAnswer)?;
        drop(server);
        answered.await.map_err(|_| ControlError::NoAnswer)
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
