//! What the server says of itself.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Code, Problem};
use crate::app::App;

/// The models, in the form of OpenAI's list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelList {
    object: &'static str,
    data: Vec<ModelEntry>,
}

/// A model that is loaded.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelEntry {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

/// Lists the models that requests can name.
#[utoipa::path(get, path = "/v1/models", tag = "server", responses((status = 200, body = ModelList)))]
pub(super) async fn models(app: web::Data<App>) -> HttpResponse {
    let loaded = app.panel().ok().map(|panel| panel.judge().engine().model.clone());
    let entry = |id| ModelEntry { id, object: "model", created: 0, owned_by: "gavel" };
    HttpResponse::Ok().json(ModelList { object: "list", data: loaded.into_iter().map(entry).collect() })
}

/// What runs, and within which limits.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Info {
    name: &'static str,
    version: &'static str,
    engine: Option<&'static str>,
    model: Option<InfoModel>,
    limits: InfoLimits,
    features: Vec<&'static str>,
    prompts: Vec<String>,
}

/// The model that is loaded.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InfoModel {
    name: String,
    digest: String,
    /// The most tokens that prompt and answer may have together.
    context: usize,
    /// The prompt set of requests that name none.
    prompt: String,
}

/// What requests may ask for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InfoLimits {
    body_bytes: usize,
    in_flight: usize,
    queue: usize,
    deadline_ms: u64,
    sequences: Option<usize>,
}

/// Says what runs, and within which limits.
#[utoipa::path(get, path = "/v1/info", tag = "server", responses((status = 200, body = Info)))]
pub(super) async fn info(app: web::Data<App>) -> HttpResponse {
    let panel = app.panel().ok();
    let engine = panel.as_ref().map(|panel| panel.judge().engine());
    let limits = &app.config.limits;
    let features = [
        ("llama-cpp", cfg!(feature = "llama-cpp")),
        ("llama-cpp-cuda", cfg!(feature = "llama-cpp-cuda")),
        ("mistralrs", cfg!(feature = "mistralrs")),
        ("cuda", cfg!(feature = "cuda")),
        ("metal", cfg!(feature = "metal")),
    ];
    let default_set =
        panel.as_ref().and_then(|panel| panel.judge().prompt_set(None).ok()).map(|set| set.name().to_owned());
    HttpResponse::Ok().json(Info {
        name: "gavel",
        version: env!("CARGO_PKG_VERSION"),
        engine: engine.map(|engine| engine.engine),
        model: engine.map(|engine| InfoModel {
            name: engine.model.clone(),
            digest: engine.digest.clone(),
            context: engine.context,
            prompt: default_set.unwrap_or_default(),
        }),
        limits: InfoLimits {
            body_bytes: limits.body_bytes,
            in_flight: limits.in_flight,
            queue: limits.queue,
            deadline_ms: limits.deadline_ms,
            sequences: engine.map(|engine| engine.sequences),
        },
        features: features.into_iter().filter_map(|(name, built)| built.then_some(name)).collect(),
        prompts: app.prompts().names().map(str::to_owned).collect(),
    })
}

/// Whether the server is up, or ready.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    status: &'static str,
}

/// Answers as long as the process is up.
#[utoipa::path(get, path = "/livez", tag = "server", responses((status = 200, body = Status)))]
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Status { status: "live" })
}

/// Answers 200 once the model is loaded, warm and answering.
#[utoipa::path(
    get, path = "/readyz", tag = "server",
    responses((status = 200, body = Status), (status = 503, body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn ready(app: web::Data<App>) -> Result<HttpResponse, Problem> {
    if app.admission.closing() {
        return Err(Problem::new(Code::ShuttingDown, "the server is shutting down"));
    }
    app.panel()?;
    Ok(HttpResponse::Ok().json(Status { status: "ready" }))
}

/// The metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(app: web::Data<App>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(app.render_metrics())
}

/// For every path that is not a route.
pub(super) async fn nothing_here(http: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::new(Code::NotFound, format!("{} {} is not a route", http.method(), http.path())))
}
