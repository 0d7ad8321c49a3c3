//! Tasks and results that come twice, requests without an answer, broadcasts and items that are lost.

use super::plan::Dice;
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{
    Answers, Control, ControlError, ControlServer, Feed, FeedItem, FeedSubscription, ResultDelivery, Results,
    ResultsError, Target, TaskDelivery, Tasks, TasksError,
};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) struct FaultyTasks {
    pub inner: Arc<dyn Tasks>,
    pub dice: Arc<Dice>,
}

#[async_trait]
impl Tasks for FaultyTasks {
    async fn dispatch(&self, target: &Target, task: Bytes) -> Result<(), TasksError> {
        self.dice.write(self.inner.dispatch(target, task)).await
    }

    /// A repeated task goes to the same puller: it is delivered to one at a time.
    async fn pull(&self, target: &Target, max: usize) -> Result<Vec<TaskDelivery>, TasksError> {
        let mut pulled = Vec::new();
        for delivery in self.inner.pull(target, max.div_ceil(2)).await? {
            if max > 1 && self.dice.happens(self.dice.faults.task_twice) {
                pulled.push(delivery.clone());
            }
            pulled.push(delivery);
        }
        pulled.truncate(max.max(1));
        Ok(pulled)
    }

    async fn leave(&self, target: &Target) {
        self.inner.leave(target).await;
    }

    async fn died(&self) {
        self.inner.died().await;
    }

    async fn done(&self, delivery: u64) -> Result<(), TasksError> {
        self.inner.done(delivery).await
    }
}

pub(super) struct FaultyResults {
    inner: Arc<dyn Results>,
    dice: Arc<Dice>,
    /// Delivered and not done: these come again.
    again: Mutex<VecDeque<ResultDelivery>>,
}

impl FaultyResults {
    pub fn new(inner: Arc<dyn Results>, dice: Arc<Dice>) -> FaultyResults {
        FaultyResults { inner, dice, again: Mutex::default() }
    }

    fn again(&self) -> MutexGuard<'_, VecDeque<ResultDelivery>> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the order within each run.
    fn mix(&self, deliveries: &mut Vec<ResultDelivery>) {
        if !self.dice.happens(self.dice.faults.results_mixed) {
            return;
        }
        let Some(first) = deliveries.first().map(|delivery| delivery.run.clone()) else { return };
        let (of_first, mut others): (Vec<_>, Vec<_>) = deliveries.drain(..).partition(|d| d.run == first);
        others.extend(of_first);
        *deliveries = others;
    }
}

#[async_trait]
impl Results for FaultyResults {
    async fn publish(&self, run: &RunId, result: Bytes) -> Result<(), ResultsError> {
        self.dice.write(self.inner.publish(run, result)).await
    }

    async fn queue(&self, run: &RunId, result: Bytes) -> Result<(), ResultsError> {
        self.dice.write(self.inner.queue(run, result)).await
    }

    async fn consume(&self, max: usize) -> Result<Vec<ResultDelivery>, ResultsError> {
        let again: Vec<ResultDelivery> = {
            let mut again = self.again();
            let count = again.len().min(max.max(1));
            again.drain(..count).collect()
        };
        if !again.is_empty() {
            return Ok(again);
        }
        let mut deliveries = self.inner.consume(max).await?;
        self.mix(&mut deliveries);
        for delivery in &deliveries {
            if self.dice.happens(self.dice.faults.result_twice) {
                self.again().push_back(delivery.clone());
            }
        }
        Ok(deliveries)
    }

    async fn redeliver(&self, run: &RunId) -> Result<(), ResultsError> {
        self.inner.redeliver(run).await
    }

    async fn done(&self, delivery: u64) -> Result<(), ResultsError> {
        self.again().retain(|waiting| waiting.delivery != delivery);
        self.inner.done(delivery).await
    }
}

pub(super) struct FaultyControl {
    pub inner: Arc<dyn Control>,
    pub dice: Arc<Dice>,
}

#[async_trait]
impl Control for FaultyControl {
    async fn request(&self, run: &RunId, request: Bytes) -> Result<Bytes, ControlError> {
        self.dice.delay().await;
        let lost = self.dice.happens(self.dice.faults.no_answer);
        if lost && self.dice.happens(500) {
            return Err(ControlError::NoAnswer); // The request itself is lost, else its answer.
        }
        if self.dice.happens(self.dice.faults.request_twice) {
            self.inner.request(run, request.clone()).await?;
        }
        let answer = self.inner.request(run, request).await?;
        if lost { Err(ControlError::NoAnswer) } else { Ok(answer) }
    }

    async fn ask_owners(&self, request: Bytes) -> Result<Box<dyn Answers>, ControlError> {
        self.dice.delay().await;
        let inner = self.inner.ask_owners(request).await?;
        Ok(Box::new(FaultyAnswers { inner, dice: self.dice.clone() }))
    }

    async fn serve(&self) -> Result<Box<dyn ControlServer>, ControlError> {
        self.inner.serve().await
    }

    async fn broadcast(&self, message: Bytes) -> Result<(), ControlError> {
        if self.dice.happens(self.dice.faults.broadcast_lost) {
            return Ok(());
        }
        self.dice.write(self.inner.broadcast(message)).await
    }

    async fn subscribe(&self) -> Result<Box<dyn FeedSubscription>, ControlError> {
        let inner = self.inner.subscribe().await?;
        Ok(Box::new(FaultySubscription { inner, dice: self.dice.clone() }))
    }
}

pub(super) struct FaultyFeed {
    pub inner: Arc<dyn Feed>,
    pub dice: Arc<Dice>,
}

impl Feed for FaultyFeed {
    fn publish(&self, topic: &str, item: Bytes) {
        self.inner.publish(topic, item);
    }

    fn subscribe(&self, topic: &str) -> Box<dyn FeedSubscription> {
        Box::new(FaultySubscription { inner: self.inner.subscribe(topic), dice: self.dice.clone() })
    }
}

struct FaultyAnswers {
    inner: Box<dyn Answers>,
    dice: Arc<Dice>,
}

#[async_trait]
impl Answers for FaultyAnswers {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let answer = self.inner.next().await?;
            if !self.dice.happens(self.dice.faults.no_answer) {
                return Some(answer);
            }
        }
    }
}

struct FaultySubscription {
    inner: Box<dyn FeedSubscription>,
    dice: Arc<Dice>,
}

#[async_trait]
impl FeedSubscription for FaultySubscription {
    async fn next(&mut self) -> Option<FeedItem> {
        match self.inner.next().await? {
            FeedItem::Item(_) if self.dice.happens(self.dice.faults.item_missed) => Some(FeedItem::Missed(1)),
            item => Some(item),
        }
    }
}
