//! Provenance: what produced a verdict, so that the verdict can be identified and repeated.

use sha2::{Digest, Sha256};

use super::annotator::Annotator;
use super::examples::ExampleSet;
use super::instruction::WeightedRubric;
use super::request::Sampling;
use super::rubric::NamedRubric;

/// What produced a verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance {
    /// The model that judged.
    pub model: ModelRef,
    /// The rubric, or all rubrics of a multi-criteria verdict; `None` if the prompt was the caller's own.
    pub rubric: Option<NamedDigest>,
    /// The templates of the prompt; `None` if the prompt was the caller's own.
    pub prompt: Option<NamedDigest>,
    /// The examples that the judge was shown, if any.
    pub examples: Option<NamedDigest>,
    /// The persona whose judgement was requested, if any was.
    pub annotator: Option<NamedDigest>,
    /// How text was generated.
    pub sampling: Sampling,
}

/// A hosted model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The name that requests use.
    pub name: String,
    /// The engine that runs it.
    pub engine: &'static str,
    /// `sha256:<hex>` of the model.
    pub digest: String,
}

/// A rubric or a prompt, and the digest of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDigest {
    /// The name that requests use.
    pub name: String,
    /// `sha256:<hex>` of its content.
    pub digest: String,
}

impl NamedDigest {
    /// One rubric.
    #[must_use]
    pub fn of(rubric: &NamedRubric) -> Self {
        Self { name: rubric.name.clone(), digest: rubric.rubric.digest().to_owned() }
    }

    /// An annotator; the name of a caller's own text is `inline`.
    #[must_use]
    pub fn of_annotator(Annotator { name, profile }: &Annotator) -> Self {
        let digest = format!("sha256:{:x}", Sha256::digest(profile.as_bytes()));
        Self { name: name.clone().unwrap_or_else(|| "inline".to_owned()), digest }
    }

    /// A set of examples; the name of a request's own is `inline`.
    #[must_use]
    pub fn of_examples(examples: &ExampleSet) -> Self {
        Self { name: examples.name().to_owned(), digest: examples.digest().to_owned() }
    }

    /// Several rubrics with their weights and gates.
    #[must_use]
    pub fn of_all(rubrics: &[WeightedRubric]) -> Self {
        let mut hash = Sha256::new();
        for weighted in rubrics {
            let gate = weighted.gate.map(|gate| format!(" gate {gate}")).unwrap_or_default();
            hash.update(format!("{} {}{gate}\n", weighted.rubric.rubric.digest(), weighted.weight.get()));
        }
        Self { name: "multi".into(), digest: format!("sha256:{:x}", hash.finalize()) }
    }
}
