//! What verdicts share on the wire: what produced them, and what they took.

use indexmap::IndexMap;
use serde::Serialize;
use sha2::{Digest, Sha256};
use ulid::Ulid;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::app::ServiceError;
use crate::engine::EngineInfo;
use crate::grading::{Judgement, Kind, NamedRubric, Options, WeightedRubric};
use crate::judge::Judge;
use crate::panel::Account;
use crate::prompts::Neutralized;

/// What produced a verdict.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelRef {
    name: String,
    engine: &'static str,
    digest: String,
}

impl ModelRef {
    pub(super) fn of(engine: &EngineInfo) -> Self {
        Self { name: engine.model.clone(), engine: engine.engine, digest: engine.digest.clone() }
    }
}

/// A rubric or a prompt, and the digest of its content.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct NamedDigest {
    name: String,
    digest: String,
}

/// How text was generated.
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
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_nought(n: &f32) -> bool {
    *n == 0.0
}

/// Exactly what the model was given and what it then held.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Debug {
    prompt: String,
    answer: String,
    neutralized: Vec<Neutralized>,
}

/// What every verdict says of how it came about.
pub(super) struct Provenance {
    pub(super) id: String,
    pub(super) model: ModelRef,
    pub(super) rubric: NamedDigest,
    pub(super) prompt: NamedDigest,
    pub(super) sampling: SamplingUsed,
}

impl Provenance {
    pub(super) fn new(
        judge: &Judge,
        rubrics: &[WeightedRubric],
        multi: bool,
        options: &Options,
        kind: Kind,
    ) -> Result<Self, Problem> {
        let engine = judge.engine();
        let set = judge.prompt_set(options.prompt.as_deref()).map_err(ServiceError::from)?;
        let rubric = match rubrics {
            [one] if !multi => {
                NamedDigest { name: one.rubric.name.clone(), digest: one.rubric.rubric.digest().to_owned() }
            }
            many => NamedDigest { name: "multi".into(), digest: digest_of_all(many) },
        };
        let sampling = &options.sampling;
        Ok(Self {
            id: format!("vrd_{}", Ulid::new()),
            model: ModelRef::of(engine),
            rubric,
            prompt: NamedDigest {
                name: format!("{}/{}", set.name(), kind.name()),
                digest: set.digest(kind).to_owned(),
            },
            sampling: SamplingUsed {
                temperature: sampling.temperature,
                top_p: sampling.top_p,
                top_k: sampling.top_k,
                min_p: sampling.min_p,
                seed: sampling.seed,
                max_feedback_tokens: sampling.max_feedback_tokens,
                min_feedback_tokens: sampling.min_feedback_tokens,
            },
        })
    }
}

pub(super) fn rubric_ref(rubric: &NamedRubric) -> NamedDigest {
    NamedDigest { name: rubric.name.clone(), digest: rubric.rubric.digest().to_owned() }
}

fn digest_of_all(rubrics: &[WeightedRubric]) -> String {
    let mut hash = Sha256::new();
    rubrics
        .iter()
        .for_each(|weighted| hash.update(format!("{} {}\n", weighted.rubric.rubric.digest(), weighted.weight.get())));
    format!("sha256:{:x}", hash.finalize())
}

/// The debug part of a verdict: that of its first judgement.
pub(super) fn debug(asked: bool, first: Option<&Judgement>, account: &Account) -> Option<Debug> {
    first.filter(|_| asked).map(|judgement| Debug {
        prompt: judgement.prompt.clone(),
        answer: judgement.answer.clone(),
        neutralized: account.neutralized.to_vec(),
    })
}

/// A distribution by label.
pub(super) fn by_label(labels: impl IntoIterator<Item = String>, probabilities: &[f64]) -> IndexMap<String, f64> {
    labels.into_iter().zip(probabilities.iter().copied()).collect()
}
