//! The journal: a subject per run, and each message is stored only after the one that its writer saw last.
//!
//! That chain makes one order of all writers of a run: whoever did not see the newest record cannot write.

use super::api::{ApiError, code};
use super::backend::Bus;
use super::batch::{BadMessage, Piece, extent, pieces, records as records_of};
use super::connection::RequestError;
use super::marks::{is_of, new_id};
use super::names::run_of;
use super::patience::Patience;
use super::scan::{Which, scan};
use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde_json::json;
use skein_common::RunId;
use skein_common::ports::{BoxError, Journal, JournalError};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An acknowledgement that takes longer is looked for in the stream.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(2);
/// How long an append or a read is tried.
const TRY_WITHIN: Duration = Duration::from_secs(30);
/// Runs whose last message is remembered; beyond that all are forgotten, which costs each a round trip.
const TAILS_MAX: usize = 16_384;
const LISTED_AT_ONCE: usize = 64;

/// Records in the stream `JRN`.
#[derive(Debug)]
pub struct NatsJournal {
    bus: Arc<Bus>,
    stream: String,
    tails: Mutex<HashMap<RunId, Tail>>,
    /// How far runs were read: who reads on needs nothing of before.
    read_to: Mutex<HashMap<RunId, Tail>>,
}

/// Where a run's records end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tail {
    /// Records up to here.
    count: u64,
    /// Place of the last message in the stream; 0 if there is none.
    place: u64,
}

const NOTHING: Tail = Tail { count: 0, place: 0 };

#[derive(Deserialize)]
struct Purged {}

#[derive(Deserialize)]
struct Info {
    /// Subjects in all; an answer holds a part of them.
    #[serde(default)]
    total: usize,
    state: State,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    subjects: Option<BTreeMap<String, u64>>,
}

impl NatsJournal {
    pub fn new(bus: Arc<Bus>) -> NatsJournal {
        let stream = bus.names.journal_stream();
        NatsJournal { bus, stream, tails: Mutex::default(), read_to: Mutex::default() }
    }

    fn subject(&self, run: &RunId) -> String {
        self.bus.names.journal_subject(self.bus.shard(run), run)
    }

    fn tails(&self) -> MutexGuard<'_, HashMap<RunId, Tail>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_to(&self) -> MutexGuard<'_, HashMap<RunId, Tail>> {
        self.read_to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, run: &RunId, tail: Tail) {
        put(&mut self.tails(), run, tail);
    }

    /// The last message of a run, and where the records end with it.
    async fn last(&self, run: &RunId) -> Result<(Option<StreamMessage>, Tail), ReadError> {
        let last = self.bus.connection.last(&self.stream, &self.subject(run)).await?;
        let tail = last.as_ref().map_or(Ok(NOTHING), tail_at)?;
        self.remember(run, tail);
        Ok((last, tail))
    }

    /// Where the records end, if they end where the caller says.
    async fn tail_at(&self, run: &RunId, expected: u64) -> Result<Tail, JournalError> {
        let remembered = self.tails().get(run).copied();
        if let Some(tail) = remembered.filter(|tail| tail.count == expected) {
            return Ok(tail);
        }
        let mut patience = Patience::of(TRY_WITHIN);
        loop {
            match self.last(run).await {
                Ok((_, tail)) if tail.count == expected => return Ok(tail),
                Ok((_, tail)) => return Err(JournalError::Conflict { expected, actual: tail.count }),
                Err(error) if error.may_pass() && patience.wait().await => {}
                Err(ReadError::Api(error)) => return Err(JournalError::Unknown { source: error.into() }),
                Err(ReadError::Bad(error)) => return Err(unreadable(run, &error)),
            }
        }
    }

