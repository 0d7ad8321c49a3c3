//! Leases: a subject per name, whose last message says who holds it and removes itself unless it is renewed.
//!
//! Each message is stored only after the one that its writer saw last, and carries its own time: the client's way to
//! make a key with a time forgets the time when the key was there before. The epoch is the place of the message that
//! took the lease, which only grows.

use super::api::{ApiError, code};
use super::backend::Bus;
use super::background::Background;
use super::layout::{LEASE_MARKER, Level};
use super::lease_watch::watch;
use super::marks::{self, is_marker};
use super::names::{has_readable_token, last_part};
use super::patience::Patience;
use super::scan::{Which, scan};
use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skein_common::Epoch;
use skein_common::ports::{BoxError, Lease, LeaseError, Leases};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Those who want the same lease at once: the loser of a race looks again.
const RACES_MAX: u32 = 20;
/// Looking, taking and giving back are tried for so long.
const TRY_WITHIN: Duration = Duration::from_secs(5);
/// Where no server ends a lease, clocks may differ by this.
const CLOCKS_APART_MS: u64 = 1_000;

/// Leases in the bucket `leases`.
#[derive(Debug)]
pub struct NatsLeases {
    bus: Arc<Bus>,
    stream: String,
    /// Begins each of our nonces: what has another beginning is of another process.
    process: String,
    held: Mutex<HashMap<String, Held>>,
    /// Told when a lease ended, from when somebody first waits for it.
    ended: Arc<Notify>,
    watch: OnceLock<Background>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    epoch: Epoch,
    /// Place of the newest message.
    place: u64,
    value: Value,
    renewed: Instant,
}

/// What a message says. Stored: grows by optional fields only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    owner: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// One acquisition: the process and a number.
    nonce: String,
    /// For servers that do not end it.
    until_ms: u64,
}

/// What stands under a name.
enum Found {
    /// Nothing that counts; the next message follows this place.
    Free {
        place: u64,
    },
    Live {
        place: u64,
        value: Value,
    },
}

#[derive(Debug, thiserror::Error)]
enum Strange {
    #[error("`{0}` is too long for the name of a lease")]
    Name(String),
    #[error("the lease of {name} cannot be read: {reason}")]
    Value { name: String, reason: String },
}

