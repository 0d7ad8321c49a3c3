//! Problems: what the API answers when it does not do what was asked (RFC 9457).

use crate::actors::ControlError;
use crate::agent_record::AgentRecordError;
use crate::journal::LoadError;
use crate::submission::SubmitError;
use crate::workers::WorkersError;
use actix_web::error::{PathError, QueryPayloadError};
use actix_web::http::StatusCode;
use actix_web::http::header::WWW_AUTHENTICATE;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};
use skein_engine::Refused;
use utoipa::ToSchema;

/// The types of problems; each has a page `docs/errors/<name>.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    BadRequest,
    /// No token, or none of ours.
    Unauthorized,
    Forbidden,
    NotFound,
    /// Not executed by the process that was asked.
    NotHere,
    /// The run or agent stands in a way that does not allow it.
    Conflict,
    TooLarge,
    UnsupportedMediaType,
    /// Nothing is lost; the same again may work.
    Unavailable,
    Internal,
}

impl ProblemKind {
    /// Every kind, in the order of their status.
    pub const ALL: [ProblemKind; 10] = [
        ProblemKind::BadRequest,
        ProblemKind::Unauthorized,
        ProblemKind::Forbidden,
        ProblemKind::NotFound,
        ProblemKind::NotHere,
        ProblemKind::Conflict,
        ProblemKind::TooLarge,
        ProblemKind::UnsupportedMediaType,
        ProblemKind::Unavailable,
        ProblemKind::Internal,
    ];

    /// The name in `type` and of its page.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// What `type` of a problem is.
    #[must_use]
    pub fn urn(self) -> String {
        format!("urn:skein:error:{}", self.name())
    }

    fn facts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            ProblemKind::BadRequest => ("bad-request", StatusCode::BAD_REQUEST, "The request cannot be understood"),
            ProblemKind::Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED, "Who asks is not known"),
            ProblemKind::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "You may not ask this"),
            ProblemKind::NotFound => ("not-found", StatusCode::NOT_FOUND, "There is no such thing"),
            ProblemKind::NotHere => ("not-here", StatusCode::NOT_FOUND, "Another process executes the run"),
            ProblemKind::Conflict => ("conflict", StatusCode::CONFLICT, "The run does not allow it now"),
            ProblemKind::TooLarge => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "The request is too large"),
            ProblemKind::UnsupportedMediaType => {
                ("unsupported-media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is of another type")
            }
            ProblemKind::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Not possible right now"),
            ProblemKind::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Something broke"),
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    pub kind: ProblemKind,
    /// What a person reads.
    pub detail: String,
}

/// A problem as it travels.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemBody {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
}

impl From<ProblemBody> for Problem {
    /// As a client reads it; what it does not know broke somewhere.
    fn from(body: ProblemBody) -> Problem {
        let name = body.kind.rsplit(':').next().unwrap_or_default();
        let kind = ProblemKind::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or(ProblemKind::Internal);
        Problem { kind, detail: body.detail }
    }
}

impl Problem {
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Problem {
        Problem { kind, detail: detail.into() }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.facts().1
    }

    fn error_response(&self) -> HttpResponse {
        let (_, status, title) = self.kind.facts();
        let body = ProblemBody {
            kind: self.kind.urn(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
        };
        let mut answer = HttpResponse::build(status);
        if self.kind == ProblemKind::Unauthorized {
            answer.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        answer
            .content_type("application/problem+json")
            .body(serde_json::to_string(&body).unwrap_or_else(|_| String::from("{}")))
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Problem {
        let kind = match &error {
            ControlError::NotHere(_) => ProblemKind::NotHere,
            ControlError::Refused(Refused::NoSuchAgent { .. }) => ProblemKind::NotFound,
            ControlError::Refused(_) => ProblemKind::Conflict,
            ControlError::Unanswered => ProblemKind::Unavailable,
        };
        Problem::new(kind, error.to_string())
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Problem {
        let kind = match &error {
            LoadError::NotFound { .. } => ProblemKind::NotFound,
            LoadError::Journal(_) | LoadError::Blob(_) | LoadError::Lease(_) | LoadError::Directory(_) => {
                ProblemKind::Unavailable
            }
            _ => ProblemKind::Internal,
        };
        Problem::new(kind, error.to_string())
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Problem {
        let kind = match &error {
            SubmitError::Invalid(_) => ProblemKind::BadRequest,
            SubmitError::KeyReused { .. } => ProblemKind::Conflict,
            _ => ProblemKind::Unavailable,
        };
        Problem::new(kind, error.to_string())
    }
}

impl From<AgentRecordError> for Problem {
    fn from(error: AgentRecordError) -> Problem {
        match error {
            AgentRecordError::Load(error) => error.into(),
            missing => Problem::new(ProblemKind::NotFound, missing.to_string()),
        }
    }
}

impl From<WorkersError> for Problem {
    fn from(error: WorkersError) -> Problem {
        let kind = match &error {
            WorkersError::NotFound { .. } => ProblemKind::NotFound,
            WorkersError::Wire(_) => ProblemKind::Internal,
            _ => ProblemKind::Unavailable,
        };
        Problem::new(kind, error.to_string())
    }
}

/// A body that could not be read, too large ones among them.
pub(super) fn problem_of_body(error: &actix_web::Error) -> Problem {
    let kind = match error.as_response_error().status_code() {
        StatusCode::PAYLOAD_TOO_LARGE => ProblemKind::TooLarge,
        _ => ProblemKind::BadRequest,
    };
    Problem::new(kind, error.to_string())
}

pub(super) fn of_query(error: QueryPayloadError, _: &HttpRequest) -> actix_web::Error {
    Problem::new(ProblemKind::BadRequest, error.to_string()).into()
}

pub(super) fn of_path(error: PathError, _: &HttpRequest) -> actix_web::Error {
    Problem::new(ProblemKind::BadRequest, error.to_string()).into()
}

pub(super) async fn no_such_route(request: HttpRequest) -> HttpResponse {
    let detail = format!("there is no {} {}", request.method(), request.path());
    Problem::new(ProblemKind::NotFound, detail).error_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_problem_has_a_page() {
        for kind in ProblemKind::ALL {
            let page = format!("{}/../docs/errors/{}.md", env!("CARGO_MANIFEST_DIR"), kind.name());
            let text = std::fs::read_to_string(&page).unwrap_or_default();
            let status = kind.facts().1.as_u16();
            assert!(text.contains(&format!("Type `urn:skein:error:{}`, status {status}.", kind.name())), "{page}");
        }
    }
}
