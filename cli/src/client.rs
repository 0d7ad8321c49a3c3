//! Client: how a command reaches a process that executes runs, over the HTTP API: on a Unix socket of the store, or on
//! TCP where `--url` says.

use crate::args::Global;
use crate::exit::{unreachable, usage};
use crate::output::printable;
use crate::remote::{ApiUrl, places, token_for};
use crate::settings::Secret;
use anyhow::Context as _;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{ClientBuilder, Method, RequestBuilder, Response, StatusCode, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skein_common::RunId;
use skein_coordinator::api::{Problem, ProblemBody, ProblemKind, reachable};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A process that is busy answers within this time; one that is stopped or hangs never does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A process that answered before may be away for so long, as while it is started anew.
const AWAY_MAX: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// A stream says at least every 15 s that it lives; one that missed that three times does not.
const STREAM_SILENT_MAX: Duration = Duration::from_secs(45);

/// The socket of `skein serve`, beside the store's files.
const SERVE_SOCKET: &str = "serve.sock";

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The socket of a process that is there for this run.
#[must_use]
pub fn run_socket(store: &Path, run: &RunId) -> PathBuf {
    store.join("runs").join(format!("{run}.sock"))
}

/// The socket of `skein serve`.
#[must_use]
pub fn serve_socket(store: &Path) -> PathBuf {
    store.join(SERVE_SOCKET)
}

/// Speaks to one process.
#[derive(Debug)]
pub struct Client {
    place: Place,
    /// It has answered before.
    is_known: AtomicBool,
}

#[derive(Debug)]
enum Place {
    Socket(PathBuf),
    Url { url: ApiUrl, token: Option<Secret>, token_places: String, http: reqwest::Client, streams: reqwest::Client },
}

/// What is asked.
struct Question<'a> {
    method: Method,
    path: &'a str,
    body: Option<Vec<u8>>,
    key: Option<&'a str>,
}

impl Client {
    /// Whoever may know this run: the process that `--url` names, else its own process, else the local `skein serve`.
    ///
    /// # Errors
    /// No store is named and there is no default place for one, or the token for the URL cannot be read.
    pub fn of_run(global: &Global, run: &RunId) -> anyhow::Result<Option<Client>> {
        if let Some(client) = Client::of_url(global)? {
            return Ok(Some(client));
        }
        let store = global.settings.store_dir()?;
        let sockets = [run_socket(&store, run), serve_socket(&store)];
        Ok(sockets.into_iter().find(|socket| somebody_listens(socket)).map(Client::of_socket))
    }

    /// Whoever takes runs: the process that `--url` names, else the local `skein serve`.
    ///
    /// # Errors
    /// As [`Client::of_run`].
    pub fn of_serve(global: &Global) -> anyhow::Result<Option<Client>> {
        if let Some(client) = Client::of_url(global)? {
            return Ok(Some(client));
        }
        let socket = serve_socket(&global.settings.store_dir()?);
        Ok(somebody_listens(&socket).then(|| Client::of_socket(socket)))
    }

    /// The process that `--url`, `SKEIN_URL` or `api.url` names, if any of them does.
    ///
    /// # Errors
    /// The token for it cannot be read.
    pub fn of_url(global: &Global) -> anyhow::Result<Option<Client>> {
        let Some(url) = global.settings.api_url() else { return Ok(None) };
        let token = token_for(&global.settings, url)?;
        let token_places = places(&global.settings, url);
        // A token is for the process that was named: neither for where it sends us, nor for a proxy.
        let http = || reqwest::Client::builder().redirect(redirect::Policy::none()).no_proxy();
        let (streams, http) = (for_streams(http()).build()?, http().timeout(ANSWER_TIMEOUT).build()?);
        let place = Place::Url { url: url.clone(), token, token_places, http, streams };
        Ok(Some(Client { place, is_known: AtomicBool::new(false) }))
    }

    fn of_socket(socket: PathBuf) -> Client {
        Client { place: Place::Socket(socket), is_known: AtomicBool::new(false) }
    }

