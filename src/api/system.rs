//! Information about the server.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Code, Problem};
use crate::app::App;
use crate::config::LoadWhen;
use crate::domain::calibration::{CalibrationFile, CalibrationObject, Content, Figures};
use crate::domain::{Method, Mode};
use crate::engine::Upstream;
use crate::engine::remote::LabelMassKind;
use crate::service::ServiceError;
use crate::service::registry::SlotStatus;

/// Version, engines, models and limits.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Info {
    name: &'static str,
    version: &'static str,
    engine: Option<&'static str>,
    /// The model of requests that name none, once it is loaded.
    model: Option<InfoModel>,
    /// Every model, the default one first.
    models: Vec<InfoHosted>,
    limits: InfoLimits,
    features: Vec<&'static str>,
    prompts: Vec<String>,
    /// The names of annotators for requests.
    annotators: Vec<String>,
    /// The names of example sets for requests.
    examples: Vec<String>,
    /// The names of juries for requests.
    juries: Vec<String>,
    /// The names of routers for requests.
    routers: Vec<String>,
    /// The digest of the templates of each prompt set and kind, by the name that verdicts have: `plain/absolute`.
    prompt_digests: BTreeMap<String, String>,
}

/// One of the server's models.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InfoHosted {
    name: String,
    /// `loaded`, `loading`, `unloaded` or `failed`.
    state: &'static str,
    /// `start` or `first_use`.
    load: &'static str,
    engine: Option<&'static str>,
    digest: Option<String>,
    /// What computes: `cpu`, `gpu`, `cuda`, `metal` or `remote`; `none` without a model.
    device: Option<&'static str>,
    /// Number of threads that compute, where the engine decides it.
    threads: Option<usize>,
    /// Maximum number of tokens of prompt and answer together.
    context: Option<usize>,
    /// Whether it takes pictures.
    pictures: Option<bool>,
    /// The `label_mass_kind` of its verdicts.
    label_mass_kind: Option<&'static str>,
    /// The prompt set of requests that name none.
    prompt: Option<String>,
    /// How responses are compared if a request does not name a method.
    preference_method: Option<Method>,
    /// How well its verdicts are known to agree with people's; null if nobody has measured it.
    agreement: Option<String>,
    memory: Option<InfoMemory>,
    /// The calibrations and fits that the model is configured with.
    calibrations: Vec<InfoCalibration>,
}

/// The memory of a loaded model, in bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InfoMemory {
    /// The weights; null if the engine does not know.
    weights_bytes: Option<u64>,
    /// The keys and values that are allocated for running sequences, used or not; null if the engine does not know.
    kv_cache_bytes: Option<u64>,
    /// What the model counts for in `memory_budget_mb`: an estimate from its files and settings; 0 for a model that is
    /// not in this process.
    counted_bytes: u64,
}

/// A calibration or a fit of a model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InfoCalibration {
    /// `calibration` or `fit`.
    object: &'static str,
    /// The verdicts that it maps: `absolute` or `relative`.
    kind: &'static str,
    /// `temperature`, `isotonic`, `ordinal`, `bradley_terry` or `ridge_regression`.
    method: &'static str,
    digest: String,
    /// The digest of the prompt that it was made for.
    prompt: String,
    /// The digests of the rubrics that it was made for; null for any.
    rubrics: Option<Vec<String>>,
    /// The mode that it was made for; null for both.
    mode: Option<Mode>,
    /// When it was made (RFC 3339).
    created: String,
    /// How many items were held out to measure it.
    items: usize,
    /// Figures of the judge's own numbers on those items.
    before: InfoFigures,
    /// Figures of the mapped numbers.
    after: InfoFigures,
}

/// How well numbers on 0 to 1 agree with labels.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InfoFigures {
    /// The share of pairs without ties whose better response is found, or of responses that get their very score.
    accuracy: f64,
    /// The mean squared distance from the label: 0 is best.
    brier: f64,
    /// The expected calibration error over 15 bins of equal mass: 0 is best.
    ece: f64,
}

impl InfoFigures {
    fn of(Figures { accuracy, brier, ece }: Figures) -> Self {
        Self { accuracy, brier, ece }
    }
}

impl InfoCalibration {
    fn of(file: &CalibrationFile) -> Self {
        let Content { object, kind, made_for, parameters, held_out, created, .. } = file.content();
        Self {
            object: match object {
                CalibrationObject::Calibration => "calibration",
                CalibrationObject::Fit => "fit",
            },
            kind: kind.name(),
            method: parameters.method(),
            digest: file.digest().to_owned(),
            prompt: made_for.prompt.clone(),
            rubrics: made_for.rubrics.clone(),
            mode: made_for.mode,
            created: created.clone(),
            items: held_out.items,
            before: InfoFigures::of(held_out.before),
            after: InfoFigures::of(held_out.after),
        }
    }
}

