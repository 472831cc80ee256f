//! Shared wire types of verdicts: provenance and statistics.

use indexmap::IndexMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{self, Calibrated, Judgement, MassKind, Provenance, Timing, Turn, Usage};
use crate::engine::remote::NAME as REMOTE;
use crate::prompts::EscapedMarker;
use crate::service::{RunStats, SeenPicture};

/// The model of a verdict.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelRef {
    name: String,
    engine: &'static str,
    digest: String,
}

impl ModelRef {
    pub(super) fn of(domain::ModelRef { name, engine, digest }: domain::ModelRef) -> Self {
        Self { name, engine, digest }
    }
}

/// A rubric or a prompt, and the digest of its content.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct NamedDigest {
    name: String,
    digest: String,
}

impl NamedDigest {
    pub(super) fn of(domain::NamedDigest { name, digest }: domain::NamedDigest) -> Self {
        Self { name, digest }
    }
}

/// The sampling of generated text.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SamplingUsed {
    temperature: f32,
    top_p: f32,
    #[serde(skip_serializing_if = "is_zero")]
    top_k: u32,
    #[serde(skip_serializing_if = "is_nought")]
    min_p: f32,
    seed: u64,
    max_feedback_tokens: u32,
    #[serde(skip_serializing_if = "is_zero")]
    min_feedback_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_thought_tokens: Option<u32>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_nought(n: &f32) -> bool {
    *n == 0.0
}

/// The calibration or the fit that a verdict went through.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Calibration {
    /// Of its file.
    digest: String,
    /// The judge's own reward; of a pair, its own `probability_a`.
    raw_reward: f64,
}

impl Calibration {
    pub(super) fn of(calibrated: Option<&Calibrated>) -> Option<Self> {
        calibrated.map(|Calibrated { digest, raw_reward, .. }| Self { digest: digest.clone(), raw_reward: *raw_reward })
    }
}

/// The exact prompt and answer of the model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Debug {
    prompt: String,
    answer: String,
    neutralized: Vec<EscapedMarker>,
}

/// A picture that the model saw.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeenPicture)]
pub(super) struct SeenPictureBody {
    /// Where the request has it.
    pointer: String,
    /// Of its file, in hexadecimal digits.
    sha256: String,
    /// Columns of pixels; upright, if the file says how it lies.
    width: u32,
    height: u32,
    /// Tokens that it took of the context.
    tokens: usize,
}

/// A judgement as a training example; with `debug`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Told {
    /// The prompt as messages, before the model's chat template; markers in judged texts are escaped.
    messages: Vec<ToldMessage>,
    /// All that the model's turn held, forced text included.
    answer: String,
}

/// A turn of a prompt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PromptMessage)]
struct ToldMessage {
    role: &'static str,
    content: String,
}

impl Told {
    /// `None` without debug output.
    pub(super) fn of(judgement: &Judgement) -> Option<Self> {
        let message = |Turn { role, content }: &Turn| ToldMessage { role: role.name(), content: content.texts() };
        let messages: Vec<ToldMessage> = judgement.turns.iter().map(message).collect();
        (!messages.is_empty()).then(|| Self { messages, answer: judgement.answer.clone() })
    }
}

/// Provenance and statistics of a verdict.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Produced {
    model: ModelRef,
    /// What it was judged by: the rubric, or the label set; none for methods without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rubric: Option<NamedDigest>,
    prompt: NamedDigest,
    /// The annotator, if one was requested; `inline` if it was a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    annotator: Option<NamedDigest>,
    /// The pictures of the request, all of which the model saw.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pictures: Vec<SeenPictureBody>,
    /// With pictures, the digest of what the model sees with.
    #[serde(skip_serializing_if = "Option::is_none")]
    eyes: Option<String>,
    /// The examples that the judge was shown, if any; `inline` if they were sent with the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    examples: Option<NamedDigest>,
    usage: Usage,
    timing_ms: Timing,
    sampling: SamplingUsed,
    version: &'static str,
    cached: bool,
    /// With adaptive `samples`, the number of samples that were taken: the largest of its rubrics, orders or responses.
    #[serde(skip_serializing_if = "Option::is_none")]
    samples_used: Option<u32>,
    /// With the engine `remote`, how `label_mass` was obtained: `exact` (from the whole distribution, as other engines
    /// always do), `bounded` (a lower bound, from the most probable tokens) or `sampled` (a share of samples).
    #[serde(skip_serializing_if = "Option::is_none")]
    label_mass_kind: Option<&'static str>,
    /// If bounded, the upper bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    label_mass_at_most: Option<f64>,
    /// If sampled, the number n of answers; a probability p has the standard error √(p(1−p)/n).
    #[serde(skip_serializing_if = "Option::is_none")]
    label_mass_samples: Option<u32>,
}

impl SeenPictureBody {
    fn of(SeenPicture { pointer, sha256, width, height, tokens }: &SeenPicture) -> Self {
        let (pointer, sha256) = (pointer.to_string(), sha256.clone());
        Self { pointer, sha256, width: *width, height: *height, tokens: *tokens }
    }
}

impl Produced {
    /// `label_mass` is that of the verdict, if it has one.
    pub(super) fn new(provenance: Provenance, stats: &RunStats, label_mass: Option<f64>) -> Self {
        let Provenance { model, rubric, prompt, annotator, examples, sampling } = provenance;
        let label_mass_kind = (model.engine == REMOTE).then(|| stats.mass.name());
        Self {
            model: ModelRef::of(model),
            rubric: rubric.map(NamedDigest::of),
            prompt: NamedDigest::of(prompt.expect("verdicts have a prompt set")),
            annotator: annotator.map(NamedDigest::of),
            pictures: stats.pictures.iter().map(SeenPictureBody::of).collect(),
            eyes: stats.eyes.clone(),
            examples: examples.map(NamedDigest::of),
            usage: stats.usage,
            timing_ms: stats.timing,
            sampling: SamplingUsed {
                temperature: sampling.temperature,
                top_p: sampling.top_p,
                top_k: sampling.top_k,
                min_p: sampling.min_p,
                seed: sampling.seed,
                max_feedback_tokens: sampling.max_feedback_tokens,
                min_feedback_tokens: sampling.min_feedback_tokens,
                max_thought_tokens: sampling.max_thought_tokens,
            },
            version: env!("CARGO_PKG_VERSION"),
            cached: stats.cached,
            samples_used: stats.samples_used,
            label_mass_kind,
            label_mass_at_most: match stats.mass {
                MassKind::Bounded { unseen } => label_mass.map(|mass| (mass + unseen).min(1.0)),
                MassKind::Exact | MassKind::Sampled { .. } => None,
            },
            label_mass_samples: match stats.mass {
                MassKind::Sampled { samples } => Some(samples),
                MassKind::Exact | MassKind::Bounded { .. } => None,
            },
        }
    }
}

/// The debug part of a verdict, from its first judgement.
pub(super) fn debug(asked: bool, first: Option<&Judgement>, stats: &RunStats) -> Option<Debug> {
    first.filter(|_| asked).map(|judgement| Debug {
        prompt: judgement.prompt.to_string(),
        answer: judgement.answer.clone(),
        neutralized: stats.neutralized.to_vec(),
    })
}

/// A distribution by label.
pub(super) fn by_label(labels: impl IntoIterator<Item = String>, probabilities: &[f64]) -> IndexMap<String, f64> {
    labels.into_iter().zip(probabilities.iter().copied()).collect()
}
