//! The puller: keeps requests for messages standing at a consumer, so that a message comes in the moment it is there.

use super::background::Background;
use super::connection::Connection;
use super::consumers::{Consumer, Made};
use super::delivered::Delivered;
use super::intake::Intake;
use super::pull_status::{Asked, PullStatus};
use super::scan::nanoseconds;
use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::warn;

/// How long a request stands. A server forgets requests of its own when it dies; this bounds what else goes unnoticed.
const EXPIRES: Duration = Duration::from_secs(30);
/// Heartbeats of the server that may be missing while a request stands. After them the request is forgotten: the server
/// that had it is dead, and we are connected to another.
const MISSING_MAX: u32 = 2;
/// How often that is looked at.
const BEAT: Duration = Duration::from_secs(1);
/// After trouble; doubled each time until something comes.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LAST: Duration = Duration::from_secs(2);

/// Pulls for as long as it lives. What was delivered when it ends and is not marked done is delivered again.
#[derive(Debug)]
pub(super) struct Puller {
    _pump: Background,
}

impl Puller {
    /// Pulls from the consumer, which it makes when it is not there, also later. While a request stands and nothing
    /// comes, the server says so at each heartbeat.
    pub fn start(connection: &Connection, consumer: Consumer, intake: Arc<dyn Intake>, heartbeat: Duration) -> Puller {
        let (client, connects) = (connection.client().clone(), connection.connects());
        let inbox = client.new_inbox();
        let pump = Pump {
            connection: connection.clone(),
            next: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", consumer.stream, consumer.name),
            client,
            connects,
            consumer,
            intake,
            heartbeat,
            inbox,
            generation: 0,
            outstanding: 0,
            heard: Instant::now(),
            troubles: 0,
        };
        Puller { _pump: Background::start(pump.run()) }
    }
}

struct Pump {
    connection: Connection,
    client: Client,
    connects: watch::Receiver<u64>,
    consumer: Consumer,
    intake: Arc<dyn Intake>,
    heartbeat: Duration,
    /// Where a request for the next messages goes.
    next: String,
    inbox: String,
    generation: u64,
    /// Messages that requests of this generation may still bring.
    outstanding: usize,
    /// When the server last said something, or a request began to stand.
    heard: Instant,
    troubles: u32,
}

/// What to do after something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    /// The server cannot take requests now.
    Pause,
    /// Look for the consumer first.
    Make,
    /// The connection is closed for good.
    End,
}

impl Pump {
    async fn run(mut self) {
        let Ok(mut messages) = self.client.subscribe(format!("{}.*.*", self.inbox)).await else { return };
        self.connects.mark_unchanged();
        loop {
            self.consumer_is_there().await;
            loop {
                match self.pull(&mut messages).await {
                    Next::GoOn => {}
                    Next::Pause => self.pause().await,
                    Next::Make => break self.pause().await,
                    Next::End => return,
                }
            }
        }
    }

    async fn consumer_is_there(&mut self) {
        self.ask_anew();
        loop {
            match self.consumer.make(&self.connection).await {
                Ok(Made::Ready) => return,
                // Whoever took it gives it back, or tells this process to stop.
                Ok(Made::Taken) => {}
                Err(error) => warn!(consumer = self.consumer.name, %error, "cannot pull from the NATS server"),
            }
            self.pause().await;
        }
    }

    /// Waits for the next thing to happen.
    async fn pull(&mut self, messages: &mut Subscriber) -> Next {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.reset();
        loop {
            if self.top_up().await.is_err() {
                return Next::End;
            }
            let next = tokio::select! {
                biased;
                message = messages.next() => match message {
                    Some(message) => self.hear(&message),
                    None => Next::End,
                },
                () = self.intake.changed().notified() => Next::GoOn,
                Ok(()) = self.connects.changed() => {
                    self.ask_anew();
                    Next::GoOn
                }
                _ = beats.tick() => self.beat(),
            };
            if next != Next::GoOn {
                return next;
            }
        }
    }

    /// Asks for more when less than half of what is wanted is on its way, so that not each message costs a request.
    async fn top_up(&mut self) -> Result<(), async_nats::PublishError> {
        let room = self.intake.room();
        if room == 0 || self.outstanding > room / 2 {
            return Ok(());
        }
        let asked = Asked { generation: self.generation, messages: room - self.outstanding };
        let request = json!({
            "batch": asked.messages,
            "expires": nanoseconds(EXPIRES),
            "idle_heartbeat": nanoseconds(self.heartbeat),
        });
        if self.outstanding == 0 {
            self.heard = Instant::now();
        }
        self.outstanding += asked.messages;
        let body = Bytes::from(request.to_string());
        self.client.publish_with_reply(self.next.clone(), asked.subject(&self.inbox), body).await
    }

    fn hear(&mut self, message: &Message) -> Next {
        self.heard = Instant::now();
        if let Some(delivered) = Delivered::of(message) {
            self.troubles = 0;
            self.outstanding = self.outstanding.saturating_sub(1);
            self.intake.arrived(delivered);
            return Next::GoOn;
        }
        match Asked::of(&message.subject) {
            Some(asked) if asked.generation == self.generation => self.note(PullStatus::of(message, asked)),
            _ => Next::GoOn,
        }
    }

    fn note(&mut self, status: PullStatus) -> Next {
        match status {
            PullStatus::Alive => {
                self.troubles = 0;
                Next::GoOn
            }
            PullStatus::Ended(messages) => {
                self.outstanding = self.outstanding.saturating_sub(messages);
                Next::GoOn
            }
            PullStatus::Refused(messages) => {
                self.outstanding = self.outstanding.saturating_sub(messages);
                Next::Pause
            }
            PullStatus::AllEnded => {
                self.ask_anew();
                Next::Pause
            }
            PullStatus::Gone => Next::Make,
        }
    }

    fn beat(&mut self) -> Next {
        self.intake.beat();
        if self.outstanding > 0 && self.heard.elapsed() > self.heartbeat * MISSING_MAX {
            self.ask_anew();
        }
        Next::GoOn
    }

    /// Forgets the requests of before: what they bring nevertheless is welcome, but not waited for.
    fn ask_anew(&mut self) {
        self.generation += 1;
        self.outstanding = 0;
    }

    async fn pause(&mut self) {
        let doubled = PAUSE_FIRST.saturating_mul(1 << self.troubles.min(10)).min(PAUSE_LAST);
        self.troubles += 1;
        tokio::time::sleep(doubled.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
    }
}
