//! Control: questions to the owners of shards, over two sets of subjects: one for workers, one for what people ask.

use super::answering::{Answering, NatsServer};
use super::backend::Bus;
use super::bundle::{Answer, Bundler};
use super::connection::RequestError;
use super::feed::NatsFeed;
use async_nats::{HeaderMap, StatusCode, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use skein_common::RunId;
use skein_common::ports::{Answers, BoxError, Control, ControlError, ControlServer, FeedSubscription, Shard};
use std::sync::Arc;
use std::time::Duration;

/// In the answer of a server that dropped the question.
pub(super) const DROPPED: &str = "Sk-Dropped";
/// The owner of a run answers a worker from its memory; one that takes longer has died with the question.
const WORKER_ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// What a person asks may have to be journalled first.
const OWNER_ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Who asks: the subjects of one kind of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Workers, about their attempts.
    Workers,
    /// Other owners, for people. Workers have no permission for these subjects.
    Owners,
}

/// Questions and broadcasts of one kind.
#[derive(Debug)]
pub(super) struct NatsControl {
    bus: Arc<Bus>,
    asker: Asker,
    answering: Arc<Answering>,
    bundler: Option<Bundler>,
    broadcasts: NatsFeed,
}

/// Answers to a question to all owners.
struct NatsAnswers(Subscriber);

impl Asker {
    pub fn about_shard(self, bus: &Bus, shard: Shard) -> String {
        match self {
            Asker::Workers => bus.names.claims(shard),
            Asker::Owners => bus.names.steering(shard),
        }
    }

    pub fn to_all(self, bus: &Bus) -> String {
        match self {
            Asker::Workers => bus.names.heartbeats(),
            Asker::Owners => bus.names.steering_of_all(),
        }
    }

    /// Workers ask for all their attempts at once, people one by one.
    pub fn bundles(self) -> bool {
        self == Asker::Workers
    }

    fn answer_within(self) -> Duration {
        match self {
            Asker::Workers => WORKER_ANSWER_WITHIN,
            Asker::Owners => OWNER_ANSWER_WITHIN,
        }
    }

    fn broadcasts(self, bus: &Bus) -> String {
        match self {
            Asker::Workers => bus.names.broadcasts(),
            Asker::Owners => bus.names.steering_broadcasts(),
        }
    }
}

impl NatsControl {
    pub fn new(bus: Arc<Bus>, asker: Asker, feed: NatsFeed) -> NatsControl {
        let answering = Arc::new(Answering::new(bus.clone(), asker));
        let bundler = asker.bundles().then(|| Bundler::start(&bus.connection));
        NatsControl { bus, asker, answering, bundler, broadcasts: feed }
    }

    /// Questions about the runs of the shard come to the server of this process from now on.
    pub async fn attach(&self, shard: Shard) -> Result<(), BoxError> {
        self.answering.attach(shard).await
    }

    pub fn detach(&self, shard: Shard) {
        self.answering.detach(shard);
    }
}

#[async_trait]
impl Control for NatsControl {
    async fn request(&self, run: &RunId, request: Bytes) -> Result<Bytes, ControlError> {
        let subject = self.asker.about_shard(&self.bus, self.bus.shard(run));
        if let Some(bundler) = &self.bundler {
            return match bundler.ask(subject, request, self.asker.answer_within()).await {
                Answer::Here(answer) => Ok(answer),
                Answer::Dropped | Answer::Nobody | Answer::Lost => Err(ControlError::NoAnswer),
            };
        }
        match self.bus.connection.request_within(&subject, HeaderMap::new(), request, self.asker.answer_within()).await
        {
            Ok(answer) if was_dropped(&answer) => Err(ControlError::NoAnswer),
            Ok(answer) => Ok(answer.payload),
            Err(error @ (RequestError::TooLarge { .. } | RequestError::Other { .. })) => {
                Err(ControlError::Unavailable { source: error.into() })
            }
            Err(_) => Err(ControlError::NoAnswer),
        }
    }

    async fn ask_owners(&self, request: Bytes) -> Result<Box<dyn Answers>, ControlError> {
        let client = self.bus.connection.client();
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await.map_err(unavailable)?;
        client.publish_with_reply(self.asker.to_all(&self.bus), inbox, request).await.map_err(unavailable)?;
        Ok(Box::new(NatsAnswers(answers)))
    }

    async fn serve(&self) -> Result<Box<dyn ControlServer>, ControlError> {
        let server: NatsServer = self.answering.serve().await.map_err(|source| ControlError::Unavailable { source })?;
        Ok(Box::new(server))
    }

    async fn broadcast(&self, message: Bytes) -> Result<(), ControlError> {
        self.broadcasts.publish_to(self.asker.broadcasts(&self.bus), message);
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn FeedSubscription>, ControlError> {
        let subscription = self.broadcasts.subscribe_to(self.asker.broadcasts(&self.bus));
        Ok(Box::new(subscription))
    }
}

#[async_trait]
impl Answers for NatsAnswers {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let answer = self.0.next().await?;
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                return None;
            }
            if !was_dropped(&answer) {
                return Some(answer.payload);
            }
        }
    }
}

fn was_dropped(answer: &async_nats::Message) -> bool {
    answer.headers.as_ref().is_some_and(|headers| headers.get(DROPPED).is_some())
}

fn unavailable(error: impl Into<BoxError>) -> ControlError {
    ControlError::Unavailable { source: error.into() }
}
