//! Requests for chat completions, as OpenAI's clients write them.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::messages::ChatMessage;
use super::sampling::{SamplingFields, StopBody, stops};
use crate::api::problem::Problem;
use crate::config::GradingConfig;
use crate::domain::{InvalidRequest, Options};

/// The most alternatives of one token.
const MOST_LOGPROBS: usize = 20;

/// A request for a chat completion. Fields that are not listed are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct ChatBody {
    /// A name of `GET /v1/models`, or a judge model with a rubric: `gavel-absolute:RUBRIC`.
    pub(super) model: Option<String>,
    /// The conversation.
    #[schema(value_type = Vec<ChatMessage>)]
    pub(super) messages: Vec<Value>,
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
    pub(super) tools: Option<Vec<Value>>,
    /// `none`, `auto`, `required`, or the function to call.
    #[schema(value_type = Option<Object>)]
    pub(super) tool_choice: Option<Value>,
}

/// What a stream tells.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct StreamOptions {
    /// Whether the last chunk before the end has the usage.
    pub(super) include_usage: Option<bool>,
}

/// What form the answer has.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ResponseFormat {
    /// Free text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that fits a schema, always, whether `strict` or not.
    JsonSchema { json_schema: NamedSchema },
}

/// A schema and its name.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(super) struct NamedSchema {
    #[schema(value_type = Option<Object>)]
    pub(super) schema: Option<Value>,
}

/// A function that an answer may call.
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
