//! The answering side of control: questions about the attached shards, and those to all owners.

use super::backend::Bus;
use super::bundle::{PartAnswer, parts_of};
use super::control::{Asker, DROPPED};
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{AbortHandle, Abortable, SelectAll};
use futures::{FutureExt as _, StreamExt as _};
use skein_common::ports::{BoxError, ControlRequest, ControlServer, Reply, Shard};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// A server that does not echo for so long is asked again by whoever wants to serve.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// What this process answers. Nothing is subscribed while nobody serves, so that askers are told at once.
#[derive(Debug)]
pub(super) struct Answering {
    bus: Arc<Bus>,
    asker: Asker,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The attached shards, with what ends their subscriptions while somebody serves.
    shards: BTreeMap<Shard, Option<AbortHandle>>,
    server: Option<mpsc::UnboundedSender<Source>>,
}

/// A subscription of the server.
type Source = Abortable<Subscriber>;

/// The one that answers now.
pub(super) struct NatsServer {
    client: Client,
    /// Where each message is one question; those of other subjects are bundles, if questions come in bundles at all.
    plain: Option<String>,
    /// Parts of a bundle that were not taken yet.
    parts: VecDeque<ControlRequest>,
    sources: SelectAll<Source>,
    /// Brings the subscriptions of shards that are attached later; ends when another server takes over.
    added: mpsc::UnboundedReceiver<Source>,
}

#[derive(Debug, thiserror::Error)]
#[error("the NATS server does not pass on what it is sent")]
struct NotHeard;

impl Answering {
    pub fn new(bus: Arc<Bus>, asker: Asker) -> Answering {
        Answering { bus, asker, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> &Client {
        self.bus.connection.client()
    }

    pub async fn attach(&self, shard: Shard) -> Result<(), BoxError> {
        self.detach(shard);
        self.state().shards.insert(shard, None);
        self.listen_to_shard(shard).await?;
        self.heard_by_server().await
    }

    pub fn detach(&self, shard: Shard) {
        if let Some(Some(source)) = self.state().shards.remove(&shard) {
            source.abort();
        }
    }

    /// Becomes the server; an earlier one ends.
    pub async fn serve(&self) -> Result<NatsServer, BoxError> {
        let (server, added) = mpsc::unbounded_channel();
        let shards: Vec<Shard> = {
            let mut state = self.state();
            state.server = Some(server.clone());
            state.shards.keys().copied().collect()
        };
        let to_all = self.client().subscribe(self.asker.to_all(&self.bus)).await?;
        let (all, _never) = abortable(to_all);
        let _ = server.send(all);
        drop(server); // From now on the next server ends this one.
        for shard in shards {
            self.listen_to_shard(shard).await?;
        }
        self.heard_by_server().await?;
        let plain = self.asker.bundles().then(|| self.asker.to_all(&self.bus));
        let (client, sources, parts) = (self.client().clone(), SelectAll::new(), VecDeque::new());
        Ok(NatsServer { client, plain, parts, sources, added })
    }

    /// Subscribes for the server of now, if there is one.
    async fn listen_to_shard(&self, shard: Shard) -> Result<(), BoxError> {
        let Some(server) = self.state().server.clone().filter(|server| !server.is_closed()) else { return Ok(()) };
        let (source, end) = abortable(self.client().subscribe(self.asker.about_shard(&self.bus, shard)).await?);
        let mut state = self.state();
        let Some(listening) = state.shards.get_mut(&shard) else { return Ok(()) }; // Detached meanwhile.
        if let Some(earlier) = listening.replace(end) {
            earlier.abort();
        }
        let _ = server.send(source); // If it is gone, so is the subscription.
        Ok(())
    }

    /// Waits until the server has what was sent before: it handles all of a connection in order.
    async fn heard_by_server(&self) -> Result<(), BoxError> {
        let inbox = self.client().new_inbox();
        let mut echo = self.client().subscribe(inbox.clone()).await?;
        self.client().publish(inbox, Bytes::new()).await?;
        // A connection that broke meanwhile has lost it.
        tokio::time::timeout(HEARD_WITHIN, echo.next()).await?.ok_or(NotHeard)?;
        Ok(())
    }
}

#[async_trait]
impl ControlServer for NatsServer {
    async fn next(&mut self) -> Option<ControlRequest> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Some(part);
            }
            let message = tokio::select! {
                source = self.added.recv() => {
                    self.sources.push(source?);
                    continue;
                }
                Some(message) = self.sources.next() => message,
            };
            self.take_in(message);
        }
    }
}

impl Drop for NatsServer {
    /// Those whose questions nobody read are told.
    fn drop(&mut self) {
        while let Ok(source) = self.added.try_recv() {
            self.sources.push(source);
        }
        while let Some(Some(message)) = self.sources.next().now_or_never() {
            self.take_in(message);
        }
    }
}

impl NatsServer {
    fn take_in(&mut self, message: Message) {
        if self.plain.as_ref().is_none_or(|plain| *plain == *message.subject) {
            self.parts.extend(question(&self.client, message));
            return;
        }
        let parts = parts_of(&self.client, message).into_iter();
        let request = |(request, answer): (_, PartAnswer)| ControlRequest {
            request,
            reply: Reply::new(move |bytes| answer.send(bytes)),
        };
        self.parts.extend(parts.map(request));
    }
}

/// A question that can be answered.
fn question(client: &Client, message: Message) -> Option<ControlRequest> {
    let answer = Answer { client: client.clone(), to: message.reply? };
    Some(ControlRequest { request: message.payload, reply: Reply::new(move |bytes| answer.send(bytes)) })
}

/// Says so when it is dropped unused, or else its asker would wait.
struct Answer {
    client: Client,
    to: Subject,
}

impl Answer {
    fn send(mut self, bytes: Bytes) {
        let to = std::mem::replace(&mut self.to, Subject::from_static(""));
        publish(&self.client, to, HeaderMap::new(), bytes);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.to.is_empty() {
            let mut headers = HeaderMap::new();
            headers.insert(DROPPED, "1");
            publish(&self.client, self.to.clone(), headers, Bytes::new());
        }
    }
}

/// Sends without waiting: there is nearly always room on the way to the connection.
pub(super) fn publish(client: &Client, to: Subject, headers: HeaderMap, bytes: Bytes) {
    let client = client.clone();
    let mut sending = Box::pin(async move {
        if headers.is_empty() {
            client.publish(to, bytes).await
        } else {
            client.publish_with_headers(to, headers, bytes).await
        }
    });
    if (&mut sending).now_or_never().is_none()
        && let Ok(runtime) = tokio::runtime::Handle::try_current()
    {
        runtime.spawn(sending);
    }
}

fn abortable(subscriber: Subscriber) -> (Source, AbortHandle) {
    let (handle, registration) = AbortHandle::new_pair();
    (Abortable::new(subscriber, registration), handle)
}
