//! Requests for chat completions, in OpenAI's format.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::messages::ChatMessage;
use super::sampling::{SamplingFields, StopBody, stops};
use crate::api::detail::AnswerLimit;
use crate::api::problem::Problem;
use crate::config::GradingConfig;
use crate::domain::{InvalidRequest, Options};
use crate::script::StopString;

/// Maximum number of alternatives of one token.
const MOST_LOGPROBS: usize = 20;

/// A request for a chat completion. Other fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "model": "gavel-absolute:factual_validity",
    "messages": [{
        "role": "user",
        "content": "###Instruction:\nWhy is the sky blue?\n\n###Response to evaluate:\nIt mirrors the sea.\n\n###Feedback:",
    }],
    "max_completion_tokens": 128,
}))]
pub(in crate::api) struct ChatBody {
    /// A name of `GET /v1/models`, or a judge model with a rubric: `gavel-absolute:RUBRIC`.
    pub(super) model: Option<String>,
    /// The conversation.
    #[schema(value_type = Vec<ChatMessage>)]
    pub(super) messages: Vec<Value>,
    /// Maximum number of tokens to generate; a judge model always writes its verdict.
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
    /// Number of completions; each one adds 1 to the seed.
    n: Option<u32>,
    /// The same seed gives the same text.
    seed: Option<i64>,
    /// Stop texts: up to 64, of at most 256 bytes.
    stop: Option<StopBody>,
    /// Whether to answer with server-sent events.
    pub(super) stream: Option<bool>,
    /// Options of a stream.
    pub(super) stream_options: Option<StreamOptions>,
    /// Whether to return log probabilities.
    logprobs: Option<bool>,
    /// Number of alternatives for each token, 0 to 20.
    top_logprobs: Option<usize>,
    /// The format of the answer; a judge model has its own.
    pub(super) response_format: Option<ResponseFormat>,
    /// Functions for a forced call; otherwise they are ignored. Tools of other types are ignored.
    #[schema(value_type = Option<Vec<Tool>>)]
    pub(super) tools: Option<Vec<Value>>,
    /// `none`, `auto`, `required`, or the function to call.
    #[schema(value_type = Option<Object>)]
    pub(super) tool_choice: Option<Value>,
}

/// Options of a stream.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct StreamOptions {
    /// Whether the last chunk has the usage.
    pub(super) include_usage: Option<bool>,
}

/// The format of the answer.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ResponseFormat {
    /// Free text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that matches a schema, whether `strict` or not.
    JsonSchema { json_schema: NamedSchema },
}

/// A schema and its name.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(super) struct NamedSchema {
    #[schema(value_type = Option<Object>)]
    pub(super) schema: Option<Value>,
}

/// A tool.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(super) struct Tool {
    pub(super) function: Function,
}

/// A function and the schema of its parameters.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) description: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub(super) parameters: Option<Value>,
}

impl ChatBody {
    /// The checked sampling options.
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

    /// The field that bounds the answer, if the request has one.
    pub(super) fn answer_limit(&self) -> Option<AnswerLimit> {
        let named = [(self.max_completion_tokens, "max_completion_tokens"), (self.max_tokens, "max_tokens")];
        named.into_iter().find_map(|(most, name)| most.map(|_| AnswerLimit::Field(name)))
    }

    /// Maximum number of tokens to generate, if the request has it.
    pub(super) fn max_tokens(&self) -> Option<u32> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// The checked stop texts.
    pub(super) fn stop(&self) -> Result<Vec<StopString>, Problem> {
        stops(&self.stop)
    }

    /// Number of alternatives for each token; `None` without log probabilities.
    pub(super) fn alternatives(&self) -> Result<Option<usize>, Problem> {
        let most = self.top_logprobs.unwrap_or(0);
        if most > MOST_LOGPROBS {
            return Err(InvalidRequest::at("/top_logprobs", format!("top_logprobs is 0 to {MOST_LOGPROBS}")).into());
        }
        Ok(self.logprobs.unwrap_or(false).then_some(most))
    }
}
