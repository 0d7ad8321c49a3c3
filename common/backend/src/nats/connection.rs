//! A connection to the servers: who we are, how it comes back, and requests that do not outlive it.

use super::error::NatsError;
use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use skein_common::config::NatsSettings;
use skein_common::ports::BoxError;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;

/// A peer that is gone without a word is noticed after two of these; the client's own 60 s are too slow.
const PING_EVERY: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that wait for us before the client drops some: a coordinator is flooded when many agents end at once.
const SUBSCRIPTION_CAPACITY: usize = 262_144;
/// All clients of a server that restarts come back at once, so each waits at random, up to a bound that doubles.
const RECONNECT_BOUND_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_BOUND_LAST: Duration = Duration::from_secs(4);

/// A connection that comes back by itself. Clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Client,
    jetstream: Context,
    /// How often the connection was made.
    connects: watch::Receiver<u64>,
}

/// Why a request has no answer. What was asked may have been done all the same, except after `NoResponders` and
/// `TooLarge`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    #[error("nobody listens to {subject}")]
    NoResponders { subject: String },
    #[error("no answer in time from {subject}")]
    TimedOut { subject: String },
    #[error("the connection was lost while {subject} was asked")]
    Reconnected { subject: String },
    #[error("a message to {subject} is too large: {reason}")]
    TooLarge { subject: String, reason: String },
    #[error("cannot ask {subject}")]
    Other {
        subject: String,
        #[source]
        source: BoxError,
    },
}

impl Connection {
    /// Connects, once: a server that is not there yet is an error that [`NatsError::may_pass`]. Answers come to subjects
    /// that begin with the inbox, if there is one.
    ///
    /// # Errors
    /// When no server answers or lets us in, and for settings that cannot be.
    pub async fn open_with_inbox(settings: &NatsSettings, inbox: Option<&str>) -> Result<Connection, NatsError> {
        let (told, connects) = watch::channel(0);
        let mut options = options(settings).await?;
        if let Some(inbox) = inbox {
            options = options.custom_inbox_prefix(inbox);
        }
        let options = options.event_callback(move |event| {
            note(&event);
            if event == Event::Connected {
                told.send_modify(|count| *count += 1);
            }
            async {}
        });
        let addresses: Vec<&str> = settings.url.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
        let client = options.connect(addresses).await.map_err(|error| not_connected(&settings.url, &error))?;
        // The first notice comes a little later, and must not look like a second connection.
        let mut told = connects.clone();
        let closed = |_| NatsError::Unreachable { url: without_secrets(&settings.url), reason: String::from("closed") };
        told.wait_for(|count| *count > 0).await.map_err(closed)?;
        let jetstream = async_nats::jetstream::new(client.clone());
        Ok(Connection { client, jetstream, connects })
    }

    #[cfg(test)]
    pub async fn open(settings: &NatsSettings) -> Result<Connection, NatsError> {
        Connection::open_with_inbox(settings, None).await
    }

    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The client's own way to the server's store.
    #[must_use]
    pub fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// How often the connection was made; it changes when it was lost and came back. What the client had handed to the
    /// socket, and the requests whose answers were on their way, are lost then.
    #[must_use]
    pub fn connects(&self) -> watch::Receiver<u64> {
        self.connects.clone()
    }

    /// Asks, and waits for the answer for 5 s, or until the connection was lost and came back.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn request(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<Message, RequestError> {
        self.request_within(subject, headers, payload, REQUEST_TIMEOUT).await
    }

    /// The same with a time of its own.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn request_within(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        let timed_out = |_| RequestError::TimedOut { subject: subject.to_owned() };
        tokio::time::timeout(timeout, self.connected()).await.map_err(timed_out)?;
        let mut request = Request::new().payload(payload).timeout(Some(timeout));
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let answer = self.unbroken(subject, self.client.send_request(subject.to_owned(), request)).await?;
        answer.map_err(|error| not_answered(subject, error))
    }

    /// Waits until there is a connection. What is sent without one is sent later, perhaps when nobody waits for it any
    /// more and it was sent again.
    pub(super) async fn connected(&self) {
        let mut connects = self.connects.clone();
        loop {
            connects.mark_unchanged();
            let is_connected = self.client.connection_state() == State::Connected;
            if is_connected || connects.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits for something that the connection brings, but no longer than the connection lasts.
    ///
    /// # Errors
    /// When the connection was lost and came back meanwhile, after which what was asked of `subject` gets no answer.
    pub async fn unbroken<T>(&self, subject: &str, waiting: impl Future<Output = T>) -> Result<T, RequestError> {
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        tokio::select! {
            biased;
            answer = waiting => Ok(answer),
            Ok(()) = connects.changed() => Err(RequestError::Reconnected { subject: subject.to_owned() }),
        }
    }
}

async fn options(settings: &NatsSettings) -> Result<ConnectOptions, NatsError> {
    let mut options = ConnectOptions::new()
        .name("skein")
        .ping_interval(PING_EVERY)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .connection_timeout(CONNECT_TIMEOUT)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(reconnect_delay);
    options = with_identity(options, settings).await?;
    if let Some(ca) = &settings.tls_ca {
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }
    match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Ok(options.add_client_certificate(cert.clone(), key.clone()).require_tls(true)),
        (None, None) => Ok(options),
        (Some(_), None) => Err(bad("nats.tls_cert", "needs nats.tls_key")),
        (None, Some(_)) => Err(bad("nats.tls_key", "needs nats.tls_cert")),
    }
}