impl NatsLeases {
    pub fn new(bus: Arc<Bus>) -> NatsLeases {
        let stream = bus.names.leases_stream();
        NatsLeases {
            bus,
            stream,
            process: marks::new_id(),
            held: Mutex::default(),
            ended: Arc::default(),
            watch: OnceLock::new(),
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our lease, if it is still this one.
    fn ours(&self, lease: &Lease) -> Option<Held> {
        self.held().get(&lease.name).filter(|held| held.epoch == lease.epoch).cloned()
    }

    /// Forgets it, if it is still this one.
    fn forget(&self, lease: &Lease) {
        let mut held = self.held();
        if held.get(&lease.name).is_some_and(|held| held.epoch == lease.epoch) {
            held.remove(&lease.name);
        }
    }

    fn subject(&self, name: &str) -> Result<String, LeaseError> {
        if !has_readable_token(name) {
            return Err(unavailable(Strange::Name(name.chars().take(80).collect())));
        }
        Ok(self.bus.names.lease_subject(name))
    }

    fn lease_time(&self) -> Duration {
        Duration::from_millis(self.bus.settings.lease_ms)
    }

    fn new_value(&self, owner: &str) -> Value {
        let nonce = format!("{}.{}", self.process, marks::new_id());
        Value { owner: owner.to_owned(), node: self.bus.node.clone(), nonce, until_ms: 0 }
    }

    /// Stores the value for the time of a lease, if the last message is at this place.
    async fn store(&self, subject: &str, value: &Value, place: u64) -> Result<u64, StoreError> {
        let until_ms = now_ms().saturating_add(self.bus.settings.lease_ms);
        let value = Value { until_ms, ..value.clone() };
        let mut headers = marks::conditional(place, &value.nonce);
        if self.bus.level == Level::Production {
            marks::live_for(&mut headers, self.bus.settings.lease_ms / 1_000);
        }
        let json = serde_json::to_vec(&value).map_err(|error| StoreError::Failed(error.into()))?;
        match self.bus.connection.store_within(subject, headers, &Bytes::from(json), self.lease_time() / 2).await {
            Ok(stored) => Ok(stored.sequence),
            Err(error) if is_wrong_place(&error) => Err(StoreError::Moved),
            Err(error) if error.may_pass() => Err(StoreError::InDoubt(error)),
            Err(error) => Err(StoreError::Failed(error.into())),
        }
    }

    async fn find(&self, name: &str, subject: &str) -> Result<Found, LeaseError> {
        let looking = || self.bus.connection.last(&self.stream, subject);
        let last = Patience::of(TRY_WITHIN).until_done(looking).await.map_err(unavailable)?;
        let Some(last) = last else { return Ok(Found::Free { place: 0 }) };
        self.meaning(name, &last.headers, &last.payload, last.sequence)
    }

    fn meaning(&self, name: &str, headers: &HeaderMap, body: &[u8], place: u64) -> Result<Found, LeaseError> {
        if is_marker(headers) {
            return Ok(Found::Free { place });
        }
        let strange = |error: serde_json::Error| Strange::Value { name: name.to_owned(), reason: error.to_string() };
        let value: Value = serde_json::from_slice(body).map_err(|error| unavailable(strange(error)))?;
        Ok(if self.is_over(&value) { Found::Free { place } } else { Found::Live { place, value } })
    }

    /// Whether a lease counts no more though its message is there: it is of an earlier process of our node, or no
    /// server ends it and its time is over.
    fn is_over(&self, value: &Value) -> bool {
        let is_of_process = value.nonce.split_once('.').is_some_and(|(process, _)| process == self.process);
        let is_of_dead = self.bus.node.is_some() && value.node == self.bus.node && !is_of_process;
        let is_late = self.bus.level == Level::Development && value.until_ms.saturating_add(CLOCKS_APART_MS) < now_ms();
        is_of_dead || is_late
    }

    /// Whether a message of this acquisition is the newest, and where.
    async fn look_for(&self, name: &str, subject: &str, nonce: &str) -> Result<Option<u64>, LeaseError> {
        Ok(match self.find(name, subject).await? {
            Found::Live { place, value } if value.nonce == nonce => Some(place),
            _ => None,
        })
    }

    fn hold(&self, name: &str, value: Value, place: u64, renewed: Instant) -> Lease {
        let held = Held { epoch: place, place, value, renewed };
        self.held().insert(name.to_owned(), held);
        Lease { name: name.to_owned(), epoch: place }
    }

    /// Moves our lease on to its newest message.
    fn renewed(&self, lease: &Lease, place: u64, renewed: Instant) {
        if let Some(held) = self.held().get_mut(&lease.name).filter(|held| held.epoch == lease.epoch) {
            (held.place, held.renewed) = (place, renewed);
        }
    }
}

enum StoreError {
    /// Another message was there.
    Moved,
    /// It may be stored.
    InDoubt(ApiError),
    Failed(BoxError),
}

fn is_wrong_place(error: &ApiError) -> bool {
    matches!(error.number(), Some(code::WRONG_LAST_SEQUENCE | code::PENDING_LAST_SEQUENCE))
}

#[async_trait]
impl Leases for NatsLeases {
    async fn acquire(&self, name: &str, owner: &str) -> Result<Lease, LeaseError> {
        let (subject, value) = (self.subject(name)?, self.new_value(owner));
        let give_up = Instant::now() + TRY_WITHIN;
        for _ in 0..RACES_MAX {
            let place = match self.find(name, &subject).await? {
                Found::Free { place } => place,
                Found::Live { place, value: there } if there.nonce == value.nonce => {
                    return Ok(self.hold(name, value, place, Instant::now())); // A try that was in doubt.
                }
                Found::Live { value: there, .. } => {
                    return Err(LeaseError::Held { name: name.to_owned(), holder: there.owner });
                }
            };
            let sent = Instant::now();
            match self.store(&subject, &value, place).await {
                Ok(place) => return Ok(self.hold(name, value, place, sent)),
                Err(StoreError::InDoubt(error)) if Instant::now() > give_up => return Err(unavailable(error)),
                Err(StoreError::Moved | StoreError::InDoubt(_)) => {}
                Err(StoreError::Failed(source)) => return Err(LeaseError::Unavailable { source }),
            }
        }
        Err(unavailable(format!("{RACES_MAX} others took or gave back {name} meanwhile")))
    }

    async fn renew(&self, lease: &Lease) -> Result<(), LeaseError> {
        let subject = self.subject(&lease.name)?;
        let lost = || LeaseError::Lost { name: lease.name.clone() };
        let mut held = self.ours(lease).ok_or_else(lost)?;
        let give_up = Instant::now() + self.lease_time();
        loop {
            let sent = Instant::now();
            if self.bus.level == Level::Development && sent > held.renewed + self.lease_time() {
                self.forget(lease);
                return Err(lost());
            }
            let doubt = match self.store(&subject, &held.value, held.place).await {
                Ok(place) => {
                    self.renewed(lease, place, sent);
                    return Ok(());
                }
                Err(StoreError::Moved) => None,
                Err(StoreError::InDoubt(error)) => Some(error),
                Err(StoreError::Failed(source)) => return Err(LeaseError::Unavailable { source }),
            };
            match self.look_for(&lease.name, &subject, &held.value.nonce).await? {
                None => {
                    self.forget(lease);
                    return Err(lost());
                }
                Some(place) if place > held.place => {
                    self.renewed(lease, place, sent);
                    return Ok(());
                }
                Some(place) => held.place = place,
            }
            if let Some(error) = doubt.filter(|_| Instant::now() > give_up) {
                return Err(unavailable(error));
            }
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        let subject = self.subject(&lease.name)?;
        let Some(held) = self.ours(lease) else { return Ok(()) };
        self.forget(lease);
        let mut place = held.place;
        let mut patience = Patience::of(TRY_WITHIN);
        loop {
            let mut headers = marks::conditional(place, &held.value.nonce);
            marks::say_deleted(&mut headers);
            if self.bus.level == Level::Production {
                marks::live_for(&mut headers, LEASE_MARKER.as_secs());
            }
            let error = match self.bus.connection.store(&subject, headers, Bytes::new()).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match self.look_for(&lease.name, &subject, &held.value.nonce).await? {
                None => return Ok(()),
                Some(there) => place = there, // A renewal was on its way, or nothing happened.
            }
            if !patience.wait().await {
                return Err(unavailable(error));
            }
        }
    }

    async fn ended(&self) {
        self.watch.get_or_init(|| Background::start(watch(self.bus.clone(), self.ended.clone())));
        self.ended.notified().await;
    }

    async fn holder(&self, name: &str) -> Result<Option<String>, LeaseError> {
        let subject = self.subject(name)?;
        Ok(match self.find(name, &subject).await? {
            Found::Free { .. } => None,
            Found::Live { value, .. } => Some(value.owner),
        })
    }

    async fn holders(&self, prefix: &str) -> Result<Vec<(String, String)>, LeaseError> {
        let filter = self.bus.names.leases_subjects();
        let scanning = || scan(&self.bus.connection, &self.stream, &filter, Which::LastOfEachSubject);
        let found = Patience::of(TRY_WITHIN).until_done(scanning).await.map_err(unavailable)?;
        let mut holders = Vec::new();
        for found in found {
            let Some(name) = last_part(&found.message.subject).filter(|name| name.starts_with(prefix)) else {
                continue;
            };
            let headers = found.message.headers.unwrap_or_default();
            if let Found::Live { value, .. } = self.meaning(&name, &headers, &found.message.payload, found.sequence)? {
                holders.push((name, value.owner));
            }
        }
        holders.sort();
        Ok(holders)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn unavailable(error: impl Into<BoxError>) -> LeaseError {
    LeaseError::Unavailable { source: error.into() }
}
