//! The result of a grader, in OpenAI's format.

use std::time::Duration;

use indexmap::IndexMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::ask::Answered;

/// A reward with its usage.
#[derive(Debug, Default)]
pub(super) struct GraderOutcome {
    pub(super) reward: f64,
    pub(super) sub_rewards: IndexMap<String, f64>,
    pub(super) scores: IndexMap<String, f64>,
    usage: IndexMap<String, GraderUsage>,
    model: Option<String>,
}

impl GraderOutcome {
    /// A reward without a model.
    pub(super) fn of(reward: f64) -> Self {
        Self { reward, ..Self::default() }
    }

    /// A model's reward.
    pub(super) fn by_model(reward: f64, asked: &str, answered: &Answered) -> Self {
        let (prompt_tokens, cached_tokens, completion_tokens) = answered.tokens();
        let total_tokens = prompt_tokens + completion_tokens;
        let usage = GraderUsage { prompt_tokens, completion_tokens, total_tokens, cached_tokens };
        let usage = IndexMap::from([(asked.to_owned(), usage)]);
        Self { reward, usage, model: Some(answered.model.clone()), ..Self::default() }
    }

    /// Adds the result of one of several graders.
    pub(super) fn add(&mut self, name: &str, other: Self) {
        self.sub_rewards.insert(name.to_owned(), other.reward);
        for (model, usage) in other.usage {
            let sum = self.usage.entry(model).or_default();
            sum.prompt_tokens += usage.prompt_tokens;
            sum.completion_tokens += usage.completion_tokens;
            sum.total_tokens += usage.total_tokens;
            sum.cached_tokens += usage.cached_tokens;
        }
        self.model = self.model.take().or(other.model);
    }
}

/// The result of a grader.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GraderReport {
    reward: f64,
    metadata: GraderMetadata,
    /// The rewards of a multi grader's graders.
    sub_rewards: IndexMap<String, f64>,
    model_grader_token_usage_per_model: IndexMap<String, GraderUsage>,
}

/// Details.
#[derive(Debug, Serialize, ToSchema)]
struct GraderMetadata {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    errors: GraderErrors,
    /// Seconds.
    execution_time: f64,
    /// Of a label model: the probability of each label.
    scores: IndexMap<String, f64>,
    token_usage: Option<u64>,
    sampled_model_name: Option<String>,
}

/// None of them is ever set: a failure is answered with an error, not with a reward.
#[derive(Debug, Default, Serialize, ToSchema)]
struct GraderErrors {
    formula_parse_error: bool,
    sample_parse_error: bool,
    truncated_observation_error: bool,
    unresponsive_reward_error: bool,
    invalid_variable_error: bool,
    other_error: bool,
    python_grader_server_error: bool,
    python_grader_server_error_type: Option<String>,
    python_grader_runtime_error: bool,
    python_grader_runtime_error_details: Option<String>,
    model_grader_server_error: bool,
    model_grader_refusal_error: bool,
    model_grader_parse_error: bool,
    model_grader_server_error_details: Option<String>,
}

/// Tokens of one model.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
struct GraderUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    cached_tokens: u64,
}

impl GraderReport {
    pub(super) fn new(name: &str, kind: &'static str, graded: GraderOutcome, took: Duration) -> Self {
        let tokens: u64 = graded.usage.values().map(|usage| usage.total_tokens).sum();
        Self {
            reward: graded.reward,
            metadata: GraderMetadata {
                name: name.to_owned(),
                kind,
                errors: GraderErrors::default(),
                execution_time: took.as_secs_f64(),
                scores: graded.scores,
                token_usage: graded.model.is_some().then_some(tokens),
                sampled_model_name: graded.model,
            },
            sub_rewards: graded.sub_rewards,
            model_grader_token_usage_per_model: graded.usage,
        }
    }
}