    /// Stores a piece after this tail, and settles every doubt by looking at what is there.
    async fn extend(&self, run: &RunId, mut tail: Tail, piece: &Piece) -> Result<Tail, JournalError> {
        let (subject, id) = (self.subject(run), new_id());
        let mut patience = Patience::of(TRY_WITHIN);
        let mut in_doubt = false;
        loop {
            let headers = piece.headers(tail.place, &id);
            let error =
                match self.bus.connection.store_within(&subject, headers, &piece.body, ACKNOWLEDGED_WITHIN).await {
                    Ok(stored) => return Ok(Tail { count: piece.end(), place: stored.sequence }),
                    Err(error) => error,
                };
            if let Some(reason) = refusal(&error) {
                return Err(if in_doubt { unknown(error) } else { JournalError::Refused { reason } });
            }
            in_doubt |= !is_wrong_place(&error);
            match self.look_for(run, tail, piece, &id).await {
                Ok(Looked::Stored(tail)) => return Ok(tail),
                Ok(Looked::Other { actual }) => return Err(JournalError::Conflict { expected: piece.first, actual }),
                Ok(Looked::Missing(moved)) => tail = moved,
                Err(_unanswered) => in_doubt = true,
            }
            if !patience.wait().await {
                return Err(unknown(error));
            }
        }
    }

    /// What followed the tail: our piece, another's, or nothing.
    async fn look_for(&self, run: &RunId, tail: Tail, piece: &Piece, id: &str) -> Result<Looked, ReadError> {
        let is_ours = |message: &StreamMessage| is_of(&message.headers, id) && message.payload == piece.body;
        let (last, end) = self.last(run).await?;
        if last.as_ref().is_some_and(is_ours) {
            return Ok(Looked::Stored(end));
        }
        if end.count == piece.first {
            return Ok(Looked::Missing(end));
        }
        // Somebody may have written after ours.
        let next = self.bus.connection.first_from(&self.stream, &self.subject(run), tail.place + 1).await?;
        if next.as_ref().is_some_and(is_ours) {
            return Ok(Looked::Stored(Tail { count: piece.end(), place: next.map_or(0, |next| next.sequence) }));
        }
        Ok(Looked::Other { actual: end.count })
    }

    async fn try_read(&self, run: &RunId, from: u64) -> Result<Option<Vec<Bytes>>, ReadError> {
        let (last, tail) = self.last(run).await?;
        let Some(last) = last.filter(|_| from < tail.count) else { return Ok(Some(Vec::new())) };
        let mut read = Reading { from, next: 0, records: Vec::new() };
        let (first, _) = extent(&last.headers)?;
        if first <= from {
            read.next = first; // What is asked for most: all of a short run, or what came since the last look.
            read.take(&last.headers, &last.payload)?;
            put(&mut self.read_to(), run, tail);
            return Ok(Some(read.records));
        }
        let known = self.read_to().get(run).copied().filter(|known| known.count <= from).unwrap_or(NOTHING);
        read.next = known.count;
        let which = if known == NOTHING { Which::All } else { Which::From(known.place + 1) };
        let found = scan(&self.bus.connection, &self.stream, &self.subject(run), which).await?;
        if found.last().is_none_or(|newest| newest.sequence < last.sequence) {
            return Ok(None); // The replica that read is behind.
        }
        let place = found.last().map_or(known.place, |newest| newest.sequence);
        for found in found {
            read.take(&found.message.headers.unwrap_or_default(), &found.message.payload)?;
        }
        put(&mut self.read_to(), run, Tail { count: read.next, place });
        Ok(Some(read.records))
    }

    /// The subjects of all runs, in no order.
    async fn subjects(&self) -> Result<Vec<String>, ApiError> {
        let (what, filter) = (format!("STREAM.INFO.{}", self.stream), self.bus.names.journal_subjects());
        let mut subjects = Vec::new();
        loop {
            let body = json!({ "subjects_filter": filter, "offset": subjects.len() });
            let info: Info = self.bus.connection.ask(&what, &body).await?;
            let part = info.state.subjects.unwrap_or_default();
            let is_last = part.is_empty() || subjects.len() + part.len() >= info.total;
            subjects.extend(part.into_keys());
            if is_last {
                return Ok(subjects);
            }
        }
    }

    /// Where the run of a subject begins; a run that was removed meanwhile nowhere.
    async fn first_of(&self, subject: String) -> Result<Option<(u64, RunId)>, ApiError> {
        let first = self.bus.connection.first_from(&self.stream, &subject, 1).await?;
        Ok(first.and_then(|first| Some((first.sequence, run_of(&subject)?))))
    }

    async fn try_list(&self) -> Result<Vec<RunId>, ApiError> {
        let subjects = self.subjects().await?;
        let first = |subject| self.first_of(subject);
        let mut asking = futures::stream::iter(subjects).map(first).buffer_unordered(LISTED_AT_ONCE);
        let mut runs = Vec::new();
        while let Some(found) = asking.try_next().await? {
            runs.extend(found);
        }
        runs.sort();
        Ok(runs.into_iter().map(|(_, run)| run).collect())
    }
}

