//! A judgement: the result of one run of a judging script.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::distribution::Distribution;
use super::turn::Turn;

/// The grading kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Grades one response by a rubric.
    Absolute,
    /// Compares two responses.
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
    /// At a stop text, or because the model ended its turn.
    Stop,
    /// The limit on feedback tokens was reached.
    Length,
}

/// How the probabilities of a choice were obtained, the most exact first.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum MassKind {
    /// Read from the model's distribution over its whole vocabulary.
    #[default]
    Exact,
    /// Lower bounds, read from the most probable tokens.
    Bounded {
        /// By how much the label mass may be larger, 0 to 1.
        unseen: f64,
    },
    /// Shares of this number of sampled answers.
    Sampled {
        /// The number of samples.
        samples: u32,
    },
}

impl MassKind {
    /// The name in verdicts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Bounded { .. } => "bounded",
            Self::Sampled { .. } => "sampled",
        }
    }

    /// The less exact of two; of two bounds, the looser.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Sampled { samples: a }, Self::Sampled { samples: b }) => Self::Sampled { samples: a.min(b) },
            (Self::Sampled { samples }, _) | (_, Self::Sampled { samples }) => Self::Sampled { samples },
            (Self::Bounded { unseen: a }, Self::Bounded { unseen: b }) => Self::Bounded { unseen: a.max(b) },
            (Self::Bounded { unseen }, _) | (_, Self::Bounded { unseen }) => Self::Bounded { unseen },
            (Self::Exact, Self::Exact) => Self::Exact,
        }
    }
}

/// A token that was read or generated, with its log probability before sampling.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// Its bytes; empty for a control token.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability; `None` for the first token of a prompt.
    pub logprob: Option<f64>,
    /// The most probable tokens at this position with their log probabilities, most probable first.
    pub top: Vec<(Vec<u8>, f64)>,
}

/// Token counts of a judgement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Prompt tokens that were reused from the prefix cache.
    pub cached_tokens: u64,
    /// Tokens of pictures, which are among those of the prompts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image_tokens: u64,
    /// Generated or chosen tokens, without forced ones.
    pub completion_tokens: u64,
}

/// Whether a count is left out of JSON.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A time in milliseconds, rounded to a microsecond.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Time by stage, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Waiting for the engine.
    pub queue: f64,
    /// Prefill of the prompt.
    pub prefill: f64,
    /// Generating and choosing.
    pub decode: f64,
    /// From the request's arrival to its verdict.
    pub total: f64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.image_tokens += other.image_tokens;
        self.completion_tokens += other.completion_tokens;
    }
}

impl Timing {
    /// The maximum of each stage: the time that a caller waited for judgements that ran in parallel.
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

/// The choice in one branch of a script.
#[derive(Debug, Clone, PartialEq)]
pub struct BranchChoice {
    /// Over the options.
    pub distribution: Distribution,
    /// Total probability of the options before normalising, 0..1.
    pub label_mass: f64,
}

/// What a reasoning judge thought before it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thoughts {
    /// The text.
    pub text: String,
    /// Why it ended: by itself, or at its limit.
    pub finish: Finish,
}

/// The result of one run of a judging script.
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
    /// Total probability of the labels before normalising, 0..1.
    pub label_mass: f64,
    /// How the label masses of its choices were obtained, the least exact of them.
    pub mass: MassKind,
    /// The choice in each branch, if the script has branches.
    pub branches: Vec<BranchChoice>,
    /// What a reasoning judge thought first; `None` for other judges and in score mode.
    pub thoughts: Option<Thoughts>,
    /// The feedback text; `None` in score mode.
    pub feedback: Option<String>,
    /// Why the feedback ended.
    pub finish: Finish,
    /// Tokens read, reused and generated.
    pub usage: Usage,
    /// Time by stage.
    pub timing: Timing,
    /// The exact prompt.
    pub prompt: Arc<str>,
    /// The turns of the prompt before the chat template; only if the request asks for debug output.
    pub turns: Arc<[Turn]>,
    /// The model's whole answer, including forced text.
    pub answer: String,
    /// The prompt tokens with log probabilities, if requested.
    pub prompt_logprobs: Vec<TokenLogprob>,
    /// The generated tokens with log probabilities, if requested.
    pub output_logprobs: Vec<TokenLogprob>,
    /// Whether it comes from the verdict cache.
    pub cached: bool,
}

impl Judgement {
    /// The label mass of each choice: of the branches, or of the single choice; none of text alone.
    pub fn label_masses(&self) -> impl Iterator<Item = f64> {
        // Text without a choice has one certain label.
        let chosen = self.branches.is_empty() && self.distribution.probabilities().len() > 1;
        let own = Some(self.label_mass).filter(|_| chosen);
        own.into_iter().chain(self.branches.iter().map(|branch| branch.label_mass))
    }
}
