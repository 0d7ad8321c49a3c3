//! The description of the API for programs: OpenAPI 3.1, made from the routes and types themselves.

use super::problem::{ProblemBody, ProblemKind};
use super::{check, control, coordinator, events, runs, telemetry, workers};
use crate::event_stream::{RunChange, RunEvent};
use actix_web::http::header::ContentType;
use actix_web::web::ServiceConfig;
use actix_web::{HttpResponse, web};
use std::sync::LazyLock;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi};

/// Where it is. It tells nothing of any run, so it is read without a token.
pub(super) const DOCUMENT: &str = "/api-docs/openapi.json";
/// The name of what a token is, in the description.
const TOKEN: &str = "token";

pub(super) fn routes(config: &mut ServiceConfig) {
    config.route(DOCUMENT, web::get().to(document));
}

async fn document() -> HttpResponse {
    static TEXT: LazyLock<String> = LazyLock::new(|| Process::openapi().to_json().unwrap_or_default());
    HttpResponse::Ok().content_type(ContentType::json()).body(TEXT.as_str())
}

/// What is below `/api/v1`.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(
        runs::list_runs,
        runs::submit,
        runs::read_run,
        runs::read_script,
        runs::read_result,
        runs::list_agents,
        runs::read_agent,
        runs::read_agent_record,
        runs::read_logs,
        events::run_events,
        events::all_events,
        control::pause,
        control::resume,
        control::stop,
        control::stop_agent,
        control::restart_agent,
        control::skip_agent,
        check::check,
        workers::list_workers,
        workers::drain,
        coordinator::standing,
    ),
    components(schemas(ProblemBody, RunEvent, RunChange))
)]
struct Version1;

/// Everything a process answers.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Skein", description = "Runs of workflows: docs/api.md of the project tells what each call is for."),
    paths(telemetry::healthy, telemetry::ready, telemetry::metrics),
    nest((path = "/api/v1", api = Version1)),
    modifiers(&Problems, &Token)
)]
struct Process;

/// Every call may be answered with a problem, of one of the types that have a page.
struct Problems;

impl Modify for Problems {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let content = Content::new(Some(Ref::from_schema_name("ProblemBody")));
        let problem = ResponseBuilder::new().description("A problem").content("application/problem+json", content);
        let problem = RefOr::T(problem.build());
        for item in api.paths.paths.values_mut() {
            let operations: [&mut Option<Operation>; 2] = [&mut item.get, &mut item.post];
            for operation in operations.into_iter().flatten() {
                operation.responses.responses.insert(String::from("default"), problem.clone());
            }
        }
        let schemas = api.components.as_mut().map(|components| &mut components.schemas);
        let body = schemas.and_then(|schemas| schemas.get_mut("ProblemBody"));
        if let Some(RefOr::T(Schema::Object(body))) = body
            && let Some(RefOr::T(Schema::Object(kind))) = body.properties.get_mut("type")
        {
            kind.enum_values = Some(ProblemKind::ALL.map(|kind| kind.urn().into()).to_vec());
        }
    }
}

/// Over TCP every call but those that say otherwise needs one.
struct Token;

impl Modify for Token {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        api.components.get_or_insert_default().add_security_scheme(TOKEN, scheme);
        api.security = Some(vec![SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn described() -> Value {
        serde_json::from_str(&Process::openapi().to_json().expect("encodes")).expect("JSON")
    }

    /// What the sources of the API say: the lines with which a function becomes a route.
    fn routes_of_sources() -> Vec<(String, String)> {
        let folder = format!("{}/src/api", env!("CARGO_MANIFEST_DIR"));
        let mut routes = Vec::new();
        for entry in std::fs::read_dir(folder).expect("the folder") {
            let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("reads");
            for method in ["get", "post", "put", "delete", "patch"] {
                let begin = format!("#[{method}(\"");
                let paths = text.lines().filter_map(|line| line.strip_prefix(begin.as_str()));
                routes
                    .extend(paths.map(|rest| (method.to_owned(), rest.split('"').next().expect("a path").to_owned())));
            }
        }
        routes
    }

    #[test]
    fn every_route_of_the_server_is_described() {
        let described = described();
        assert!(described["openapi"].as_str().expect("a version").starts_with("3.1"));
        let routes = routes_of_sources();
        assert!(routes.len() > 20, "{routes:?}");
        for (method, path) in &routes {
            let operation = &described["paths"][format!("/api/v1{path}")][method];
            assert!(operation.is_object(), "{method} {path}");
            assert!(operation["responses"]["default"].is_object(), "{method} {path} may have a problem");
            let names = path.split('{').skip(1).map(|rest| rest.split('}').next().expect("a name"));
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            for name in names {
                let found = parameters.iter().filter(|one| one["in"] == "path" && one["name"] == name).count();
                assert_eq!(found, 1, "{name} of {method} {path}");
            }
        }
        let count: usize = described["paths"]
            .as_object()
            .expect("paths")
            .values()
            .map(|item| item.as_object().map_or(0, |item| item.len()))
            .sum();
        assert_eq!(count, routes.len() + 3, "and those of telemetry.rs, and nothing that is not there");
    }

    #[test]
    fn every_type_of_problem_is_described_and_every_reference_leads_somewhere() {
        let described = described();
        let kinds = &described["components"]["schemas"]["ProblemBody"]["properties"]["type"]["enum"];
        let kinds: Vec<&str> = kinds.as_array().expect("types").iter().filter_map(Value::as_str).collect();
        assert_eq!(kinds, ProblemKind::ALL.map(ProblemKind::urn));
        let text = described.to_string();
        let targets = text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().expect("a target"));
        for target in targets {
            assert!(described.pointer(target).is_some(), "{target}");
        }
    }
}
