//! A judgement: what one run of a script says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::distribution::Distribution;

/// The grading kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One response against a rubric.
    Absolute,
    /// Two responses against each other.
    Relative,
}

impl Kind {
    /// The name in prompts, metrics and digests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Absolute => "absolute",
            Self::Relative => "relative",
        }
    }
}

/// Whether feedback is written before the verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Feedback, then the verdict.
    #[default]
    Feedback,
    /// The verdict alone, in one forward pass.
    Score,
}

/// The order in which the caller's two responses were shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Order {
    /// The caller's A first.
    AB,
    /// The caller's B first.
    BA,
}

impl Order {
    /// The name in answers and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AB => "AB",
            Self::BA => "BA",
        }
    }
}

/// Why feedback ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model came to its verdict, or ended its turn.
    Stop,
    /// The limit on feedback tokens was reached.
    Length,
}

/// A token that was read or generated, and how probable it was before sampling.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The bytes that it writes; none for a control token.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability; `None` for the first of a prompt, which follows nothing.
    pub logprob: Option<f64>,
    /// The most probable tokens there, each with its logarithm, the most probable first.
    pub top: Vec<(Vec<u8>, f64)>,
}

/// Tokens that a judgement took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Those of them that were not computed again.
    pub cached_tokens: u64,
    /// Tokens that were generated or chosen; forced ones are not counted.
    pub completion_tokens: u64,
}

/// A time as verdicts show it: in milliseconds, to a microsecond.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Where the time went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Waiting for the engine.
    pub queue: f64,
    /// Reading the prompt.
    pub prefill: f64,
    /// Writing and choosing.
    pub decode: f64,
    /// From the request's arrival to its verdict.
    pub total: f64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.completion_tokens += other.completion_tokens;
    }
}

impl Timing {
    /// The longest of each stage: what a caller waited for, when judgements ran side by side.
    #[must_use]
    pub fn longest(self, other: Self) -> Self {
        Self {
            queue: self.queue.max(other.queue),
            prefill: self.prefill.max(other.prefill),
            decode: self.decode.max(other.decode),
            total: self.total.max(other.total),
        }
    }
}

/// What a choice in one branch of a script says.
#[derive(Debug, Clone, PartialEq)]
pub struct BranchChoice {
    /// Over the options.
    pub distribution: Distribution,
    /// How much of the model's probability lay on the options at all, 0..1.
    pub label_mass: f64,
}

/// What one run of a judging script says.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Which sample this is, from 0.
    pub sample: u32,
    /// The seed that it was generated with.
    pub seed: u64,
    /// For relative grading, the order in which the responses were shown.
    pub order: Option<Order>,
    /// Over the scores, lowest first, or over the labels A and B as shown.
    pub distribution: Distribution,
    /// How much of the model's probability lay on the labels at all, 0..1.
    pub label_mass: f64,
    /// What was chosen in each branch of the script, if it has branches.
    pub branches: Vec<BranchChoice>,
    /// The feedback text; `None` in score mode.
    pub feedback: Option<String>,
    /// Why the feedback ended.
    pub finish: Finish,
    /// Tokens read, reused and generated.
    pub usage: Usage,
    /// Where the time went.
    pub timing: Timing,
    /// What the model was given, exactly.
    pub prompt: String,
    /// What the model's answer then held, forced text included.
    pub answer: String,
    /// The prompt, token by token, where its probabilities were asked for.
    pub prompt_logprobs: Vec<TokenLogprob>,
    /// What was generated, token by token, where probabilities were asked for.
    pub output_logprobs: Vec<TokenLogprob>,
    /// Whether it was taken from the cache.
    pub cached: bool,
}

impl Judgement {
    /// How much of the model's probability lay on the labels, for each choice that says something: those of the
    /// branches, or the one there is.
    pub fn label_masses(&self) -> impl Iterator<Item = f64> {
        let own = Some(self.label_mass).filter(|_| self.branches.is_empty());
        own.into_iter().chain(self.branches.iter().map(|branch| branch.label_mass))
    }
}
