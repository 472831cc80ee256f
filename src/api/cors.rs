//! Requests from pages of other origins, which browsers ask about first. None may, unless the settings name them.

use actix_cors::Cors;
use actix_web::http::Method;

use super::middleware::REQUEST_ID;
use crate::config::CorsConfig;

/// Seconds for which a browser remembers what it was told.
const REMEMBERED: usize = 3600;

/// The middleware for the configured origins.
pub(super) fn middleware(config: &CorsConfig) -> Cors {
    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
    let cors = Cors::default().allowed_methods(methods).allow_any_header().max_age(REMEMBERED);
    let cors = cors.expose_headers([REQUEST_ID.as_str(), "retry-after"]);
    if config.any() {
        cors.allow_any_origin()
    } else {
        config.origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
    }
}
