//! Wire types of OpenAI's answers: chat completions, their chunks, and the additional fields of judge models.

use std::time::{SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use serde::Serialize;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::api::verdict::{ModelRef, NamedDigest};
use crate::domain::{self, Finish, Judgement, Usage};

/// The log probability of an impossible token, because JSON has no infinity.
const NEVER: f64 = -9999.0;

/// A chat completion.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChatCompletion {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) choices: Vec<Choice>,
    pub(super) usage: TokenUsage,
    /// The additional field of a judge model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gavel: Option<JudgeReport>,
}

/// A chunk of a streamed chat completion.
#[derive(Debug, Serialize)]
pub(super) struct ChatChunk<'a> {
    #[serde(flatten)]
    pub(super) head: &'a Head,
    pub(super) choices: Vec<ChunkChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<TokenUsage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gavel: Option<&'a JudgeReport>,
}

/// The additional field of a judge model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JudgeReport {
    pub(super) judge: String,
    /// The rubric of `NAME:RUBRIC`.
    pub(super) rubric: Option<NamedDigest>,
    /// The model that ran.
    pub(super) model: ModelRef,
    /// One verdict for each choice.
    pub(super) verdicts: Vec<JudgeVerdict>,
}

/// The verdict of a choice.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JudgeVerdict {
    pub(super) index: u32,
    /// The most probable label.
    pub(super) label: String,
    /// The label as a number, if it is one.
    pub(super) score: Option<f64>,
    /// The mean of the distribution, if every label is a number.
    pub(super) expected_score: Option<f64>,
    pub(super) distribution: IndexMap<String, f64>,
    /// Total probability of the labels before normalising; near 0, the verdict is a forced guess.
    pub(super) label_mass: f64,
    /// `length` if the text before the verdict reached its limit.
    pub(super) finish: Finish,
    pub(super) seed: u64,
    pub(super) cached: bool,
}

/// The common fields of a completion and its chunks.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Head {
    id: String,
    object: &'static str,
    /// Seconds since 1970.
    created: u64,
    /// The requested name.
    model: String,
    /// The digest of the model that ran.
    system_fingerprint: String,
}

impl Head {
    pub(super) fn new(prefix: &str, object: &'static str, model: &str, digest: &str) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let id = format!("{prefix}-{}", Ulid::new());
        Self { id, object, created, model: model.to_owned(), system_fingerprint: digest.to_owned() }
    }

    /// The same for a chunk.
    pub(super) fn of_chunk(self) -> Self {
        Self { object: "chat.completion.chunk", ..self }
    }
}

/// One of the completions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Choice {
    pub(super) index: u32,
    pub(super) message: Message,
    pub(super) logprobs: Option<Logprobs>,
    /// `stop` or `length`.
    pub(super) finish_reason: &'static str,
}

/// The message of the model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Message {
    role: &'static str,
    pub(super) content: Option<String>,
    refusal: Option<String>,
    /// The forced call of a function.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToolCall>>,
}

/// A call of a function.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ToolCall {
    /// Its index, only in a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionCall,
}

/// The function that is called, and its arguments as JSON.
#[derive(Debug, Serialize, ToSchema)]
struct FunctionCall {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    arguments: String,
}

impl ToolCall {
    /// A call, or its beginning.
    pub(super) fn of(name: &str, arguments: String) -> Self {
        let function = FunctionCall { name: Some(name.to_owned()), arguments };
        Self { index: None, id: Some(format!("call_{}", Ulid::new())), kind: Some("function"), function }
    }

    /// As a part of a stream, with its index.
    pub(super) fn in_stream(self) -> Self {
        Self { index: Some(0), ..self }
    }

    /// A delta of a stream.
    pub(super) fn more(arguments: String) -> Self {
        Self { index: None, id: None, kind: None, function: FunctionCall { name: None, arguments } }
    }
}

impl Message {
    pub(super) fn says(content: String) -> Self {
        Self { role: "assistant", content: Some(content), refusal: None, tool_calls: None }
    }