impl InfoHosted {
    fn of(hosted: &SlotStatus) -> Self {
        let judge = hosted.judge.as_ref();
        let engine = judge.map(|judge| judge.engine());
        Self {
            name: hosted.name.clone(),
            state: hosted.state,
            load: if hosted.load == LoadWhen::Start { "start" } else { "first_use" },
            engine: engine.map(|engine| engine.engine),
            digest: engine.map(|engine| engine.digest.clone()),
            device: engine.map(|engine| engine.device),
            threads: engine.and_then(|engine| engine.threads),
            context: engine.map(|engine| engine.context),
            pictures: judge.map(|judge| judge.eyes().is_some()),
            label_mass_kind: judge.map(|judge| {
                judge.upstream().map_or(LabelMassKind::Exact, |upstream| upstream.abilities.label_mass).name()
            }),
            prompt: judge.and_then(|judge| judge.prompt_set(None).ok()).map(|set| set.name().to_owned()),
            preference_method: judge.map(|judge| judge.preference_method()),
            agreement: judge.and_then(|judge| judge.agreement()).map(str::to_owned),
            memory: judge.map(|judge| judge.memory()).map(|memory| InfoMemory {
                weights_bytes: memory.weights,
                kv_cache_bytes: memory.kv_cache,
                counted_bytes: hosted.counted,
            }),
            calibrations: judge
                .map(|judge| judge.calibrations().iter().map(|file| InfoCalibration::of(file)).collect())
                .unwrap_or_default(),
        }
    }
}

/// A loaded model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InfoModel {
    name: String,
    digest: String,
    /// Maximum number of tokens of prompt and answer together.
    context: usize,
    /// The prompt set of requests that name none.
    prompt: String,
    /// The servers behind it, with the engine `remote`.
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<InfoRemote>,
}

/// The servers behind a model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InfoRemote {
    /// `vllm`, `sglang`, `llama-server`, `openai-completions` or `openai-chat`.
    kind: &'static str,
    urls: Vec<String>,
    /// The model's name at the servers.
    model: String,
    /// Where the servers have the model from.
    root: String,
    /// What the servers report about themselves in checked replies, such as their version.
    fingerprints: Vec<String>,
    /// How probabilities are read.
    reads: &'static str,
    /// The `label_mass_kind` of verdicts.
    label_mass_kind: &'static str,
    structured_output: bool,
    prompt_logprobs: bool,
    min_feedback_tokens: bool,
}

impl InfoRemote {
    fn of(Upstream { kind, urls, model, root, fingerprints, abilities }: Upstream) -> Self {
        Self {
            kind,
            urls,
            model,
            root,
            fingerprints,
            reads: abilities.reads,
            label_mass_kind: abilities.label_mass.name(),
            structured_output: abilities.structured_output,
            prompt_logprobs: abilities.prompt_logprobs,
            min_feedback_tokens: abilities.min_tokens,
        }
    }
}

/// Limits of requests.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InfoLimits {
    body_bytes: usize,
    in_flight: usize,
    queue: usize,
    deadline_ms: u64,
    sequences: Option<usize>,
}

/// Returns version, engines, models and limits.
#[utoipa::path(get, path = "/v1/info", tag = "server", responses((status = 200, body = Info)))]
pub(super) async fn info(app: web::Data<App>) -> HttpResponse {
    let hosted = app.models().all();
    let judge = hosted.first().and_then(|first| first.judge.clone());
    let engine = judge.as_ref().map(|judge| judge.engine());
    let limits = &app.config.limits;
    let features = [
        ("llama-cpp", cfg!(feature = "llama-cpp")),
        ("llama-cpp-cuda", cfg!(feature = "llama-cpp-cuda")),
        ("mistralrs", cfg!(feature = "mistralrs")),
        ("cuda", cfg!(feature = "cuda")),
        ("metal", cfg!(feature = "metal")),
        ("remote", cfg!(feature = "remote")),
        ("vision", cfg!(feature = "vision")),
    ];
    let default_set = judge.as_ref().and_then(|judge| judge.prompt_set(None).ok()).map(|set| set.name().to_owned());
    HttpResponse::Ok().json(Info {
        name: "gavel",
        version: env!("CARGO_PKG_VERSION"),
        engine: engine.map(|engine| engine.engine),
        model: engine.map(|engine| InfoModel {
            name: engine.model.clone(),
            digest: engine.digest.clone(),
            context: engine.context,
            prompt: default_set.unwrap_or_default(),
            remote: judge.as_ref().and_then(|judge| judge.upstream()).map(InfoRemote::of),
        }),
        models: hosted.iter().map(InfoHosted::of).collect(),
        limits: InfoLimits {
            body_bytes: limits.body_bytes,
            in_flight: limits.in_flight,
            queue: limits.queue,
            deadline_ms: limits.deadline_ms,
            sequences: engine.map(|engine| engine.sequences),
        },
        features: features.into_iter().filter_map(|(name, built)| built.then_some(name)).collect(),
        prompts: app.prompts().names().map(str::to_owned).collect(),
        annotators: app.annotators.names(),
        examples: app.examples.names(),
        juries: app.config.juries.keys().cloned().collect(),
        routers: app.routers.names().map(str::to_owned).collect(),
        prompt_digests: app.prompts().digests(),
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

/// Answers 200 when every model with `load = "start"` is loaded and has passed its self-test.
#[utoipa::path(
    get, path = "/readyz", tag = "server",
    responses((status = 200, body = Status), (status = 503, body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn ready(app: web::Data<App>) -> Result<HttpResponse, Problem> {
    if app.admission.shutdown.draining() {
        return Err(Problem::new(Code::ShuttingDown, "the server is shutting down"));
    }
    app.models().ready().map_err(ServiceError::from)?;
    Ok(HttpResponse::Ok().json(Status { status: "ready" }))
}

/// The version of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Version {
    version: &'static str,
}

/// The version of the server, in vLLM's format.
#[utoipa::path(get, path = "/version", tag = "server", responses((status = 200, body = Version)))]
pub(super) async fn version() -> HttpResponse {
    HttpResponse::Ok().json(Version { version: env!("CARGO_PKG_VERSION") })
}

/// The metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(app: web::Data<App>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(app.render_metrics())
}
