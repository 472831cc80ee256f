//! The HTTP contract: every route on one page, a resource a file, and [`problem`] alone knows error -> status.

mod absolute;
mod extract;
mod observe;
mod openapi;
pub mod problem;
mod relative;
mod rubrics;
mod stream;
mod system;
mod wire;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App as Actix, HttpServer, middleware::from_fn, web};

pub use self::absolute::prompts as prompts_of_absolute;
pub use self::openapi::document;
pub use self::relative::prompts as prompts_of_relative;
use crate::app::App;

/// Every route.
fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/v1/grade/absolute", web::post().to(absolute::grade))
        .route("/v1/grade/relative", web::post().to(relative::grade))
        .route("/v1/rubrics", web::get().to(rubrics::list))
        .service(
            web::resource("/v1/rubrics/{name}")
                .route(web::get().to(rubrics::show))
                .route(web::put().to(rubrics::put))
                .route(web::delete().to(rubrics::delete)),
        )
        .route("/v1/models", web::get().to(system::models))
        .route("/v1/info", web::get().to(system::info))
        .route("/metrics", web::get().to(system::metrics))
        .route("/livez", web::get().to(system::live))
        .route("/readyz", web::get().to(system::ready))
        .route("/openapi.json", web::get().to(openapi::json))
        .route("/", web::get().to(openapi::to_docs))
        .route("/docs", web::get().to(openapi::to_page))
        .route("/docs/errors.md", web::get().to(openapi::errors_page))
        .service(openapi::page())
        .default_service(web::to(system::nothing_here));
}

/// A server on `listener`, not yet running.
///
/// # Errors
/// When the socket cannot be used.
pub fn server(app: Arc<App>, listener: TcpListener) -> std::io::Result<Server> {
    let limits = app.config.limits.clone();
    let data = web::Data::from(app);
    let server = HttpServer::new(move || {
        Actix::new()
            .app_data(data.clone())
            .app_data(web::PayloadConfig::new(usize::MAX))
            .wrap(from_fn(observe::observe))
            .configure(routes)
    });
    Ok(server
        .workers(std::thread::available_parallelism().map_or(2, std::num::NonZero::get))
        .shutdown_timeout(Duration::from_millis(limits.shutdown_ms).as_secs())
        .disable_signals()
        .listen(listener)?
        .run())
}

/// Stops a server: no new requests, what runs is finished within the limit, then it leaves.
pub async fn shut_down(app: &App, handle: &ServerHandle) {
    app.admission.close();
    handle.stop(true).await;
}