    /// Asks for something to be told; `path` is below `/api/v1`. A process that told something before may be away for a
    /// while.
    ///
    /// # Errors
    /// The process is gone, or has a problem with it.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        read(&self.get_bytes(path).await?)
    }

    /// The same for what is a text.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_text(&self, path: &str) -> anyhow::Result<String> {
        String::from_utf8(self.get_bytes(path).await?).context("the answer is no text")
    }

    async fn get_bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let question = Question { method: Method::GET, path, body: None, key: None };
        self.patiently(async || self.ask(&question).await).await
    }

    /// Asks for a stream of events, behind this one; `path` is below `/api/v1`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn stream(&self, path: &str, last_event: Option<&str>) -> anyhow::Result<Response> {
        self.patiently(async || self.open_stream(path, last_event).await).await
    }

    /// Asks again while nobody answers who answered before.
    async fn patiently<T>(&self, ask: impl AsyncFn() -> Result<T, Silence>) -> anyhow::Result<T> {
        let since = Instant::now();
        loop {
            match ask().await {
                Err(Silence::Away(_) | Silence::Lost(_))
                    if self.is_known.load(Ordering::Relaxed) && since.elapsed() < AWAY_MAX =>
                {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                answer => return answer.map_err(Silence::into_error),
            }
        }
    }

    /// Asks for something to be done; `path` is below `/api/v1`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let question = Question { method: Method::POST, path, body: None, key: None };
        read(&self.ask(&question).await.map_err(Silence::into_error)?)
    }

    /// Asks for something to be done once, also when the first answer is lost and it is asked again (R11).
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_once<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let key = format!("{:032x}", rand::random::<u128>());
        let body = Some(serde_json::to_vec(body)?);
        let question = Question { method: Method::POST, path, body, key: Some(&key) };
        let mut tries_left = 2;
        loop {
            match self.ask(&question).await {
                Err(Silence::Lost(_)) if tries_left > 0 => {
                    tries_left -= 1;
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                answer => return read(&answer.map_err(Silence::into_error)?),
            }
        }
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Vec<u8>, Silence> {
        let answer = match &self.place {
            Place::Socket(socket) => ask_socket(socket, question).await,
            Place::Url { url, token, http, .. } => {
                let request = http.request(question.method.clone(), url.call(question.path));
                send(with_token(request, token.as_ref()), question).await.map_err(|error| silence_of(url, &error))
            }
        };
        let (status, bytes) = answer?;
        self.is_known.store(true, Ordering::Relaxed);
        if status.is_success() { Ok(bytes) } else { Err(self.refused(status, &bytes)) }
    }

    async fn open_stream(&self, path: &str, last_event: Option<&str>) -> Result<Response, Silence> {
        let behind = |request: RequestBuilder| match last_event {
            Some(id) => request.header(&LAST_EVENT_ID, id),
            None => request,
        };
        let answer = match &self.place {
            Place::Socket(socket) => {
                // The short name of the socket is good for as long as this value lives.
                let short = reachable(socket).map_err(|error| Silence::Away(error.into()))?;
                let http = for_streams(reqwest::Client::builder().unix_socket(short.path())).build();
                let http = http.map_err(|error| Silence::Away(error.into()))?;
                behind(http.get(format!("http://skein/api/v1{path}"))).send().await.map_err(|_| is_silent(socket))?
            }
            Place::Url { url, token, streams, .. } => {
                let request = behind(with_token(streams.get(url.call(path)), token.as_ref()));
                request.send().await.map_err(|error| silence_of(url, &error))?
            }
        };
        self.is_known.store(true, Ordering::Relaxed);
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let bytes = answer.bytes().await.unwrap_or_default();
        Err(self.refused(status, &bytes))
    }

    fn refused(&self, status: StatusCode, bytes: &[u8]) -> Silence {
        let problem = self.problem(status, bytes);
        // Nothing is lost, and the same again may work. A proxy says the same without our words.
        match problem.downcast_ref::<Problem>().map(|problem| problem.kind) {
            Some(ProblemKind::Unavailable) => Silence::Lost(unreachable(problem.to_string())),
            None if is_of_proxy(status) => Silence::Lost(unreachable(problem.to_string())),
            _ => Silence::Problem(problem),
        }
    }

    fn problem(&self, status: StatusCode, bytes: &[u8]) -> anyhow::Error {
        let problem = match serde_json::from_slice::<ProblemBody>(bytes) {
            Ok(body) => Problem::from(body),
            Err(_) => return self.stranger(status),
        };
        // It may tell what a script wrote.
        let problem = Problem::new(problem.kind, printable(&problem.detail));
        match &self.place {
            Place::Url { url, token_places, .. } if problem.kind == ProblemKind::Unauthorized => {
                usage(format!("{url} does not let us in: {problem}; {token_places}"))
            }
            _ => problem.into(),
        }
    }

    fn stranger(&self, status: StatusCode) -> anyhow::Error {
        match &self.place {
            Place::Socket(_) => anyhow::anyhow!("the answer was {status}"),
            Place::Url { url, .. } => anyhow::anyhow!("{url} answered {status}: is it Skein that listens there?"),
        }
    }
}

/// Why there is no answer that can be used.
enum Silence {
    /// Nobody listens: nothing was asked.
    Away(anyhow::Error),
    /// It may have been heard, or was and could not be done just then.
    Lost(anyhow::Error),
    /// It was heard, and the answer is no.
    Problem(anyhow::Error),
}

