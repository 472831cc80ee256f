//! Reward model routes of model servers, with a conversation as one text: vLLM's and SGLang's `/classify`, embeddings
//! with one dimension, and the `/predict` of text-embeddings-inference.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ulid::Ulid;
use utoipa::ToSchema;

use super::super::bulk::{BulkItem, BulkJudging};
use super::super::json;
use super::super::problem::{OpenAiError, Problem, TeiError};
use super::{OneOrMany, Url, all, dialogue, invalid, one_or_many};
use crate::app::App;
use crate::domain::{Instruction, Item, Mode};

/// The only label of a reward model.
const LABEL: &str = "LABEL_0";

/// Conversations, each as one text with special tokens.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "model": "gavel-absolute:helpfulness",
    "input": "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\nLight scatters.<|im_end|>",
}))]
pub(in super::super) struct ClassifyBody {
    /// `gavel-absolute:RUBRIC`, or any name if the rubric is in the URL.
    model: Option<String>,
    /// One text or several.
    #[schema(value_type = Option<OneOrMany>)]
    input: Option<Value>,
    /// The same in SGLang's own route, which has another reply.
    #[schema(value_type = Option<OneOrMany>)]
    text: Option<Value>,
}

/// The reply to `input`, or the replies to `text`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(in super::super) enum ClassifyReplies {
    Classes(ClassifyReply),
    One(Embedded),
    Many(Vec<Embedded>),
}

/// A reward in the format of SGLang's own route.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct Embedded {
    embedding: [f64; 1],
    #[schema(value_type = Object)]
    meta_info: Map<String, Value>,
}

/// Rewards as the probability of the only class.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct ClassifyReply {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    data: Vec<Class>,
    usage: TokenCount,
}

#[derive(Debug, Serialize, ToSchema)]
struct Class {
    index: usize,
    label: &'static str,
    /// The reward.
    probs: [f64; 1],
    num_classes: usize,
}

/// Token counts.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in super::super) struct TokenCount {
    pub(super) prompt_tokens: u64,
    pub(super) total_tokens: u64,
    pub(super) completion_tokens: u64,
}

/// Rewards as embeddings of one dimension.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct EmbeddingsReply {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: TokenCount,
}

#[derive(Debug, Serialize, ToSchema)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: [f64; 1],
}

/// Texts for label prediction.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"inputs": ["Why is the sky blue?", "Light scatters."]}))]
pub(in super::super) struct PredictBody {
    /// A text, a pair `[instruction, response]`, or a list of lists with one or two texts.
    #[schema(value_type = Inputs)]
    inputs: Value,
}

/// A text, a pair, or a batch.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what is read by hand")]
enum Inputs {
    Text(String),
    Pair(Vec<String>),
    Batch(Vec<Vec<String>>),
}

/// Predictions for one input or for a batch.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what is written in two forms")]
pub(in super::super) enum Predictions {
    One(Vec<Prediction>),
    Batch(Vec<Vec<Prediction>>),
}

/// A reward as the score of a label.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct Prediction {
    score: f64,
    label: &'static str,
}

/// Rewards in the format of vLLM's and SGLang's classification routes; verl reads `data[-1].probs[-1]`.
#[utoipa::path(
    post, path = "/classify", operation_id = "classify", tag = "reward servers", request_body = ClassifyBody,
    params(("rubric" = Option<String>, Query, example = "helpfulness")),
    responses((status = 200, body = ClassifyReplies), (status = "default", body = OpenAiError))
)]
pub(in super::super) async fn classify(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let url = Url::of(&http)?;
    let body: ClassifyBody = json::lenient_bulk(&http, payload).await?;
    let judging = url.judging(&app, &http, body.model.as_deref(), Mode::Score).await?;
    let (field, input) = match (body.input, body.text) {
        (Some(input), _) => ("/input", input),
        (None, Some(text)) => ("/text", text),
        (None, None) => return Err(invalid("send `input`: a text or a list of texts").at("/input")),
    };
    let single = !input.is_array();
    let (rewards, usage) = conversations(&judging, input, field).await?;
    if field == "/text" {
        let objects = rewards.into_iter().map(|reward| Embedded { embedding: [reward], meta_info: Map::new() });
        let mut objects: Vec<Embedded> = objects.collect();
        let reply = if single { ClassifyReplies::One(objects.remove(0)) } else { ClassifyReplies::Many(objects) };
        return Ok(HttpResponse::Ok().json(reply));
    }
    let class = |(index, reward)| Class { index, label: LABEL, probs: [reward], num_classes: 1 };
    Ok(HttpResponse::Ok().json(ClassifyReplies::Classes(ClassifyReply {
        id: format!("classify-{}", Ulid::new()),
        object: "list",
        created: now(),
        model: called(body.model, &judging),
        data: rewards.into_iter().enumerate().map(class).collect(),
        usage,
    })))
}

