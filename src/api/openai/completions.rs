//! `POST /v1/completions`: the hosted model continues texts, or returns their log probabilities.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ask;
use super::chat_request::StreamOptions;
use super::sampling::{SamplingFields, StopBody, stops};
use super::schema::{Head, TokenUsage, data, logprob_of, usage};
use super::text::finish_reason;
use crate::api::context;
use crate::api::detail::AnswerLimit;
use crate::api::json;
use crate::api::problem::{OpenAiError, Problem};
use crate::api::stream::{self, Events};
use crate::app::App;
use crate::domain::{InvalidRequest, Judgement, TokenLogprob};
use crate::script::{Generate, Script, Step};
use crate::service::Delta;
use crate::tasks::{PromptInput, Prompted};

/// Maximum number of prompts of a request.
const MOST_PROMPTS: usize = 128;
/// Default of `max_tokens`, as in OpenAI's API.
const MAX_TOKENS: u32 = 16;
/// Maximum number of alternatives of one token.
const MOST_LOGPROBS: usize = 20;

/// Texts to continue. Other fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"prompt": "The sky is blue because", "max_tokens": 16, "temperature": 0}))]
pub(in crate::api) struct CompletionBody {
    /// A name of `GET /v1/models`; default: the default model.
    model: Option<String>,
    prompt: PromptBody,
    /// 0 (greedy) to 2.
    temperature: Option<f32>,
    /// Above 0, at most 1.
    top_p: Option<f32>,
    /// 0 or -1 keeps all tokens.
    top_k: Option<i64>,
    /// 0 to 1.
    min_p: Option<f32>,
    /// Number of texts; each one adds 1 to the seed.
    n: Option<u32>,
    /// The same seed gives the same text.
    seed: Option<i64>,
    /// Maximum number of tokens to generate; default 16. With `echo`, 0 generates none.
    max_tokens: Option<u32>,
    /// Stop texts: up to 64, of at most 256 bytes.
    stop: Option<StopBody>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// Whether to return the prompt before the text; with `logprobs`, with its log probabilities.
    echo: Option<bool>,
    /// Number of alternatives for each token, 0 to 20; `null` returns no log probabilities.
    logprobs: Option<usize>,
}

/// A text or its token ids, or a list of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum PromptBody {
    One(String),
    Tokens(Vec<i32>),
    Many(Vec<String>),
    ManyTokens(Vec<Vec<i32>>),
}

/// A completion.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TextCompletion {
    #[serde(flatten)]
    head: Head,
    choices: Vec<TextChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<TokenUsage>,
}

/// One of the texts.
#[derive(Debug, Serialize, ToSchema)]
struct TextChoice {
    index: u32,
    text: String,
    logprobs: Option<TextLogprobs>,
    /// `stop` or `length`.
    finish_reason: Option<&'static str>,
}

/// The tokens of a text with natural log probabilities; null for the first token of a prompt.
#[derive(Debug, Serialize, ToSchema)]
struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f64>>,
    top_logprobs: Vec<Option<IndexMap<String, f64>>>,
    /// Start of each token, in characters.
    text_offset: Vec<usize>,
}

/// The format of choices.
#[derive(Clone)]
struct ChoiceFormat {
    head: Head,
    /// The echo of each prompt; for token ids, it is known after they were read.
    echo: Option<Vec<String>>,
    logprobs: bool,
    samples: usize,
    /// Whether text is generated.
    writes: bool,
}

