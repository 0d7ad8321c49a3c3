//! The API on TCP: whoever has a token, loopback or not. There is no TLS: a private network or a proxy is meant.

use super::document::DOCUMENT;
use super::hosts::HostNames;
use super::page;
use super::peer::PeerCheck;
use super::problem::{Problem, ProblemKind};
use super::scopes::{Scope, Scopes};
use super::tcp_peer::{self, Ends};
use super::telemetry;
use super::tokens::Tokens;
use super::{Api, limits, routes, run};
use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, Error, HttpMessage as _, HttpServer, web};
use std::net::TcpListener;
use std::sync::Arc;

/// Who may ask over TCP, and under which names.
#[derive(Debug, Clone)]
pub struct Gate {
    pub tokens: Tokens,
    pub hosts: HostNames,
    /// The metrics need no token: whoever reaches the listener may read them.
    pub metrics_open: bool,
}

/// Serves the API on this listener until the handle stops it or the process ends.
///
/// # Errors
/// The system refuses.
pub fn serve_tcp(api: Api, gate: Gate, listener: TcpListener) -> std::io::Result<ServerHandle> {
    let connections_max = api.connections_max();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(gate.clone()))
            .app_data(web::Data::new(api.clone()))
            .configure(limits)
            .wrap(from_fn(admit))
            .configure(telemetry::routes(api.coordinator.watched().clone()))
            .configure(page::routes)
            .configure(routes)
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .on_connect(tcp_peer::note)
    .max_connections(connections_max)
    .listen(listener)?
    .run();
    Ok(run(server))
}

/// Lets through what a token allows and refuses everything else, before a byte of the body is read.
async fn admit(
    gate: web::Data<Gate>,
    api: web::Data<Api>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if page::is_of_page(request.method(), request.path()) {
        gate.admit_host(request.headers())?;
    } else if !gate.lets_all_in(request.path(), request.headers())? {
        let scopes = gate.check(request.method(), request.match_info().as_str(), request.headers())?;
        check_peer(&request, api.peers.clone()).await?;
        request.extensions_mut().insert(scopes);
    }
    next.call(request).await
}

/// Agents cannot start, steer or answer for runs, whatever token they found (A5).
async fn check_peer(request: &ServiceRequest, peers: Arc<dyn PeerCheck>) -> Result<(), Problem> {
    let unknown = |_| Problem::new(ProblemKind::Forbidden, "the system does not say who asks");
    let ends = request.conn_data::<Ends>().cloned().ok_or(()).map_err(unknown)?;
    web::block(move || ends.check(peers.as_ref())).await.map_err(|_| unknown(()))?
}

impl Gate {
    /// Whether this needs no token. Pages of browsers that were led here read no metrics all the same.
    pub(super) fn lets_all_in(&self, path: &str, headers: &HeaderMap) -> Result<bool, Problem> {
        if self.metrics_open && telemetry::is_metrics(path) {
            self.admit_host(headers)?;
            return Ok(true);
        }
        Ok(telemetry::is_open(path) || path == DOCUMENT)
    }

    pub(super) fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<Scopes, Problem> {
        self.admit_host(headers)?;
        let scopes = self.scopes(headers)?;
        if method == Method::GET || method == Method::HEAD {
            scopes.require(Scope::Read, "to look at this")?;
        } else {
            scopes.require(Scope::of_change(path), "to change this")?;
        }
        check_content_type(headers)?;
        Ok(scopes)
    }

    fn admit_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        self.hosts.admit(headers).map_err(|detail| Problem::new(ProblemKind::Forbidden, detail))
    }

    fn scopes(&self, headers: &HeaderMap) -> Result<Scopes, Problem> {
        let unauthorized = |detail: &str| Problem::new(ProblemKind::Unauthorized, detail);
        let mut values = headers.get_all(AUTHORIZATION);
        let Some(value) = values.next() else { return Err(unauthorized("the request has no token")) };
        let token = bearer(value.as_bytes()).filter(|_| values.next().is_none());
        let token = token.ok_or_else(|| unauthorized("a token comes as `Authorization: Bearer TOKEN`, once"))?;
        self.tokens.scopes_of(token).ok_or_else(|| unauthorized("the token is none of this API"))
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// A form of another site's page cannot be JSON.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    let mut types = headers.get_all(CONTENT_TYPE);
    let is_json = match (types.next(), types.next()) {
        (None, _) => !has_body,
        (Some(one), None) => {
            let essence = one.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
        }
        (Some(_), Some(_)) => false,
    };
    if is_json {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::UnsupportedMediaType, "a body is JSON and says so: Content-Type: application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn headers(list: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).expect("a value");
        list.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    #[test]
    fn a_token_is_a_bearer_token_whatever_the_case_of_the_word() {
        for (value, token) in [("Bearer abc", Some("abc")), ("bearer  abc ", Some("abc")), ("BEARER abc", Some("abc"))]
            .into_iter()
            .chain([("Basic abc", None), ("Bearer", None), ("abc", None), ("", None), ("Bearerabc", None)])
        {
            assert_eq!(bearer(value.as_bytes()), token.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn a_body_is_json_and_says_so() {
        for good in [
            &[][..],
            &[(CONTENT_LENGTH, "0")],
            &[(CONTENT_LENGTH, "7"), (CONTENT_TYPE, "application/json")],
            &[(TRANSFER_ENCODING, "chunked"), (CONTENT_TYPE, "Application/JSON; charset=utf-8")],
        ] {
            assert_eq!(check_content_type(&headers(good)), Ok(()), "{good:?}");
        }
        for bad in [
            &[(CONTENT_LENGTH, "7")][..],
            &[(TRANSFER_ENCODING, "chunked")],
            &[(CONTENT_TYPE, "text/plain")],
            &[(CONTENT_LENGTH, "7"), (CONTENT_TYPE, "application/x-www-form-urlencoded")],
            &[(CONTENT_LENGTH, "7"), (CONTENT_TYPE, "text/plain; application/json")],
            &[(CONTENT_LENGTH, "7"), (CONTENT_TYPE, "application/jsonp")],
            &[(CONTENT_TYPE, "application/json"), (CONTENT_TYPE, "text/plain")],
        ] {
            let problem = check_content_type(&headers(bad)).expect_err("refused");
            assert_eq!(problem.kind, ProblemKind::UnsupportedMediaType, "{bad:?}");
        }
    }
}