enum Looked {
    Stored(Tail),
    Other { actual: u64 },
    Missing(Tail),
}

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Bad(#[from] BadMessage),
}

impl ReadError {
    fn may_pass(&self) -> bool {
        matches!(self, ReadError::Api(error) if error.may_pass())
    }
}

/// Records in the order of their messages, without gaps.
struct Reading {
    from: u64,
    /// Position of the next record.
    next: u64,
    records: Vec<Bytes>,
}

impl Reading {
    fn take(&mut self, headers: &HeaderMap, body: &[u8]) -> Result<(), BadMessage> {
        let (first, end) = extent(headers)?;
        if first != self.next {
            return Err(BadMessage::gap(self.next, first));
        }
        self.next = end;
        if end <= self.from {
            return Ok(());
        }
        let skipped = usize::try_from(self.from.saturating_sub(first)).unwrap_or(usize::MAX);
        self.records.extend(records_of(headers, body)?.into_iter().skip(skipped));
        Ok(())
    }
}

fn put(tails: &mut HashMap<RunId, Tail>, run: &RunId, tail: Tail) {
    if tails.len() >= TAILS_MAX && !tails.contains_key(run) {
        tails.clear();
    }
    tails.insert(run.clone(), tail);
}

fn tail_at(last: &StreamMessage) -> Result<Tail, BadMessage> {
    let (_, count) = extent(&last.headers)?;
    Ok(Tail { count, place: last.sequence })
}

/// Why the server certainly stored nothing, and would not another time either.
fn refusal(error: &ApiError) -> Option<String> {
    match error {
        ApiError::Refused { number, description }
            if code::NO_ROOM.contains(number) || [code::LIMIT_EXCEEDED, code::MESSAGE_TOO_LARGE].contains(number) =>
        {
            Some(description.clone())
        }
        ApiError::Unanswered(RequestError::TooLarge { .. }) => Some(error.to_string()),
        _ => None,
    }
}

fn is_wrong_place(error: &ApiError) -> bool {
    error.number() == Some(code::WRONG_LAST_SEQUENCE)
}

fn unknown(error: impl Into<BoxError>) -> JournalError {
    JournalError::Unknown { source: error.into() }
}

fn unreadable(run: &RunId, error: &dyn std::error::Error) -> JournalError {
    JournalError::Unreadable { reason: format!("{run}: {error}") }
}

#[async_trait]
impl Journal for NatsJournal {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        let mut tail = self.tail_at(run, expected).await?;
        for piece in pieces(expected, &records) {
            tail = match self.extend(run, tail, &piece).await {
                Ok(tail) => tail,
                Err(error) if piece.first == expected => return Err(error),
                Err(error) => return Err(unknown(error)), // The pieces before are stored.
            };
            self.remember(run, tail);
        }
        Ok(tail.count)
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        let mut patience = Patience::of(TRY_WITHIN);
        loop {
            match self.try_read(run, from).await {
                Ok(Some(records)) => return Ok(records),
                Ok(None) if patience.wait().await => {}
                Ok(None) => return Err(unreadable(run, &BadMessage::behind())),
                Err(error) if error.may_pass() && patience.wait().await => {}
                Err(error) => return Err(unreadable(run, &error)),
            }
        }
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        let listed = Patience::of(TRY_WITHIN).until_done(|| self.try_list()).await;
        listed.map_err(|error| JournalError::Unreadable { reason: error.to_string() })
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        let (what, body) = (format!("STREAM.PURGE.{}", self.stream), json!({ "filter": self.subject(run) }));
        let purging = || self.bus.connection.ask(&what, &body);
        let Purged {} = Patience::of(TRY_WITHIN).until_done(purging).await.map_err(unknown)?;
        self.tails().remove(run);
        self.read_to().remove(run);
        Ok(())
    }

    fn durability(&self) -> String {
        match self.bus.settings.replicas {
            1 => "NATS, one server, file: survives a kill of any process; a loss of power only if the server has \
                  `sync_interval: always`"
                .to_owned(),
            replicas => format!(
                "NATS, {replicas} servers, file: survives a kill of any process and the loss of {} of the servers",
                (replicas - 1) / 2
            ),
        }
    }
}
