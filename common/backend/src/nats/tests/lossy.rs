//! A way to the server that loses what it says: what was asked is done, and nobody tells.

use skein_common::ports::BoxError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Passes everything on, until it is told to lose the next answer and hang up.
pub struct LossyWay {
    port: u16,
    loses_next: Arc<AtomicBool>,
    accepting: tokio::task::JoinHandle<()>,
}

impl LossyWay {
    pub async fn to(url: &str) -> Result<LossyWay, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, loses_next) = (listener.local_addr()?.port(), Arc::new(AtomicBool::new(false)));
        let (server, flag) = (url.trim_start_matches("nats://").to_owned(), loses_next.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { return };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, None));
                tokio::spawn(pass(from_server, to_client, Some(flag.clone())));
            }
        });
        Ok(LossyWay { port, loses_next, accepting })
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The next thing that the server says is lost, and the connection with it.
    pub fn lose_next_answer(&self) {
        self.loses_next.store(true, Ordering::SeqCst);
    }

    pub fn has_lost(&self) -> bool {
        !self.loses_next.load(Ordering::SeqCst)
    }
}

impl Drop for LossyWay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, loses_next: Option<Arc<AtomicBool>>) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if loses_next.as_ref().is_some_and(|loses| loses.swap(false, Ordering::SeqCst)) {
            return; // Both halves of this direction close, which ends the connection for the client.
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
