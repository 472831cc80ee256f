//! `POST /tokenize`, `POST /detokenize` and `GET /tokenizer_info`, as vLLM has them.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::messages;
use crate::api::problem::{Code, OpenAiError, Problem};
use crate::api::{context, json};
use crate::app::App;
use crate::domain::InvalidRequest;
use crate::script::{Token, Vocabulary};
use crate::service::Session;
use crate::tasks::{PromptInput, TaskError};

/// A text or a conversation to tokenise. Other fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"prompt": "The sky is blue.", "return_token_strs": true}))]
pub(in crate::api) struct TokenizeBody {
    /// A name of `GET /v1/models`; default: the default model.
    model: Option<String>,
    /// The text; use either this or `messages`. Nothing in it becomes a control token.
    prompt: Option<String>,
    /// The conversation, rendered with the model's chat template up to the start of its answer.
    #[schema(value_type = Option<Vec<Object>>)]
    messages: Option<Vec<Value>>,
    /// Whether the BOS token comes first, if the model has one; default true.
    add_special_tokens: Option<bool>,
    /// Whether to return the text of each token.
    return_token_strs: Option<bool>,
}

/// The tokens of a text.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tokenized {
    count: usize,
    /// Maximum number of tokens of prompt and answer.
    max_model_len: usize,
    tokens: Vec<Token>,
    token_strs: Option<Vec<String>>,
}

/// Tokens to put together. Other fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"tokens": [1, 2, 3]}))]
pub(in crate::api) struct DetokenizeBody {
    /// A name of `GET /v1/models`; default: the default model.
    model: Option<String>,
    tokens: Vec<Token>,
}

/// The text of tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Detokenized {
    prompt: String,
}

/// What is known of the tokenizer of the default model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenizerInfo {
    bos_token: String,
    eos_token: String,
    chat_template: Option<String>,
    vocab_size: usize,
}

/// The model's vocabulary.
///
/// # Errors
/// If its engine has none: the scripted one, and providers of chat completions.
fn vocabulary(session: &Session) -> Result<Arc<dyn Vocabulary>, Problem> {
    session.judge().vocabulary().ok_or_else(|| {
        let engine = session.judge().engine().engine;
        Problem::new(Code::UnsupportedContent, format!("the engine `{engine}` does not know the model's tokens"))
    })
}

/// Returns the tokens of a text or of a conversation.
#[utoipa::path(
    post, path = "/tokenize", operation_id = "tokenize", tag = "openai", request_body = TokenizeBody,
    responses((status = 200, body = Tokenized), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn tokenize(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: TokenizeBody = json::lenient(&http, payload, app.config.limits.body_bytes).await?;
    let context = context::of_request(&http, &app)?;
    let session = app.service.begin(&context, app.hosted(body.model.as_deref())).await?;
    let vocabulary = vocabulary(&session)?;
    let input = match (body.prompt, body.messages) {
        (Some(text), None) => PromptInput::Text(text),
        (None, Some(messages)) => PromptInput::Conversation(messages::turns(&messages, &app.config.pictures)?),
        _ => return Err(InvalidRequest::at("/prompt", "send `prompt`, or a conversation as `messages`").into()),
    };
    let bos = body.add_special_tokens.unwrap_or(true);
    let max_model_len = session.judge().engine().context;
    let strings = body.return_token_strs.unwrap_or(false);
    let read = move || {
        let prompt = input.prompt(session.judge().profile().renderer);
        let prompt = prompt.map_err(|error| crate::service::ServiceError::from(TaskError::from(error)))?;
        if let Some(shown) = prompt.pictures().next() {
            let detail = "pictures have no tokens that could be listed; the verdict on a picture has their number";
            return Err(Problem::new(Code::UnsupportedContent, detail).at(&*shown.pointer));
        }
        let mut tokens = prompt.encode(&*vocabulary).ids;
        if !bos && vocabulary.begin().is_some() && tokens.first().copied() == vocabulary.begin() {
            tokens.remove(0);
        }
        let text = |token: &Token| String::from_utf8_lossy(&vocabulary.piece(*token)).into_owned();
        let token_strs = strings.then(|| tokens.iter().map(text).collect());
        Ok(Tokenized { count: tokens.len(), max_model_len, tokens, token_strs })
    };
    let tokenized: Result<Tokenized, Problem> =
        web::block(read).await.map_err(|_| Problem::new(Code::Internal, "the text could not be tokenised"))?;
    Ok(HttpResponse::Ok().json(tokenized?))
}

/// Returns the text of tokens.
#[utoipa::path(
    post, path = "/detokenize", operation_id = "detokenize", tag = "openai", request_body = DetokenizeBody,
    responses((status = 200, body = Detokenized), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn detokenize(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: DetokenizeBody = json::lenient(&http, payload, app.config.limits.body_bytes).await?;
    let context = context::of_request(&http, &app)?;
    let session = app.service.begin(&context, app.hosted(body.model.as_deref())).await?;
    let vocabulary = vocabulary(&session)?;
    let known = |token: &Token| usize::try_from(*token).is_ok_and(|index| index < vocabulary.size());
    if let Some(index) = body.tokens.iter().position(|token| !known(token)) {
        let reason =
            format!("the model has no token {}; its ids are 0 to {}", body.tokens[index], vocabulary.size() - 1);
        return Err(InvalidRequest::at(format!("/tokens/{index}"), reason).into());
    }
    let bytes: Vec<u8> = body.tokens.iter().flat_map(|token| vocabulary.piece(*token)).collect();
    Ok(HttpResponse::Ok().json(Detokenized { prompt: String::from_utf8_lossy(&bytes).into_owned() }))
}

/// Returns what is known of the tokenizer of the default model.
#[utoipa::path(
    get, path = "/tokenizer_info", operation_id = "tokenizer_info", tag = "openai",
    responses((status = 200, body = TokenizerInfo), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn tokenizer_info(app: web::Data<App>, http: HttpRequest) -> Result<HttpResponse, Problem> {
    let context = context::of_request(&http, &app)?;
    let session = app.service.begin(&context, None).await?;
    let vocabulary = vocabulary(&session)?;
    let chat = session.judge().chat_format();
    Ok(HttpResponse::Ok().json(TokenizerInfo {
        bos_token: chat.bos.clone(),
        eos_token: chat.eos.clone(),
        chat_template: chat.template.clone(),
        vocab_size: vocabulary.size(),
    }))
}
