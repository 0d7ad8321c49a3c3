//! Events as they happen, as `text/event-stream`: of one run without a loss, of all runs in passing.

use super::Api;
use super::problem::{Problem, ProblemKind};
use crate::event_stream::{OpenError, Position};
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Bytes, Data, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, get};
use serde::Deserialize;
use skein_common::RunId;
use std::convert::Infallible;
use utoipa::IntoParams;

/// In the description of the API.
const TAG: &str = "events";
/// With it a client that comes again names the last event it has.
const LAST_EVENT_ID: &str = "last-event-id";
/// Tells a proxy that it must not hold anything back.
const NO_BUFFERING: (&str, &str) = ("x-accel-buffering", "no");

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(run_events).service(all_events);
}

/// The last event that the asker has.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Resume {
    after: Option<String>,
}

/// Nothing can be asked of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

#[utoipa::path(tag = TAG, params(("run" = RunId, Path), Resume, ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that the asker has; wins over `after`")), responses((status = 200, body = String, content_type = "text/event-stream")))]
#[get("/runs/{run}/events")]
pub(super) async fn run_events(
    api: Data<Api>,
    request: HttpRequest,
    run: Path<RunId>,
    resume: Query<Resume>,
) -> Result<HttpResponse, Problem> {
    let after = last_event(&request, resume.after.as_deref())?;
    let stream = api.coordinator.streams().run(&run, after, api.watchers_max).await?;
    let frames = futures::stream::unfold(stream, async |mut stream| Some((stream.next().await?, stream)));
    Ok(answer().streaming(endless(frames)))
}

#[utoipa::path(tag = TAG, responses((status = 200, body = String, content_type = "text/event-stream")))]
#[get("/events")]
pub(super) async fn all_events(api: Data<Api>, _: Query<NoQuery>) -> Result<HttpResponse, Problem> {
    let stream = api.coordinator.streams().runs(api.watchers_max)?;
    let frames = futures::stream::unfold(stream, async |mut stream| Some((stream.next().await?, stream)));
    Ok(answer().streaming(endless(frames)))
}

fn answer() -> HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer.content_type("text/event-stream").insert_header((CACHE_CONTROL, "no-cache")).insert_header(NO_BUFFERING);
    answer
}

/// The body ends when the frames do, and never breaks off.
fn endless(
    frames: impl futures::Stream<Item = Bytes> + 'static,
) -> impl futures::Stream<Item = Result<Bytes, Infallible>> + 'static {
    use futures::StreamExt as _;
    frames.map(Ok)
}

/// The header wins: a browser that comes again repeats the address it was given at first.
fn last_event(request: &HttpRequest, after: Option<&str>) -> Result<Option<Position>, Problem> {
    let header = request.headers().get(LAST_EVENT_ID).map(|id| String::from_utf8_lossy(id.as_bytes()));
    let last = header.as_deref().map(str::trim).filter(|id| !id.is_empty()).or(after);
    let position = last.map(str::parse::<Position>).transpose();
    position.map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Problem {
        let kind = match &error {
            OpenError::NotFound { .. } => ProblemKind::NotFound,
            OpenError::TooMany { .. } | OpenError::Unreadable { .. } | OpenError::Closing => ProblemKind::Unavailable,
        };
        Problem::new(kind, error.to_string())
    }
}
