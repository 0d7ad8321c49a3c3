//! Results: each waits in a work queue until the owner of its run has journalled it.

use super::api::ApiError;
use super::backend::Bus;
use super::background::Background;
use super::connection::RequestError;
use super::consumers::{self, Consumer, Made};
use super::direct::{self, Direct};
use super::inbox::{Ack, Inbox, ShardIntake};
use super::layout::Level;
use super::patience::Patience;
use super::puller::Puller;
use super::stored::store;
use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{ResultDelivery, Results, ResultsError, Shard};
use skein_common::{Digest, RunId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const MESSAGE_ID: &str = "Nats-Msg-Id";
const ACK: Bytes = Bytes::from_static(b"+ACK");

/// A result that went down with a connection comes again before its attempt is taken for lost, which nobody names any
/// more. An owner that is slow gets it twice, and drops the second.
const DELIVERED_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Servers that just lost one of them, or that are overloaded, take some seconds to agree on a consumer.
const TAKE_OVER_WITHIN: Duration = Duration::from_secs(30);

/// Each shard has one owner, who should notice soon that the server it was asking is gone.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Publishes results, and consumes those of the attached shards.
#[derive(Debug)]
pub(super) struct NatsResults {
    bus: Arc<Bus>,
    direct: Direct,
    inbox: Arc<Inbox>,
    attached: Mutex<BTreeMap<Shard, Attached>>,
}

#[derive(Debug)]
struct Attached {
    consumer: Consumer,
    _puller: Puller,
    _offers: Background,
}

impl NatsResults {
    pub fn new(bus: Arc<Bus>) -> NatsResults {
        let direct = Direct::new(bus.clone());
        NatsResults { bus, direct, inbox: Arc::default(), attached: Mutex::default() }
    }

    fn attached(&self) -> MutexGuard<'_, BTreeMap<Shard, Attached>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the shard's consumer away from whoever had it. What that one consumed and did not mark done is in the
    /// queue of the new consumer at once, without waiting for the time of redelivery. The name is new each time, so an
    /// owner that does not know yet that it is none gets nothing more.
    pub async fn attach(&self, shard: Shard) -> Result<(), ApiError> {
        self.stop(shard);
        let stem = self.bus.names.shard_consumer(shard);
        let stream = self.bus.names.results_stream();
        let consumer = Consumer {
            name: format!("{stem}-{:016x}", rand::random::<u64>()),
            filter: self.bus.names.shard_results(shard),
            ack_wait: self.bus.ack_wait().min(DELIVERED_AGAIN_AFTER),
            // Servers of 2.9 deliver nothing from one that they lost and that was made again.
            in_memory: self.bus.level == Level::Production,
            stream,
        };
        self.take_over(&consumer, &stem).await?;
        let intake = Arc::new(ShardIntake::new(shard, self.inbox.clone(), self.bus.connection.client().clone()));
        let puller = Puller::start(&self.bus.connection, consumer.clone(), intake, HEARTBEAT);
        let offers = direct::listen(&self.bus, shard, self.inbox.clone()).await;
        let offers = offers
            .map_err(|error| RequestError::Other { subject: self.bus.names.ends(shard), source: error.into() })?;
        self.attached().insert(shard, Attached { consumer, _puller: puller, _offers: offers });
        Ok(())
    }

    async fn take_over(&self, consumer: &Consumer, stem: &str) -> Result<(), ApiError> {
        let mut patience = Patience::of(TAKE_OVER_WITHIN);
        loop {
            let taken = self.try_take_over(consumer, stem).await;
            if matches!(taken, Ok(Made::Ready)) || !patience.wait().await {
                if matches!(taken, Ok(Made::Taken)) {
                    tracing::warn!(consumer.filter, "somebody else reads these results; they come when it ends");
                }
                return taken.map(drop);
            }
        }
    }

    /// A consumer that is being deleted may be in the way for a moment; servers of 2.9 also fail to delete the files of
    /// one that they are writing.
    async fn try_take_over(&self, consumer: &Consumer, stem: &str) -> Result<Made, ApiError> {
        let connection = &self.bus.connection;
        for name in consumers::names(connection, &consumer.stream).await? {
            if name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('-')) {
                consumers::delete(connection, &consumer.stream, &name).await?;
            }
        }
        consumer.make(connection).await
    }

    /// Gives the shard's consumer away. If the server does not hear it, the next owner deletes the consumer.
    pub async fn detach(&self, shard: Shard) {
        let Some(consumer) = self.stop(shard) else { return };
        if let Err(error) = consumer.delete(&self.bus.connection).await {
            tracing::debug!(shard, %error, "the results of a shard were not given away");
        }
    }

    fn stop(&self, shard: Shard) -> Option<Consumer> {
        let attached = self.attached().remove(&shard);
        self.inbox.forget(shard);
        attached.map(|attached| attached.consumer)
    }
}

#[async_trait]
impl Results for NatsResults {
    async fn publish(&self, run: &RunId, result: Bytes) -> Result<(), ResultsError> {
        if self.direct.offer(run, &result).await {
            return Ok(());
        }
        self.queue(run, result).await
    }

    async fn queue(&self, run: &RunId, result: Bytes) -> Result<(), ResultsError> {
        let subject = self.bus.names.result_subject(self.bus.shard(run), run);
        let mut headers = HeaderMap::new();
        // A result that is sent again, since its acknowledgement was lost, is stored once.
        headers.insert(MESSAGE_ID, format!("{run}.{}", Digest::of(&result)));
        store(&self.bus.connection, &subject, &headers, result).await.map_err(unavailable)
    }

    async fn consume(&self, max: usize) -> Result<Vec<ResultDelivery>, ResultsError> {
        Ok(self.inbox.take(max.max(1)).await)
    }

    async fn redeliver(&self, run: &RunId) -> Result<(), ResultsError> {
        self.inbox.redeliver(run);
        Ok(())
    }

    async fn done(&self, delivery: u64) -> Result<(), ResultsError> {
        match self.inbox.done(delivery) {
            Some(Ack::Stream(ack)) => self.bus.connection.client().publish(ack, ACK).await.map_err(unavailable),
            Some(Ack::Offer(answer)) => {
                answer.send(Bytes::new());
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn unavailable(error: impl Into<skein_common::ports::BoxError>) -> ResultsError {
    ResultsError::Unavailable { source: error.into() }
}
