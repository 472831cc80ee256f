//! The pages of the server: the document to read, and where problems lead.

use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;
use utoipa_swagger_ui::SwaggerUi;

use super::problem;

/// The page, with everything it needs in the binary.
pub(super) fn page() -> SwaggerUi {
    SwaggerUi::new("/docs/{_:.*}").config(utoipa_swagger_ui::Config::from("/openapi.json"))
}

pub(super) async fn to_page() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/docs/")).finish()
}

pub(super) async fn to_docs() -> HttpResponse {
    HttpResponse::TemporaryRedirect().insert_header((LOCATION, "/docs")).finish()
}

/// Where the `type` of every problem leads.
pub(super) async fn errors_page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/markdown; charset=utf-8").body(problem::reference())
}