async fn with_identity(options: ConnectOptions, settings: &NatsSettings) -> Result<ConnectOptions, NatsError> {
    let named = [settings.creds_file.is_some(), settings.nkey_file.is_some(), settings.user.is_some()];
    if named.iter().filter(|named| **named).count() > 1 {
        return Err(bad("nats.creds_file", "name one of nats.creds_file, nats.nkey_file and nats.user"));
    }
    if let Some(path) = &settings.creds_file {
        let text = read(path).await?;
        let unusable = |error: std::io::Error| NatsError::CannotRead { path: path.clone(), reason: error.to_string() };
        return options.credentials(&text).map_err(unusable);
    }
    if let Some(path) = &settings.nkey_file {
        let text = read(path).await?;
        let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
        let no_seed = || NatsError::CannotRead {
            path: path.clone(),
            reason: String::from("it has no line with the seed of a user, which begins with SU"),
        };
        return Ok(options.nkey(seed.ok_or_else(no_seed)?.to_owned()));
    }
    match (&settings.user, &settings.password_file) {
        (Some(user), Some(path)) => {
            let text = read(path).await?;
            let password = text.lines().next().unwrap_or_default();
            Ok(options.user_and_password(user.clone(), password.to_owned()))
        }
        (None, None) => Ok(options),
        (Some(_), None) => Err(bad("nats.user", "needs nats.password_file")),
        (None, Some(_)) => Err(bad("nats.password_file", "needs nats.user")),
    }
}

async fn read(path: &Path) -> Result<String, NatsError> {
    let unreadable = |error: std::io::Error| NatsError::CannotRead { path: path.to_owned(), reason: error.to_string() };
    tokio::fs::read_to_string(path).await.map_err(unreadable)
}

fn bad(name: &'static str, reason: &str) -> NatsError {
    NatsError::BadSetting { name, reason: reason.to_owned() }
}

/// The first attempt is at once: it is the one of a process that starts, and a restarted server has room for it.
fn reconnect_delay(attempts: usize) -> Duration {
    let doubled = u32::try_from(attempts.saturating_sub(2)).unwrap_or(u32::MAX).min(16);
    let bound = RECONNECT_BOUND_FIRST.saturating_mul(1 << doubled).min(RECONNECT_BOUND_LAST);
    if attempts <= 1 { Duration::ZERO } else { bound.mul_f64(rand::random::<f64>()) }
}

fn note(event: &Event) {
    match event {
        Event::SlowConsumer(subscription) => {
            tracing::error!(subscription, "messages of the NATS server came faster than we read them and were lost");
        }
        Event::Disconnected => tracing::warn!("the connection to the NATS server is lost"),
        Event::ServerError(error) => tracing::warn!(%error, "the NATS server complains"),
        Event::ClientError(error) => tracing::debug!(%error, "no connection to the NATS server yet"),
        other => tracing::debug!(event = %other, "connection to the NATS server"),
    }
}

fn not_connected(url: &str, error: &async_nats::ConnectError) -> NatsError {
    let url = without_secrets(url);
    let reason = chain(error);
    match error.kind() {
        ConnectErrorKind::ServerParse => NatsError::BadSetting { name: "nats.url", reason },
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            NatsError::Forbidden { url, reason }
        }
        _ => NatsError::Unreachable { url, reason },
    }
}

/// The addresses without the names and passwords that an address may hold.
fn without_secrets(url: &str) -> String {
    let hide = |address: &str| match address.trim().rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
        }
        None => address.trim().to_owned(),
    };
    url.split(',').map(hide).collect::<Vec<_>>().join(", ")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

fn not_answered(subject: &str, error: async_nats::RequestError) -> RequestError {
    let subject = subject.to_owned();
    match error.kind() {
        RequestErrorKind::NoResponders => RequestError::NoResponders { subject },
        RequestErrorKind::TimedOut => RequestError::TimedOut { subject },
        RequestErrorKind::MaxPayloadExceeded => RequestError::TooLarge { subject, reason: error.to_string() },
        _ => RequestError::Other { subject, source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_not_shown() {
        let shown = without_secrets("nats://bob:secret@one:4222, tls://two:4222,token@three");
        assert_eq!(shown, "nats://one:4222, tls://two:4222, three");
    }

    #[test]
    fn a_lost_server_is_tried_at_random_times_within_a_bound() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        for attempts in 2..200 {
            assert!(reconnect_delay(attempts) <= RECONNECT_BOUND_LAST);
        }
        let differs = (0..20).map(|_| reconnect_delay(9)).collect::<std::collections::BTreeSet<_>>();
        assert!(differs.len() > 1);
    }
}