impl Silence {
    fn into_error(self) -> anyhow::Error {
        match self {
            Silence::Away(error) | Silence::Lost(error) | Silence::Problem(error) => error,
        }
    }
}

/// Who answered says that somebody behind it does not.
fn is_of_proxy(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

async fn ask_socket(socket: &Path, question: &Question<'_>) -> Result<(StatusCode, Vec<u8>), Silence> {
    let gone = |error: anyhow::Error| Silence::Away(error);
    // The short name of the socket is good for as long as this value lives.
    let short = reachable(socket).map_err(|error| gone(error.into()))?;
    let http = reqwest::Client::builder().unix_socket(short.path()).timeout(ANSWER_TIMEOUT).build();
    let http = http.map_err(|error| gone(error.into()))?;
    let request = http.request(question.method.clone(), format!("http://skein/api/v1{}", question.path));
    send(request, question).await.map_err(|_| is_silent(socket))
}

fn is_silent(socket: &Path) -> Silence {
    Silence::Lost(unreachable(format!("the process behind {} does not answer", socket.display())))
}

/// An answer that goes on for as long as something happens.
fn for_streams(http: ClientBuilder) -> ClientBuilder {
    http.connect_timeout(ANSWER_TIMEOUT).read_timeout(STREAM_SILENT_MAX)
}

fn with_token(request: RequestBuilder, token: Option<&Secret>) -> RequestBuilder {
    match token {
        Some(token) => request.bearer_auth(token.expose()),
        None => request,
    }
}

async fn send(mut request: RequestBuilder, question: &Question<'_>) -> reqwest::Result<(StatusCode, Vec<u8>)> {
    if let Some(body) = &question.body {
        request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
    }
    if let Some(key) = question.key {
        request = request.header(&IDEMPOTENCY_KEY, key);
    }
    let answer = request.send().await?;
    let status = answer.status();
    Ok((status, answer.bytes().await?.to_vec()))
}

fn silence_of(url: &ApiUrl, error: &reqwest::Error) -> Silence {
    if error.is_connect() {
        let why = root_cause(error);
        let advice = "check that `skein serve --listen` or `skein coordinator` runs there, and the address (--url, \
                      SKEIN_URL, api.url)";
        return Silence::Away(unreachable(format!("{url} cannot be reached: {why}; {advice}")));
    }
    let why = if error.is_timeout() { String::from("it does not answer") } else { root_cause(error) };
    Silence::Lost(unreachable(format!("{url} was asked, but: {why}")))
}

/// What the system said; what is above it repeats the address.
fn root_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root_cause)
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(bytes).context("the answer cannot be read")
}

/// A socket file that a dead process left is nobody's.
fn somebody_listens(socket: &Path) -> bool {
    reachable(socket).and_then(|short| UnixStream::connect(short.path())).is_ok()
}

/// Whether the process said no for this reason.
#[must_use]
pub fn is_problem(error: &anyhow::Error, kind: ProblemKind) -> bool {
    error.downcast_ref::<Problem>().is_some_and(|problem| problem.kind == kind)
}

/// What a person asked for cannot be: another command can.
#[must_use]
pub fn refusal(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Problem>().map(|problem| problem.kind) {
        Some(ProblemKind::BadRequest | ProblemKind::Conflict | ProblemKind::NotFound | ProblemKind::Forbidden) => {
            usage(error.to_string())
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Code, code_of};

    #[test]
    fn u06_who_cannot_answer_just_now_is_asked_again_and_then_counts_as_unreachable() {
        let client = Client::of_socket(PathBuf::from("/nowhere"));
        let body = |name: &str| format!(r#"{{"type":"urn:skein:error:{name}","title":"","status":1,"detail":"why"}}"#);
        let (unavailable, conflict) = (body("unavailable"), body("conflict"));
        for (status, bytes) in [
            (StatusCode::SERVICE_UNAVAILABLE, unavailable.as_bytes()),
            (StatusCode::SERVICE_UNAVAILABLE, b"<html>"),
            (StatusCode::BAD_GATEWAY, b""),
            (StatusCode::GATEWAY_TIMEOUT, b""),
        ] {
            let silence = client.refused(status, bytes);
            assert!(matches!(silence, Silence::Lost(_)), "{status} is asked again");
            assert_eq!(code_of(&silence.into_error()), Code::Unreachable, "{status}");
        }
        for (status, bytes) in [(StatusCode::CONFLICT, conflict.as_bytes()), (StatusCode::IM_A_TEAPOT, b"")] {
            assert!(matches!(client.refused(status, bytes), Silence::Problem(_)), "{status} is an answer");
        }
    }
}
