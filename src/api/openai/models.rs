//! `GET /v1/models`

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::problem::{Code, OpenAiError, Problem};
use crate::app::App;
use crate::config::LoadWhen;
use crate::service::registry::SlotStatus;

/// The models, in the format of OpenAI's list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelList {
    object: &'static str,
    data: Vec<ModelEntry>,
}

/// A model name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelEntry {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// What its messages may have: `text`, and `image` for pictures. Missing while the model is not loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    modalities: Option<Vec<&'static str>>,
}

impl ModelEntry {
    fn of(id: String, app: &App) -> Self {
        let hosted = app.hosted(Some(&id)).or_else(|| app.hosted(None));
        let mut models = app.models().all().into_iter();
        let model = match hosted {
            Some(name) => models.find(|model| model.name == name),
            None => models.next(),
        };
        let modalities = model.and_then(|model| model.judge).map(|judge| match judge.eyes() {
            Some(_) => vec!["text", "image"],
            None => vec!["text"],
        });
        Self { id, object: "model", created: 0, owned_by: "gavel", modalities }
    }
}

fn entries(app: &App) -> impl Iterator<Item = ModelEntry> {
    let usable = |model: &SlotStatus| model.judge.is_some() || model.load == LoadWhen::FirstUse;
    let hosted: Vec<String> = app.models().all().into_iter().filter(usable).map(|model| model.name).collect();
    // Without a hosted model, judge models cannot run.
    let others = if hosted.is_empty() { Vec::new() } else { app.other_model_names() };
    let names = hosted.into_iter().chain(others);
    names.map(move |name| ModelEntry::of(name, app))
}

/// Lists the names that `model` accepts: the hosted models, the default one first, then the judge models of
/// `POST /v1/chat/completions`, then the aliases.
#[utoipa::path(get, path = "/v1/models", operation_id = "models", tag = "openai", responses((status = 200, body = ModelList)))]
pub(in crate::api) async fn list(app: web::Data<App>) -> HttpResponse {
    HttpResponse::Ok().json(ModelList { object: "list", data: entries(&app).collect() })
}

/// Shows one of them, or a judge model with a rubric: `gavel-absolute:RUBRIC`.
#[utoipa::path(
    get, path = "/v1/models/{id}", operation_id = "model", tag = "openai", params(("id" = String, Path, description = "the model")),
    responses((status = 200, body = ModelEntry), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn show(app: web::Data<App>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let id = id.into_inner();
    if let Some(entry) = entries(&app).find(|entry| entry.id == id) {
        return Ok(HttpResponse::Ok().json(entry));
    }
    let with_rubric = app.judge_models.find(&id).and_then(|(judge, rubric)| Some((judge.name.as_str(), rubric?)));
    match with_rubric {
        Some((judge, rubric)) if entries(&app).any(|entry| entry.id == judge) => {
            app.rubrics.named(rubric)?;
            Ok(HttpResponse::Ok().json(ModelEntry::of(id, &app)))
        }
        _ => {
            let detail = format!("unknown model `{id}`; `GET /v1/models` lists the models");
            Err(Problem::new(Code::UnknownModel, detail))
        }
    }
}
