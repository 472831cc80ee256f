//! `POST /v1/chat/completions`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::answer::ChatCompletion;
use super::judge;
use super::messages::ChatMessage;
use super::shape::{ResponseFormat, Tool};
use super::text;
use crate::api::extract;
use crate::api::problem::{OpenAiError, Problem};
use crate::app::App;
use crate::config::GradingConfig;
use crate::grading::{InvalidRequest, Mode, Options, Sampling};
use crate::tasks::MOST_CHOICES;

/// The most stop texts of one request: OpenAI takes 4.
const MOST_STOPS: usize = 64;
/// The most bytes of one.
const LONGEST_STOP: usize = 256;
/// The most alternatives of one token.
const MOST_LOGPROBS: usize = 20;

/// A request for a chat completion. Fields that are not listed are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct ChatBody {
    /// A name of `GET /v1/models`, or a judge model with a rubric: `gavel-absolute:RUBRIC`.
    pub(super) model: Option<String>,
    /// The conversation.
    #[schema(value_type = Vec<ChatMessage>)]
    pub(super) messages: Vec<serde_json::Value>,
    /// The most tokens to write; a judge model writes its verdict in any case.
    max_completion_tokens: Option<u32>,
    /// The older name of `max_completion_tokens`.
    max_tokens: Option<u32>,
    /// 0 (greedy) to 2.
    temperature: Option<f32>,
    /// Above 0, at most 1.
    top_p: Option<f32>,
    /// 0 or -1 keeps all tokens.
    top_k: Option<i64>,
    /// 0 to 1.
    min_p: Option<f32>,
    /// How many completions; the seed of each is one more than that of the one before.
    n: Option<u32>,
    /// The same seed gives the same text.
    seed: Option<i64>,
    /// Where to stop writing: up to 64 texts of 256 bytes at most.
    stop: Option<StopBody>,
    /// Whether to answer with server-sent events.
    pub(super) stream: Option<bool>,
    /// What a stream tells.
    pub(super) stream_options: Option<StreamOptions>,
    /// Whether to tell probabilities.
    logprobs: Option<bool>,
    /// How many alternatives, 0 to 20.
    top_logprobs: Option<usize>,
    /// What form the answer has; a judge model has its own.
    pub(super) response_format: Option<ResponseFormat>,
    /// Functions that the answer may call; only a forced call is one. Tools of other types are ignored.
    #[schema(value_type = Option<Vec<Tool>>)]
    pub(super) tools: Option<Vec<serde_json::Value>>,
    /// `none`, `auto`, `required`, or the function to call.
    #[schema(value_type = Option<Object>)]
    pub(super) tool_choice: Option<serde_json::Value>,
}

/// A text, or several.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum StopBody {
    One(String),
    Many(Vec<String>),
}

/// What a stream tells.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct StreamOptions {
    /// Whether the last chunk before the end has the usage.
    pub(super) include_usage: Option<bool>,
}

