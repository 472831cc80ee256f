//! Scoring and reranking routes of model servers: how well each document answers a query, by a rubric.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;
use utoipa::ToSchema;

use super::super::json;
use super::super::problem::{ErrorFormat, OpenAiError, Problem, TeiError};
use super::classify::{TokenCount, called, count, now, pair};
use super::{OneOrMany, Url, all, invalid, one_or_many, text};
use crate::app::App;
use crate::domain::Mode;

/// Queries and documents: the same number of each, or one query for all.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "model": "gavel-absolute:helpfulness", "queries": "Why is the sky blue?",
    "documents": ["Light scatters.", "The sea is blue."],
}))]
pub(in super::super) struct ScoreBody {
    /// `gavel-absolute:RUBRIC`, or any name if the rubric is in the URL.
    model: Option<String>,
    /// The instruction or instructions.
    #[serde(default, alias = "text_1", alias = "data_1")]
    #[schema(value_type = OneOrMany, required = true)]
    queries: Value,
    /// The response or responses.
    #[serde(default, alias = "text_2", alias = "data_2", alias = "items")]
    #[schema(value_type = OneOrMany, required = true)]
    documents: Value,
}

/// Rewards as scores.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct ScoreReply {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    data: Vec<ScoreEntry>,
    usage: TokenCount,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Score)]
struct ScoreEntry {
    index: usize,
    object: &'static str,
    score: f64,
}

/// Documents to rank.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "model": "gavel-absolute:helpfulness", "query": "Why is the sky blue?",
    "documents": ["Light scatters.", "The sea is blue."], "top_n": 1,
}))]
pub(in super::super) struct RerankBody {
    /// `gavel-absolute:RUBRIC`, or any name if the rubric is in the URL.
    model: Option<String>,
    /// The instruction.
    query: String,
    /// The responses. With `texts`, the reply has the format of text-embeddings-inference.
    #[schema(value_type = Option<Vec<Object>>)]
    documents: Option<Vec<Value>>,
    texts: Option<Vec<String>>,
    /// Number of best documents to return; 0 returns all.
    top_n: Option<usize>,
    /// With `texts`: whether the texts are returned.
    return_text: Option<bool>,
}

/// Documents, best first.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct RerankReply {
    id: String,
    model: String,
    usage: RerankUsage,
    results: Vec<RerankEntry>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RerankUsage {
    total_tokens: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ranked)]
struct RerankEntry {
    index: usize,
    document: RankedDocument,
    relevance_score: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct RankedDocument {
    text: String,
}

/// The reply to `documents` or to `texts`.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what is written in two forms")]
pub(in super::super) enum RerankReplies {
    Documents(RerankReply),
    Texts(Vec<RankedText>),
}

/// A text, best first.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct RankedText {
    index: usize,
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// Rewards in the format of vLLM's scoring route.
#[utoipa::path(
    post, path = "/score", operation_id = "score", tag = "reward servers", request_body = ScoreBody,
    params(("rubric" = Option<String>, Query, example = "helpfulness")),
    responses((status = 200, body = ScoreReply), (status = "default", body = OpenAiError))
)]
pub(in super::super) async fn score(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let url = Url::of(&http)?;
    let body: ScoreBody = json::lenient_bulk(&http, payload).await?;
    for (value, names) in [(&body.queries, ["text_1", "queries"]), (&body.documents, ["text_2", "documents"])] {
        if value.is_null() {
            let [name, other] = names;
            return Err(invalid(format!("missing field `{name}` (or `{other}`)")).at(format!("/{name}")));
        }
    }
    let judging = url.judging(&app, &http, body.model.as_deref(), Mode::Score).await?;
    let (queries, documents) = (texts(body.queries, "/queries")?, texts(body.documents, "/documents")?);
    if queries.len() != documents.len() && queries.len() != 1 {
        let (queries, documents) = (queries.len(), documents.len());
        let detail = format!("{queries} queries and {documents} documents: send equally many, or one query");
        return Err(invalid(detail).at("/queries"));
    }
    let queries = queries.iter().cycle().cloned();
    let outcomes =
        judging.each(queries.zip(documents), |_, (q, d)| Ok(pair(q, d)), |graded, _| graded.stats.usage).await;
    let graded = all(outcomes)?;
    let score = |(index, (score, _)): (usize, &(f64, _))| ScoreEntry { index, object: "score", score: *score };
    Ok(HttpResponse::Ok().json(ScoreReply {
        id: format!("score-{}", Ulid::new()),
        object: "list",
        created: now(),
        model: called(body.model, &judging),
        data: graded.iter().enumerate().map(score).collect(),
        usage: count(graded.iter().map(|(_, usage)| usage)),
    }))
}

