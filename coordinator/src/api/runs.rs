//! Runs as clients read and start them.

use super::Api;
use super::etag::is_known;
use super::problem::{Problem, ProblemKind, problem_of_body};
use super::scopes::{Scope, Scopes};
use crate::agent_record::{AgentRecord, agent_record};
use crate::journal::load_text;
use crate::log_lines::{LogPage, log_page};
use crate::stored::{RunPage, Selection, list_page};
use crate::submission::IdempotencyKey;
use actix_web::http::header::{ContentType, ETag, EntityTag, LINK};
use actix_web::web::{Bytes, Data, Json, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Responder, get, post};
use serde::de::IntoDeserializer as _;
use serde::de::value::Error as ValueError;
use serde::{Deserialize, Serialize};
use skein_common::agent::{AgentDefinition, RunnerKind};
use skein_common::run::{RunSpec, RunStatus};
use skein_common::trace::Traceparent;
use skein_common::view::{AgentView, RunView};
use skein_common::{AgentNumber, RunId};
use utoipa::{IntoParams, ToSchema};

/// In the description of the API.
const TAG: &str = "runs";
/// Runs of one answer, unless the client asks for fewer.
const PAGE: usize = 50;
const PAGE_MAX: usize = 1000;
/// The header under which a request that is sent again starts nothing new (R11).
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that says which trace the run belongs to (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list_runs).service(submit).service(read_run).service(read_script).service(read_result);
    config.service(list_agents).service(read_agent).service(read_agent_record).service(read_logs);
}

/// A new run: what is fixed when it starts (R2a).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    #[schema(value_type = Object)]
    pub spec: RunSpec,
}

/// What a submission is answered with.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    pub run: RunId,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<usize>,
    /// From the `Link` of the page before.
    cursor: Option<String>,
    /// Statuses, commas between them.
    state: Option<String>,
}

impl Page {
    fn selection(&self) -> Result<Selection, Problem> {
        let bad = |detail: String| Problem::new(ProblemKind::BadRequest, detail);
        let before = self.cursor.as_deref().map(str::parse::<RunId>).transpose();
        let before = before.map_err(|_| bad(String::from("the cursor is none that a page of runs gave")))?;
        let words = self.state.as_deref().unwrap_or_default().split(',').filter(|word| !word.is_empty());
        let status = |word: &str| RunStatus::deserialize(word.into_deserializer());
        let states: Result<Vec<RunStatus>, ValueError> = words.map(status).collect();
        let states = states.map_err(|error| bad(format!("state: {error}")))?;
        Ok(Selection { limit: self.limit.unwrap_or(PAGE).min(PAGE_MAX), before, states })
    }

    /// Where the next page is, for the header `Link`.
    fn link(&self, next: &RunId) -> String {
        let limit = self.limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
        // Words that were read, so nothing in them has to be escaped.
        let state = self.state.as_deref().map(|state| format!("&state={state}")).unwrap_or_default();
        format!("<?cursor={next}{limit}{state}>; rel=\"next\"")
    }
}

/// How far the asker has read a journal, in records.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    #[serde(default)]
    after: u64,
}

/// One agent of a run.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct AgentPath {
    pub run: RunId,
    pub agent: AgentNumber,
}

#[utoipa::path(tag = TAG, params(Page), responses((status = 200, body = Vec<RunView>)))]
#[get("/runs")]
pub(super) async fn list_runs(api: Data<Api>, page: Query<Page>) -> Result<impl Responder, Problem> {
    let RunPage { runs, next } = list_page(api.coordinator.ports(), &page.selection()?).await?;
    let mut answer = HttpResponse::Ok();
    if let Some(next) = next {
        answer.insert_header((LINK, page.link(&next)));
    }
    Ok(answer.json(runs))
}

#[utoipa::path(tag = TAG, request_body = Submission, params(("Idempotency-Key" = Option<String>, Header, max_length = 255)), responses((status = 201, body = Accepted)))]
#[post("/runs")]
pub(super) async fn submit(
    api: Data<Api>,
    request: HttpRequest,
    body: Result<Bytes, actix_web::Error>,
) -> Result<impl Responder, Problem> {
    if !api.takes_runs {
        let detail = "this process is there for one run; `skein serve` takes others";
        return Err(Problem::new(ProblemKind::Conflict, detail));
    }
    let body = body.map_err(|error| problem_of_body(&error))?;
    let mut submission: Submission =
        serde_json::from_slice(&body).map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))?;
    if let Some(what) = needs_command(&submission.spec) {
        Scopes::of(&request).require(Scope::Command, what)?;
    }
    submission.spec.traceparent = traceparent(&request).or(submission.spec.traceparent);
    let run = match request.headers().get(IDEMPOTENCY_KEY) {
        None => api.coordinator.submit(submission.spec).await?,
        Some(key) => {
            let key = IdempotencyKey::new(&String::from_utf8_lossy(key.as_bytes()), &body)?;
            api.coordinator.submit_once(submission.spec, &key).await?.run
        }
    };
    // On return it can be controlled. Sent again, it may be anywhere and have ended long ago.
    if let Err(reason) = api.coordinator.begin(run.clone()).await {
        tracing::info!(run_id = %run, reason, "submitted run not taken up here");
    }
    Ok(HttpResponse::Created().insert_header(("Location", format!("/api/v1/runs/{run}"))).json(Accepted { run }))
}