/// Continues a text.
///
/// With `"stream": true`, the answer is sent as server-sent events.
#[utoipa::path(
    post, path = "/v1/completions", operation_id = "create_completion", tag = "openai", request_body = CompletionBody,
    responses((status = 200, content((TextCompletion = "application/json"), (String = "text/event-stream"))), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn create(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: CompletionBody = json::lenient(&http, payload, app.config.limits.body_bytes).await?;
    let (echo, most) = (body.echo == Some(true), body.logprobs);
    let writes = !(echo && body.max_tokens == Some(0));
    let inputs = body.prompt.inputs()?;
    let texts = inputs.iter().map(|input| match input {
        PromptInput::Text(text) => text.clone(),
        _ => String::new(),
    });
    let echoed = echo.then(|| texts.collect());
    let tokens = inputs.iter().any(|input| matches!(input, PromptInput::Tokens(_)));
    if echo && tokens && body.stream == Some(true) {
        let reason = "token ids do not come back in a stream: send texts, or leave out `stream` or `echo`";
        return Err(InvalidRequest::at("/echo", reason).into());
    }
    let told = echo && (most.is_some() || tokens);
    let fields = SamplingFields {
        temperature: body.temperature,
        top_p: body.top_p,
        top_k: body.top_k,
        min_p: body.min_p,
        n: body.n,
        seed: body.seed,
        most: (body.max_tokens.filter(|_| writes).or(Some(MAX_TOKENS)), "/max_tokens"),
    };
    let mut options = fields.options(&app.config.grading, Some(1.0))?;
    options.cache = false;
    let samples = options.samples as usize;
    if inputs.len() * samples > MOST_PROMPTS {
        let reason = format!("{} prompts with n {samples}: at most {MOST_PROMPTS} texts a request", inputs.len());
        return Err(InvalidRequest::at("/prompt", reason).into());
    }
    if most.is_some_and(|most| most > MOST_LOGPROBS) {
        return Err(InvalidRequest::at("/logprobs", format!("logprobs is 0 to {MOST_LOGPROBS}")).into());
    }
    let stop = stops(&body.stop)?;
    let context = context::of_request(&http, &app)?;
    let session = app.service.begin(&context, app.hosted(body.model.as_deref())).await?;
    let engine = session.judge().engine().clone();
    let max_tokens = options.sampling.max_feedback_tokens as usize;
    let write = Generate { stop, max_tokens, logprobs: most, keep_trailing_whitespace: true, ..Generate::default() };
    let asked = body.model.as_deref().unwrap_or(&engine.model);
    let form = ChoiceFormat {
        head: Head::new("cmpl", "text_completion", asked, &engine.digest),
        echo: echoed,
        logprobs: most.is_some(),
        samples,
        writes,
    };
    let prompt_logprobs = told.then(|| Step::PromptLogprobs(most.unwrap_or(0)));
    let steps = prompt_logprobs.into_iter().chain(writes.then_some(Step::Generate(write)));
    let chat = Prompted {
        purpose: None,
        inputs,
        scripts: vec![Script(steps.collect())],
        options,
        field: "/prompt".to_owned(),
    };
    let limit = body.max_tokens.map_or(AnswerLimit::Context, |_| AnswerLimit::Field("max_tokens"));
    let run = |progress| async move {
        let graded = session.run(chat, progress).await;
        graded.map(|graded| graded.verdict).map_err(|error| ask::blamed(error, "/prompt", limit))
    };
    if body.stream != Some(true) {
        let judgements = run(None).await?;
        let choices = (0..).zip(&judgements).map(|(index, judgement)| form.choice(index, judgement)).collect();
        return Ok(HttpResponse::Ok().json(TextCompletion {
            head: form.head.clone(),
            choices,
            usage: Some(usage(&judgements)),
        }));
    }
    let with_usage = body.stream_options.is_some_and(|options| options.include_usage == Some(true));
    stream::events(&http, run, form.events(with_usage)).await
}

impl PromptBody {
    fn inputs(self) -> Result<Vec<PromptInput>, Problem> {
        let inputs: Vec<PromptInput> = match self {
            Self::One(text) => vec![PromptInput::Text(text)],
            Self::Tokens(ids) => vec![PromptInput::Tokens(ids)],
            Self::Many(texts) => texts.into_iter().map(PromptInput::Text).collect(),
            Self::ManyTokens(prompts) => prompts.into_iter().map(PromptInput::Tokens).collect(),
        };
        let nothing = |opening: &PromptInput| matches!(opening, PromptInput::Tokens(ids) if ids.is_empty());
        match inputs.is_empty() || inputs.iter().any(nothing) {
            true => Err(InvalidRequest::at("/prompt", "the prompt is empty; send a text or token ids").into()),
            false => Ok(inputs),
        }
    }
}

impl ChoiceFormat {
    /// The echo of a prompt.
    fn echo(&self, index: usize, judgement: Option<&Judgement>) -> String {
        let Some(echo) = &self.echo else { return String::new() };
        let text = &echo[index / self.samples];
        let read =
            judgement.filter(|_| text.is_empty()).map(|judgement| &judgement.prompt_logprobs[..]).unwrap_or_default();
        let bytes: Vec<u8> = read.iter().flat_map(|token| token.bytes.iter().copied()).collect();
        format!("{text}{}", String::from_utf8_lossy(&bytes))
    }

    fn choice(&self, index: u32, judgement: &Judgement) -> TextChoice {
        TextChoice {
            index,
            text: format!("{}{}", self.echo(index as usize, Some(judgement)), judgement.answer),
            logprobs: self
                .logprobs
                .then(|| TextLogprobs::of(self.read(index as usize, judgement), &judgement.output_logprobs)),
            finish_reason: Some(if self.writes { finish_reason(judgement.finish) } else { "length" }),
        }
    }

    /// The prompt tokens with log probabilities, without the BOS token.
    fn read<'j>(&self, index: usize, judgement: &'j Judgement) -> &'j [TokenLogprob] {
        let as_sent = self.echo.as_ref().is_none_or(|echo| echo[index / self.samples].is_empty());
        match &judgement.prompt_logprobs[..] {
            [begin, rest @ ..] if !as_sent && begin.bytes.is_empty() => rest,
            read => read,
        }
    }

    fn chunk(&self, choices: Vec<TextChoice>, usage: Option<TokenUsage>) -> String {
        data(&TextCompletion { head: self.head.clone(), choices, usage })
    }

    /// The same as a stream; the echo is sent before the first text.
    fn events(self, with_usage: bool) -> Events<Vec<Judgement>> {
        let (of_delta, shown) = (self.clone(), Arc::new(stream::Shown::default()));
        let seen = Arc::clone(&shown);
        Events {
            delta: Arc::new(move |Delta { run, sample, text, .. }: Delta| {
                let index = run.part as u32 * of_delta.samples as u32 + sample;
                let first = seen.add(index, text.len()) == 0;
                let text = if first { of_delta.echo(index as usize, None) + &text } else { text };
                of_delta.chunk(vec![TextChoice { index, text, logprobs: None, finish_reason: None }], None)
            }),
            last: Box::new(move |judgements| {
                let mut out = String::new();
                for (index, judgement) in (0..).zip(&judgements) {
                    let mut choice = self.choice(index, judgement);
                    if let Some(so_far) = shown.of(index) {
                        choice.text = judgement.answer.get(so_far..).unwrap_or_default().to_owned();
                    }
                    out += &self.chunk(vec![choice], None);
                }
                if with_usage {
                    out += &self.chunk(Vec::new(), Some(usage(&judgements)));
                }
                out + "data: [DONE]\n\n"
            }),
            failed: |problem, _, _| data(&problem.openai()),
        }
    }
}

impl TextLogprobs {
    fn of(read: &[TokenLogprob], written: &[TokenLogprob]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let top = |token: &TokenLogprob| {
            let told = token.top.iter().map(|(bytes, logprob)| (text(bytes), logprob_of(*logprob))).collect();
            token.logprob.map(|_| told)
        };
        let (mut at, tokens) = (0, read.iter().chain(written));
        let offset = |token: &TokenLogprob| {
            let begins = at;
            at += String::from_utf8_lossy(&token.bytes).chars().count();
            begins
        };
        Self {
            tokens: tokens.clone().map(|token| text(&token.bytes)).collect(),
            token_logprobs: tokens.clone().map(|token| token.logprob.map(logprob_of)).collect(),
            top_logprobs: tokens.clone().map(top).collect(),
            text_offset: tokens.map(offset).collect(),
        }
    }
}