/// Errors of a route with two protocols: in vLLM's format, which is OpenAI's, or that of text-embeddings-inference.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what is written in two forms")]
pub(in super::super) enum RerankErrors {
    Documents(OpenAiError),
    Texts(TeiError),
}

/// Ranks documents by their reward: in the format of vLLM, Jina and Cohere with `documents`, and of
/// text-embeddings-inference with `texts`. Errors have the same format.
#[utoipa::path(
    post, path = "/rerank", operation_id = "rerank", tag = "reward servers", request_body = RerankBody,
    params(("rubric" = Option<String>, Query, example = "helpfulness")),
    responses((status = 200, body = RerankReplies), (status = "default", body = RerankErrors))
)]
pub(in super::super) async fn rerank(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: Value = json::lenient_bulk(&http, payload).await?;
    let form = if body["texts"].is_null() { ErrorFormat::OpenAi } else { ErrorFormat::Tei };
    reranked(&app, &http, &body).await.map_err(|problem| problem.in_form(form))
}

async fn reranked(app: &web::Data<App>, http: &HttpRequest, body: &Value) -> Result<HttpResponse, Problem> {
    let url = Url::of(http)?;
    let body: RerankBody = json::parse_lenient(body, "")?;
    let judging = url.judging(app, http, body.model.as_deref(), Mode::Score).await?;
    let plain = body.texts.is_some();
    let documents = match (body.documents, body.texts) {
        (Some(documents), None) => texts(Value::Array(documents), "/documents")?,
        (None, Some(texts)) => texts,
        _ => return Err(invalid("send `documents` or `texts`, one of the two").at("/documents")),
    };
    let read = |_, document: String| Ok(pair(body.query.clone(), document));
    let graded = all(judging.each(documents.clone(), read, |graded, _| graded.stats.usage).await)?;
    let usage = RerankUsage { total_tokens: count(graded.iter().map(|(_, usage)| usage)).total_tokens };
    let rewards = graded.into_iter().map(|(reward, _)| reward);
    let mut order: Vec<(usize, (f64, String))> = rewards.zip(documents).enumerate().collect();
    order.sort_by(|(_, (one, _)), (_, (other, _))| other.total_cmp(one));
    if plain {
        let with_text = body.return_text.unwrap_or(false);
        let ranked = order.into_iter().map(|(index, (score, text))| RankedText {
            index,
            score,
            text: with_text.then_some(text),
        });
        return Ok(HttpResponse::Ok().json(ranked.collect::<Vec<_>>()));
    }
    order.truncate(body.top_n.filter(|most| *most > 0).unwrap_or(usize::MAX));
    let ranked = order.into_iter().map(|(index, (relevance_score, text))| RerankEntry {
        index,
        document: RankedDocument { text },
        relevance_score,
    });
    let (id, model) = (format!("rerank-{}", Ulid::new()), called(body.model, &judging));
    Ok(HttpResponse::Ok().json(RerankReply { id, model, usage, results: ranked.collect() }))
}

fn texts(value: Value, at: &str) -> Result<Vec<String>, Problem> {
    let many = value.is_array();
    let read = |(index, value): (usize, Value)| {
        let at = || if many { format!("{at}/{index}") } else { at.to_owned() };
        text(&value).ok_or_else(|| invalid("must be a text").at(at()))
    };
    one_or_many(value).into_iter().enumerate().map(read).collect()
}
