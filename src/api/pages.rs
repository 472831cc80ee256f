//! The pages of the server: the API documentation, and the list of errors.

use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;
use utoipa_swagger_ui::SwaggerUi;

use super::code;

/// The API documentation, with all assets in the binary.
pub(super) fn page() -> SwaggerUi {
    SwaggerUi::new("/docs/{_:.*}").config(utoipa_swagger_ui::Config::from("/openapi.json"))
}

pub(super) async fn to_page() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/docs/")).finish()
}

pub(super) async fn to_docs() -> HttpResponse {
    HttpResponse::TemporaryRedirect().insert_header((LOCATION, "/docs")).finish()
}

/// The target of the `type` of every problem.
pub(super) async fn errors_page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/markdown; charset=utf-8").body(code::reference())
}