    pub(super) fn calls(call: ToolCall) -> Self {
        Self { role: "assistant", content: None, refusal: None, tool_calls: Some(vec![call]) }
    }
}

/// A chunk of one of the choices.
#[derive(Debug, Serialize)]
pub(super) struct ChunkChoice {
    pub(super) index: u32,
    pub(super) delta: ChunkDelta,
    pub(super) logprobs: Option<Logprobs>,
    pub(super) finish_reason: Option<&'static str>,
}

/// The new text since the last chunk.
#[derive(Debug, Default, Serialize)]
pub(super) struct ChunkDelta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_calls: Option<Vec<ToolCall>>,
}

/// Log probabilities. For a judge model, one entry with those of its verdict.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Logprobs {
    content: Vec<TokenLogprob>,
    refusal: Option<Vec<TokenLogprob>>,
}

/// A token with its natural log probability and its alternatives, most probable first.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct TokenLogprob {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
    top_logprobs: Vec<Alternative>,
}

/// An alternative token.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Alternative {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
}

impl Logprobs {
    /// Those of generated text, token by token.
    pub(super) fn of_tokens(written: &[domain::TokenLogprob]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let alternative = |(bytes, logprob): &(Vec<u8>, f64)| Alternative {
            token: text(bytes),
            logprob: logprob_of(*logprob),
            bytes: bytes.clone(),
        };
        let entry = |token: &domain::TokenLogprob| TokenLogprob {
            token: text(&token.bytes),
            logprob: token.logprob.map_or(0.0, logprob_of),
            bytes: token.bytes.clone(),
            top_logprobs: token.top.iter().map(alternative).collect(),
        };
        Self { content: written.iter().map(entry).collect(), refusal: None }
    }

    /// Those of a choice, as one token: the chosen label, and the `most` most probable labels.
    pub(super) fn of_choice(labels: &[String], probabilities: &[f64], taken: usize, most: usize) -> Self {
        let logprob = |index: usize| logprob_of(probabilities[index].ln());
        let alternative = |index: usize| Alternative {
            token: labels[index].clone(),
            logprob: logprob(index),
            bytes: labels[index].clone().into_bytes(),
        };
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
        let entry = TokenLogprob {
            token: labels[taken].clone(),
            logprob: logprob(taken),
            bytes: labels[taken].clone().into_bytes(),
            top_logprobs: order.into_iter().take(most).map(alternative).collect(),
        };
        Self { content: vec![entry], refusal: None }
    }
}

/// A log probability for JSON.
pub(super) fn logprob_of(logprob: f64) -> f64 {
    logprob.max(NEVER)
}

/// The usage of several samples of one or several prompts.
pub(super) fn usage(judgements: &[Judgement]) -> TokenUsage {
    let mut prompts = Usage::default();
    judgements.iter().filter(|judgement| judgement.sample == 0).for_each(|judgement| prompts += judgement.usage);
    let completion = judgements.iter().map(|judgement| judgement.usage.completion_tokens).sum();
    TokenUsage::new(prompts, completion)
}

/// An event of a stream.
pub(super) fn data(value: &impl Serialize) -> String {
    format!("data: {}\n\n", serde_json::to_string(value).expect("wire types are plain data"))
}

/// Token counts in OpenAI's format: each prompt once, whatever `n` is.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct TokenUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

/// Details of the prompt tokens.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
struct PromptDetails {
    /// Prompt tokens that were reused from the prefix cache.
    cached_tokens: u64,
    /// Tokens of pictures; missing without pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_tokens: Option<u64>,
}

/// Details of the completion tokens.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl TokenUsage {
    fn new(prompts: Usage, completion_tokens: u64) -> Self {
        let Usage { prompt_tokens, cached_tokens, image_tokens, .. } = prompts;
        let image_tokens = (image_tokens > 0).then_some(image_tokens);
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptDetails { cached_tokens, image_tokens },
            completion_tokens_details: CompletionDetails { reasoning_tokens: 0 },
        }
    }
}