/// Rewards as embeddings of one dimension; verl reads `data[-1].embedding[-1]`.
#[utoipa::path(
    post, path = "/v1/embeddings", operation_id = "embeddings", tag = "reward servers", request_body = ClassifyBody,
    params(("rubric" = Option<String>, Query, example = "helpfulness")),
    responses((status = 200, body = EmbeddingsReply), (status = "default", body = OpenAiError))
)]
pub(in super::super) async fn embeddings(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let url = Url::of(&http)?;
    let body: ClassifyBody = json::lenient_bulk(&http, payload).await?;
    let judging = url.judging(&app, &http, body.model.as_deref(), Mode::Score).await?;
    let input = body.input.ok_or_else(|| invalid("send `input`: a text or a list of texts").at("/input"))?;
    let (rewards, usage) = conversations(&judging, input, "/input").await?;
    let embedding = |(index, reward)| Embedding { object: "embedding", index, embedding: [reward] };
    let data = rewards.into_iter().enumerate().map(embedding).collect();
    Ok(HttpResponse::Ok().json(EmbeddingsReply { object: "list", data, model: called(body.model, &judging), usage }))
}

/// Rewards in the format of text-embeddings-inference.
#[utoipa::path(
    post, path = "/predict", operation_id = "predict", tag = "reward servers", request_body = PredictBody,
    params(("rubric" = Option<String>, Query, example = "helpfulness")),
    responses((status = 200, body = Predictions), (status = "default", body = TeiError))
)]
pub(in super::super) async fn predict(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let url = Url::of(&http)?;
    let body: PredictBody = json::lenient_bulk(&http, payload).await?;
    let judging = url.judging(&app, &http, None, Mode::Score).await?;
    let batch = body.inputs.as_array().is_some_and(|inputs| inputs.iter().all(Value::is_array));
    let inputs = if batch { one_or_many(body.inputs) } else { vec![body.inputs] };
    let read = |index: usize, input: Value| {
        let at = if batch { format!("/inputs/{index}") } else { "/inputs".to_owned() };
        let texts: Option<Vec<&str>> = match &input {
            Value::String(text) => Some(vec![text.as_str()]),
            Value::Array(texts) => texts.iter().map(Value::as_str).collect(),
            _ => None,
        };
        match texts.as_deref() {
            Some([text]) => conversation(text, &at),
            Some([instruction, response]) => Ok(pair((*instruction).to_owned(), (*response).to_owned())),
            _ => Err(invalid("an input is a text, or a list of an instruction and a response").at(at)),
        }
    };
    let graded = all(judging.each(inputs, read, |_, _| ()).await)?;
    let mut predictions = graded.into_iter().map(|(score, ())| Prediction { score, label: LABEL });
    if batch {
        return Ok(HttpResponse::Ok().json(predictions.map(|one| [one]).collect::<Vec<_>>()));
    }
    Ok(HttpResponse::Ok().json(predictions.next().map(|one| [one])))
}

/// The rewards of conversations that were rendered with a chat template.
async fn conversations(judging: &BulkJudging, input: Value, field: &str) -> Result<(Vec<f64>, TokenCount), Problem> {
    let many = input.is_array();
    let read = |index: usize, input: Value| {
        let at = if many { format!("{field}/{index}") } else { field.to_owned() };
        let text = input.as_str().ok_or_else(|| invalid("a conversation is one text").at(&at))?;
        conversation(text, &at)
    };
    let graded = all(judging.each(one_or_many(input), read, |graded, _| graded.stats.usage).await)?;
    let usage = count(graded.iter().map(|(_, usage)| usage));
    Ok((graded.into_iter().map(|(reward, _)| reward).collect(), usage))
}

fn conversation(text: &str, at: &str) -> Result<BulkItem, Problem> {
    let (item, response) = dialogue::read(text, None).map_err(|problem| problem.within(at))?;
    Ok(BulkItem::new(item, response))
}

/// A response to an instruction.
pub(super) fn pair(instruction: String, response: String) -> BulkItem {
    let instruction = Instruction::Text(instruction);
    BulkItem::new(Item { instruction, reference_answer: None, context: Vec::new(), annotator: None }, response)
}

pub(super) fn count<'a>(usages: impl Iterator<Item = &'a crate::domain::Usage>) -> TokenCount {
    usages.fold(TokenCount::default(), |sum, usage| TokenCount {
        prompt_tokens: sum.prompt_tokens + usage.prompt_tokens,
        total_tokens: sum.total_tokens + usage.prompt_tokens + usage.completion_tokens,
        completion_tokens: sum.completion_tokens + usage.completion_tokens,
    })
}

/// The model name in the reply: the caller's, or ours.
pub(super) fn called(model: Option<String>, judging: &BulkJudging) -> String {
    model.unwrap_or_else(|| judging.model())
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