/// Answers a conversation: a judge model with a verdict in the form that its caller parses, a hosted model with what it
/// writes.
///
/// With `"stream": true`, the answer comes as server-sent events.
#[utoipa::path(
    post, path = "/v1/chat/completions", operation_id = "create_chat_completion", tag = "openai", request_body = ChatBody,
    responses((status = 200, content((ChatCompletion = "application/json"), (String = "text/event-stream"))), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn create(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: ChatBody = extract::lenient(&http, payload, app.config.limits.body_bytes).await?;
    let asked = body.model.clone().unwrap_or_default();
    match app.judge_models.find(app.judge_models.resolve(&asked)) {
        Some((judge, rubric)) => judge::answer(&app, &http, body, judge, rubric).await,
        None => text::answer(&app, &http, body).await,
    }
}

/// How text is sampled, as requests of chats and of texts say it.
pub(super) struct SamplingFields {
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    /// 0 keeps all tokens, and -1, which is vLLM's word for it.
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f32>,
    pub(super) n: Option<u32>,
    pub(super) seed: Option<i64>,
    /// The most tokens, and the field that says so.
    pub(super) most: (Option<u32>, &'static str),
}

impl SamplingFields {
    /// Checked; what is not said is as in grading, but for the temperature where one is given here.
    pub(super) fn options(self, defaults: &GradingConfig, temperature: Option<f32>) -> Result<Options, Problem> {
        let temperature = self.temperature.or(temperature).unwrap_or(defaults.temperature);
        let wrong = |pointer: &str, reason: &str| Problem::from(InvalidRequest::at(pointer, reason));
        let top_k = match self.top_k {
            None => defaults.top_k,
            Some(-1) => 0,
            Some(top_k) => {
                u32::try_from(top_k).map_err(|_| wrong("/top_k", "top_k is a number of tokens; 0 or -1 keeps all"))?
            }
        };
        let sampling = Sampling {
            temperature,
            top_p: self.top_p.unwrap_or(defaults.top_p),
            top_k,
            min_p: self.min_p.unwrap_or(defaults.min_p),
            // Where text is sampled, every request without a seed is another sample.
            seed: match self.seed {
                Some(seed) => seed.cast_unsigned(),
                None if temperature > 0.0 => u64::from(ulid::Ulid::new().random() as u32),
                None => defaults.seed,
            },
            seeded: self.seed.is_some(),
            max_feedback_tokens: self.most.0.unwrap_or(defaults.max_feedback_tokens),
            min_feedback_tokens: 0,
        };
        let samples = self.n.unwrap_or(1);
        if !(1..=MOST_CHOICES).contains(&samples) {
            return Err(wrong("/n", &format!("n is 1 to {MOST_CHOICES}")));
        }
        if !(0.0..=2.0).contains(&sampling.temperature) {
            return Err(wrong("/temperature", "the temperature is 0 to 2"));
        }
        if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
            return Err(wrong("/top_p", "top_p is above 0 and at most 1"));
        }
        if !(0.0..=1.0).contains(&sampling.min_p) {
            return Err(wrong("/min_p", "min_p is 0 to 1"));
        }
        if sampling.max_feedback_tokens == 0 {
            return Err(wrong(self.most.1, "at least one token has to be written"));
        }
        let cache = defaults.cache;
        Ok(Options { mode: Mode::Feedback, samples, sampling, prompt: None, cache, deterministic: false })
    }
}

/// The texts that end what is written, checked: each is looked for at every token.
pub(super) fn stops(stop: &Option<StopBody>) -> Result<Vec<String>, Problem> {
    let stops = match stop {
        Some(StopBody::One(stop)) => std::slice::from_ref(stop),
        Some(StopBody::Many(stops)) => stops,
        None => &[],
    };
    if stops.len() > MOST_STOPS {
        let reason = format!("{} texts to stop at: at most {MOST_STOPS}", stops.len());
        return Err(InvalidRequest::at("/stop", reason).into());
    }
    if let Some((index, long)) = stops.iter().enumerate().find(|(_, stop)| stop.len() > LONGEST_STOP) {
        let pointer =
            if matches!(stop, Some(StopBody::One(_))) { "/stop".to_owned() } else { format!("/stop/{index}") };
        let reason = format!("{} bytes to stop at: at most {LONGEST_STOP}", long.len());
        return Err(InvalidRequest::at(pointer, reason).into());
    }
    Ok(stops.iter().filter(|stop| !stop.is_empty()).cloned().collect())
}

impl ChatBody {
    /// How text is generated, checked.
    pub(super) fn options(&self, defaults: &GradingConfig, temperature: Option<f32>) -> Result<Options, Problem> {
        let named = if self.max_completion_tokens.is_some() { "/max_completion_tokens" } else { "/max_tokens" };
        let fields = SamplingFields {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            n: self.n,
            seed: self.seed,
            most: (self.max_tokens(), named),
        };
        fields.options(defaults, temperature)
    }

    /// The most tokens to write, where the request says so.
    pub(super) fn max_tokens(&self) -> Option<u32> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// The texts that end what is written, checked.
    pub(super) fn stop(&self) -> Result<Vec<String>, Problem> {
        stops(&self.stop)
    }

    /// How many alternatives of a token are told; `None` where no probabilities are.
    pub(super) fn alternatives(&self) -> Result<Option<usize>, Problem> {
        let most = self.top_logprobs.unwrap_or(0);
        if most > MOST_LOGPROBS {
            return Err(InvalidRequest::at("/top_logprobs", format!("top_logprobs is 0 to {MOST_LOGPROBS}")).into());
        }
        Ok(self.logprobs.unwrap_or(false).then_some(most))
    }
}