/// The trace of whoever asks; one that is damaged, or said twice, is ignored.
fn traceparent(request: &HttpRequest) -> Option<Traceparent> {
    let mut values = request.headers().get_all(TRACEPARENT);
    let value = values.next().filter(|_| values.next().is_none())?;
    Traceparent::parse(value.to_str().ok()?)
}

/// What of a submission makes the machines of others run programs or read files of theirs, if anything does.
fn needs_command(spec: &RunSpec) -> Option<&'static str> {
    let runs_programs = |runner: Option<RunnerKind>| matches!(runner, Some(RunnerKind::Command | RunnerKind::Cli));
    if spec.command.is_some() || runs_programs(spec.runner) {
        return Some("a run that names a program");
    }
    let names_program = |definition: &AgentDefinition| {
        definition.command.is_some()
            || runs_programs(definition.runner)
            || !definition.env.is_empty()
            || definition.cwd.is_some()
    };
    if spec.definitions.iter().any(names_program) {
        return Some("a run with an agent type that names a program, its environment or its folder");
    }
    (!spec.script_roots.is_empty()).then_some("a run that may read scripts by their paths")
}

#[utoipa::path(tag = TAG, params(("run" = RunId, Path)), responses((status = 200, body = RunView)))]
#[get("/runs/{run}")]
pub(super) async fn read_run(api: Data<Api>, run: Path<RunId>) -> Result<Json<RunView>, Problem> {
    Ok(Json(api.coordinator.folded().view(&run).await?))
}

#[utoipa::path(tag = TAG, params(("run" = RunId, Path), ("If-None-Match" = Option<String>, Header)), responses((status = 200, body = String, content_type = "text/plain"), (status = 304)))]
#[get("/runs/{run}/script")]
pub(super) async fn read_script(
    api: Data<Api>,
    run: Path<RunId>,
    request: HttpRequest,
) -> Result<impl Responder, Problem> {
    let folded = api.coordinator.folded().read(&run).await?;
    let script = &folded.state().spec.script;
    let tag = EntityTag::new_strong(script.digest_as_blob().0);
    if is_known(&request, &tag) {
        return Ok(HttpResponse::NotModified().insert_header(ETag(tag)).finish());
    }
    let text = load_text(api.coordinator.ports().blobs.as_ref(), &run, script).await?;
    Ok(HttpResponse::Ok().insert_header(ETag(tag)).content_type(ContentType::plaintext()).body(text))
}

#[utoipa::path(tag = TAG, params(("run" = RunId, Path)), responses((status = 200, body = Value)))]
#[get("/runs/{run}/result")]
pub(super) async fn read_result(api: Data<Api>, run: Path<RunId>) -> Result<impl Responder, Problem> {
    let view = api.coordinator.folded().view(&run).await?;
    match view.result {
        Some(result) => Ok(HttpResponse::Ok().content_type(ContentType::json()).body(result.get().to_owned())),
        None => Err(Problem::new(ProblemKind::Conflict, format!("{run} has no result: it is {}", view.status))),
    }
}

#[utoipa::path(tag = TAG, params(("run" = RunId, Path)), responses((status = 200, body = Vec<AgentView>)))]
#[get("/runs/{run}/agents")]
pub(super) async fn list_agents(api: Data<Api>, run: Path<RunId>) -> Result<impl Responder, Problem> {
    Ok(Json(agents_of(&api, &run).await?))
}

#[utoipa::path(tag = TAG, params(AgentPath), responses((status = 200, body = AgentView)))]
#[get("/runs/{run}/agents/{agent}")]
pub(super) async fn read_agent(api: Data<Api>, path: Path<AgentPath>) -> Result<Json<AgentView>, Problem> {
    agent_of(&api, &path).await
}

#[utoipa::path(tag = TAG, params(AgentPath), responses((status = 200, body = AgentRecord)))]
#[get("/runs/{run}/agents/{agent}/record")]
pub(super) async fn read_agent_record(api: Data<Api>, path: Path<AgentPath>) -> Result<impl Responder, Problem> {
    Ok(Json(agent_record(api.coordinator.ports(), &path.run, path.agent).await?))
}

#[utoipa::path(tag = TAG, params(("run" = RunId, Path), After), responses((status = 200, body = LogPage)))]
#[get("/runs/{run}/logs")]
pub(super) async fn read_logs(
    api: Data<Api>,
    run: Path<RunId>,
    after: Query<After>,
) -> Result<impl Responder, Problem> {
    Ok(Json(log_page(api.coordinator.ports(), &run, after.after).await?))
}

async fn agents_of(api: &Api, run: &RunId) -> Result<Vec<AgentView>, Problem> {
    Ok(api.coordinator.folded().agents(run).await?)
}

pub(super) async fn agent_of(api: &Api, path: &AgentPath) -> Result<Json<AgentView>, Problem> {
    let agents = agents_of(api, &path.run).await?;
    let count = agents.len();
    let found = agents.into_iter().find(|view| view.agent == path.agent);
    let missing =
        || Problem::new(ProblemKind::NotFound, format!("{} has no agent {}; it has {count}", path.run, path.agent));
    Ok(Json(found.ok_or_else(missing)?))
}
