//! The page for people, at `/`. Its files are built from `web/`, and are in the binary.

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETag, EntityTag, Header, IfNoneMatch, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse, web};
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use super::problem::{Code, Problem};

/// The page, as `npm run build` in `web/` writes it.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/web/dist");
const INDEX: &str = "index.html";
/// The page runs and loads its own files only, and is shown in no other page. The pictures of requests are data in them:
/// as images, data can neither run nor load anything.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
/// For files whose names change with their content.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The page.
pub(super) async fn index(http: HttpRequest) -> Result<HttpResponse, Problem> {
    answer(&http, INDEX)
}

/// A file of the page.
pub(super) async fn file(http: HttpRequest, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    answer(&http, &path)
}

fn answer(http: &HttpRequest, name: &str) -> Result<HttpResponse, Problem> {
    let missing = || Problem::new(Code::NotFound, format!("the page has no file `{name}`; it is at /"));
    let file = FILES.get_file(name).ok_or_else(missing)?;
    let tag = EntityTag::new_strong(format!("{:x}", Sha256::digest(file.contents())));
    let is_known = is_known(http, &tag);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header(ETag(tag))
        .insert_header((CACHE_CONTROL, if name == INDEX { "no-cache" } else { FOR_EVER }))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .content_type(content_type(name));
    Ok(if is_known { response.finish() } else { response.body(file.contents()) })
}

/// Whether the caller has this version already.
fn is_known(http: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(http) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(tag)),
        Err(_) => false,
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
