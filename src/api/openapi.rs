//! The contract as a document, and a page to read it.

use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use super::compat::{atla, classify, nemo_gym, openrlhf, promptfoo, score, slime};
use super::{absolute, openai, preferences, problem, rank, relative, rewards, rubrics, system};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Gavel",
        description = "An LLM-as-judge evaluation server: rubric scores, feedback and preferences, each with a probability distribution.",
    ),
    paths(
        absolute::grade,
        relative::grade,
        rank::rank,
        preferences::preferences,
        rewards::rewards,
        openrlhf::rewards,
        openrlhf::get_reward,
        slime::reward,
        nemo_gym::verify,
        nemo_gym::compare,
        nemo_gym::seed_session,
        promptfoo::webhook,
        atla::eval,
        classify::classify,
        classify::embeddings,
        classify::predict,
        score::score,
        score::rerank,
        rubrics::list,
        rubrics::show,
        rubrics::put,
        rubrics::delete,
        openai::chat,
        openai::complete,
        openai::decide,
        openai::systemone,
        openai::run_grader,
        openai::validate_grader,
        openai::models,
        openai::model,
        system::info,
        system::live,
        system::ready,
        system::metrics,
    ),
    components(schemas(problem::ProblemBody))
)]
struct Contract;

/// Second names of routes, as other servers have them.
const ALIASES: [(&str, &str); 4] =
    [("/v1/classify", "/classify"), ("/v1/score", "/score"), ("/v1/rerank", "/rerank"), ("/v2/rerank", "/rerank")];

/// The OpenAPI document, made from the types.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Contract::openapi();
    for (alias, path) in ALIASES {
        let mut item = document.paths.paths.get(path).cloned().unwrap_or_default();
        let name = alias.trim_matches('/').replace('/', "_");
        item.post.iter_mut().for_each(|operation| operation.operation_id = Some(name.clone()));
        document.paths.paths.insert(alias.to_owned(), item);
    }
    document
}

pub(super) async fn json() -> HttpResponse {
    HttpResponse::Ok().json(document())
}

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
