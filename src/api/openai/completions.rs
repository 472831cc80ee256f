//! `POST /v1/completions`: the hosted model goes on with a text.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{Head, TokenUsage, data, logprob_of, usage};
use super::ask;
use super::chat::{SamplingFields, StopBody, StreamOptions, stops};
use super::text::finish_reason;
use crate::api::problem::{OpenAiError, Problem};
use crate::api::stream::{self, Events};
use crate::api::{extract, wire};
use crate::app::App;
use crate::grading::{InvalidRequest, Judgement};
use crate::judge::Opening;
use crate::panel::{Account, Chat, Delta};
use crate::script::{Generate, Script, Step};

/// The most tokens of a request that does not say, as the original has it.
const MAX_TOKENS: u32 = 16;
/// The most alternatives of one token.
const MOST_LOGPROBS: usize = 20;

/// A text to go on with. Fields that are not listed are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct CompletionBody {
    /// A name of `GET /v1/models`; the default one if left out.
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
    /// How many texts; the seed of each is one more than that of the one before.
    n: Option<u32>,
    /// The same seed gives the same text.
    seed: Option<i64>,
    /// The most tokens to write; 16 if left out.
    max_tokens: Option<u32>,
    /// Where to stop writing.
    stop: Option<StopBody>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// Whether the prompt comes back before the text.
    echo: Option<bool>,
    /// How many alternatives of each token to tell, 0 to 20.
    logprobs: Option<usize>,
}

/// A text, or a list with one. Token ids are not understood.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum PromptBody {
    One(String),
    Many(Vec<String>),
}

/// A text that was gone on with.
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

/// The tokens of a text and their natural logarithms of probability.
#[derive(Debug, Serialize, ToSchema)]
struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<IndexMap<String, f64>>,
    /// Where each begins, in characters.
    text_offset: Vec<usize>,
}

/// What each choice has before its text, and after it.
#[derive(Clone)]
struct Form {
    head: Head,
    echo: String,
    logprobs: bool,
}

/// Goes on with a text.
///
/// With `"stream": true`, the answer comes as server-sent events.
#[utoipa::path(
    post, path = "/v1/completions", operation_id = "create_completion", tag = "openai", request_body = CompletionBody,
    responses((status = 200, content((TextCompletion = "application/json"), (String = "text/event-stream"))), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn create(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: CompletionBody = extract::lenient(&http, payload, app.config.limits.body_bytes).await?;
    let prompt = body.prompt.text()?;
    let fields = SamplingFields {
        temperature: body.temperature,
        top_p: body.top_p,
        top_k: body.top_k,
        min_p: body.min_p,
        n: body.n,
        seed: body.seed,
        most: (body.max_tokens.or(Some(MAX_TOKENS)), "/max_tokens"),
    };
    let mut options = fields.options(&app.config.grading, Some(1.0))?;
    options.cache = false;
    let (most, echo) = (body.logprobs, body.echo == Some(true));
    if most.is_some_and(|most| most > MOST_LOGPROBS) {
        return Err(InvalidRequest::at("/logprobs", format!("logprobs is 0 to {MOST_LOGPROBS}")).into());
    }
    if echo && most.is_some() {
        let reason = "the probabilities of the prompt's own tokens are not told: send echo or logprobs, not both";
        return Err(InvalidRequest::at("/echo", reason).into());
    }
    let deadline = wire::deadline(&http, &app)?;
    let panel = app.panel(ask::hosted(&app, body.model.as_deref()), deadline).await?;
    let engine = panel.judge().engine().clone();
    let max_tokens = options.sampling.max_feedback_tokens as usize;
    let write = Generate { stop: stops(&body.stop), max_tokens, logprobs: most, ..Generate::default() };
    let asked = body.model.as_deref().unwrap_or(&engine.model);
    let form = Form {
        head: Head::new("cmpl", "text_completion", asked, &engine.digest),
        echo: if echo { prompt.clone() } else { String::new() },
        logprobs: most.is_some(),
    };
    let scripts = vec![Script(vec![Step::Generate(write)])];
    let chat = Chat { purpose: None, opening: Opening::Text(prompt), scripts, options };
    let admitted = app.admit_chat(panel, chat, deadline).await.map_err(|error| ask::blamed(error, "/prompt"))?;
    if body.stream != Some(true) {
        let (judgements, _) = admitted.run(None).await?;
        let choices = judgements.iter().map(|judgement| form.choice(judgement)).collect();
        return Ok(HttpResponse::Ok().json(TextCompletion {
            head: form.head.clone(),
            choices,
            usage: Some(usage(&judgements)),
        }));
    }
    let with_usage = body.stream_options.is_some_and(|options| options.include_usage == Some(true));
    stream::events(&http, |progress| admitted.run(progress), form.events(with_usage)).await
}

impl PromptBody {
    fn text(&self) -> Result<String, Problem> {
        match self {
            Self::One(text) => Ok(text.clone()),
            Self::Many(texts) => match &texts[..] {
                [text] => Ok(text.clone()),
                _ => {
                    let reason = "one prompt a request; send the others beside it, they run together";
                    Err(InvalidRequest::at("/prompt", reason).into())
                }
            },
        }
    }
}

impl Form {
    fn choice(&self, judgement: &Judgement) -> TextChoice {
        TextChoice {
            index: judgement.sample,
            text: format!("{}{}", self.echo, judgement.answer),
            logprobs: self.logprobs.then(|| TextLogprobs::of(judgement)),
            finish_reason: Some(finish_reason(judgement.finish)),
        }
    }

    fn chunk(&self, choices: Vec<TextChoice>, usage: Option<TokenUsage>) -> String {
        data(&TextCompletion { head: self.head.clone(), choices, usage })
    }

    /// The same as a stream; an echo comes with the end of the first text.
    fn events(self, with_usage: bool) -> Events<(Vec<Judgement>, Account)> {
        let (of_delta, shown) = (self.clone(), Arc::new(stream::Shown::default()));
        let seen = Arc::clone(&shown);
        Events {
            delta: Arc::new(move |Delta { sample, text, .. }: Delta| {
                let first = seen.add(sample, text.len()) == 0;
                let text = if first { format!("{}{text}", of_delta.echo) } else { text };
                of_delta.chunk(vec![TextChoice { index: sample, text, logprobs: None, finish_reason: None }], None)
            }),
            last: Box::new(move |(judgements, _)| {
                let mut out = String::new();
                for judgement in &judgements {
                    let mut choice = self.choice(judgement);
                    if let Some(so_far) = shown.of(judgement.sample) {
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
    fn of(judgement: &Judgement) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut at = 0;
        let mut offset = |bytes: &[u8]| {
            let begins = at;
            at += String::from_utf8_lossy(bytes).chars().count();
            begins
        };
        let written = &judgement.written;
        Self {
            tokens: written.iter().map(|token| text(&token.bytes)).collect(),
            token_logprobs: written.iter().map(|token| logprob_of(token.logprob)).collect(),
            top_logprobs: written
                .iter()
                .map(|token| token.top.iter().map(|(bytes, logprob)| (text(bytes), logprob_of(*logprob))).collect())
                .collect(),
            text_offset: written.iter().map(|token| offset(&token.bytes)).collect(),
        }
    }
}
