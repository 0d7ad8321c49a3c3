//! The page at `/` on TCP: the files that a browser loads, kept in the program. Nothing of any run is in them, so they are
//! read without a token; what the page shows it asks of the API with the token of who looks at it.

use super::etag::is_known;
use super::problem::no_such_route;
use actix_web::guard::{self, Guard};
use actix_web::http::Method;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETag, EntityTag, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::{self, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::{EmbeddedFile, RustEmbed};

/// Below it are the files that the page consists of.
const FOLDER: &str = "/web/";
const PAGE: &str = "index.html";
/// The page runs its own scripts, asks its own server, and does nothing else. Text cannot become markup in it, whatever a
/// script of ours does: no policy may make trusted types.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";

#[derive(RustEmbed)]
#[folder = "web"]
struct Files;

/// Whether this asks for the page or a file of it, for which no token is needed.
pub(super) fn is_of_page(method: &Method, path: &str) -> bool {
    (method == Method::GET || method == Method::HEAD) && (path == "/" || path.starts_with(FOLDER))
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/").guard(reads()).to(page))
        .service(web::resource(format!("{FOLDER}{{file}}")).guard(reads()).to(file));
}

fn reads() -> impl Guard {
    guard::Any(guard::Get()).or(guard::Head())
}

async fn page(request: HttpRequest) -> HttpResponse {
    answer(request, PAGE).await
}

async fn file(request: HttpRequest, file: Path<String>) -> HttpResponse {
    answer(request, &file).await
}

async fn answer(request: HttpRequest, name: &str) -> HttpResponse {
    // The page has one address only.
    let is_at_its_place = (name == PAGE) == (request.path() == "/");
    match (Files::get(name).filter(|_| is_at_its_place), content_type(name)) {
        (Some(file), Some(content_type)) => shown(&request, file, content_type),
        _ => no_such_route(request).await,
    }
}

fn shown(request: &HttpRequest, file: EmbeddedFile, content_type: &'static str) -> HttpResponse {
    let tag = EntityTag::new_strong(file.metadata.sha256_hash().map(|byte| format!("{byte:02x}")).concat());
    let is_known = is_known(request, &tag);
    let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header(ETag(tag))
        // Asked for again each time, and not sent again: a new version of the program brings a new page at once.
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"))
        .insert_header(("Cross-Origin-Resource-Policy", "same-origin"));
    if is_known { answer.finish() } else { answer.content_type(content_type).body(file.data.into_owned()) }
}

/// Nothing else is given away, should something else ever lie in the folder.
fn content_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "html" => Some("text/html; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_given_away_as_what_it_is() {
        let names: Vec<_> = Files::iter().collect();
        assert!(names.len() > 5, "{names:?}");
        for name in names {
            assert!(content_type(&name).is_some(), "{name}");
        }
    }

    #[test]
    fn nothing_but_reading_the_page_is_open() {
        for (method, path, open) in [
            (Method::GET, "/", true),
            (Method::HEAD, "/web/main.js", true),
            (Method::GET, "/web/none", true),
            (Method::POST, "/", false),
            (Method::DELETE, "/web/main.js", false),
            (Method::GET, "/api/v1/runs", false),
            (Method::GET, "/web", false),
            (Method::GET, "/healthz/", false),
        ] {
            assert_eq!(is_of_page(&method, path), open, "{method} {path}");
        }
    }
}
