//! Claims: whether what a response claims is supported, and whether it says what the reference claims.

use serde::{Deserialize, Serialize};

use super::checks::{About, Checked, MOST_QUESTIONS, ask_checks};
use super::{Answer, Ask, JudgeProfile, Observe, RunKey, Task, TaskError, check_unsampled, judged};
use crate::domain::calibration::Calibrator;
use crate::domain::{Annotator, InvalidRequest, InvalidVerdict, Item, Judgement, NamedDigest, Options, is_blank};
use crate::prompts::{Form, Said};

/// Claims, and what they are checked against.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// The instruction, and the reference and the documents.
    pub item: Item,
    /// The response.
    pub response: String,
    /// What its claims are checked against.
    pub against: Against,
    /// The claims of the response.
    pub claims: Vec<String>,
    /// The claims of the reference, which are looked for in the response; empty without a reference.
    pub reference_claims: Vec<String>,
    /// The options of the runs; nothing is sampled.
    pub options: Options,
}

/// What claims are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// The reference answer.
    Reference,
    /// The documents of the context.
    Context,
    /// The pictures of the conversation.
    Pictures,
}

/// Checked claims.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimsVerdict {
    /// The claims of the response; a yes is a supported claim.
    pub claims: Vec<Checked>,
    /// The claims of the reference; a yes is one that the response makes, too. Empty without a reference.
    pub reference_claims: Vec<Checked>,
    /// The share of the response's claims that are supported, 0 to 1.
    pub precision: f64,
    /// The share of the reference's claims that the response makes, 0 to 1; `None` without a reference.
    pub recall: Option<f64>,
    /// The first judgement, for its prompt and answer.
    pub judgement: Judgement,
}

impl ClaimsVerdict {
    /// The harmonic mean of precision and recall, 0 to 1; `None` without a recall.
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        let (precision, recall) = (self.precision, self.recall?);
        let sum = precision + recall;
        Some(if sum == 0.0 { 0.0 } else { 2.0 * precision * recall / sum })
    }
}

/// The part of the reference's claims.
const REFERENCE: usize = 1;

impl Claims {
    /// What is read for the claims of a part: a text, and the item around it.
    fn read(&self, part: usize) -> (Item, Option<(&'static str, Said<'_>)>) {
        let mut bare = Item { reference_answer: None, context: Vec::new(), ..self.item.clone() };
        match (part, self.against) {
            (REFERENCE, against) => {
                if against == Against::Pictures {
                    // Whether a text says something is not to be seen in pictures.
                    bare.instruction = bare.instruction.without_pictures();
                }
                (bare, Some(("response", self.response.as_str().into())))
            }
            (_, Against::Reference) => {
                (bare, self.item.reference_answer.as_deref().map(|text| ("reference_answer", text.into())))
            }
            (_, Against::Context) => (Item { context: self.item.context.clone(), ..bare }, None),
            (_, Against::Pictures) => (bare, None),
        }
    }
}

impl Task for Claims {
    type Verdict = ClaimsVerdict;

    fn kind(&self) -> &'static str {
        Form::Claims.name()
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        let count = self.claims.len();
        if !(1..=MOST_QUESTIONS).contains(&count) {
            let reason = format!("a request has 1 to {MOST_QUESTIONS} claims, this one has {count}");
            return Err(InvalidRequest::at("/claims", reason));
        }
        if let Some(index) = self.claims.iter().position(|claim| is_blank(claim)) {
            return Err(InvalidRequest::at(format!("/claims/{index}"), "the claim is empty"));
        }
        match self.against {
            Against::Reference if self.item.reference_answer.is_none() => {
                return Err(InvalidRequest::at(
                    "/reference_answer",
                    "send the reference that the claims are checked against",
                ));
            }
            Against::Context if self.item.context.is_empty() => {
                return Err(InvalidRequest::at("/context", "send the documents that the claims are checked against"));
            }
            Against::Pictures if self.item.instruction.pictures().next().is_none() => {
                return Err(InvalidRequest::at("/messages", "send the pictures that the claims are checked against"));
            }
            Against::Reference | Against::Context | Against::Pictures => {}
        }
        check_unsampled(&self.options)
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn runs(&self) -> Vec<RunKey> {
        let parts = if self.reference_claims.is_empty() { 1 } else { REFERENCE + 1 };
        (0..parts).map(|part| RunKey { part, ..RunKey::default() }).collect()
    }

    fn ask(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError> {
        let (item, read) = self.read(run.part);
        let (about, claims) = match (run.part, self.against) {
            (REFERENCE, _) => (About::Claim, &self.reference_claims),
            (_, Against::Pictures) => (About::Pictured, &self.claims),
            (_, Against::Reference | Against::Context) => (About::Claim, &self.claims),
        };
        ask_checks(judge, (&item, read), (about, claims), &self.options)
    }

    fn combine(
        &self,
        answers: Vec<Answer>,
        _calibrator: Calibrator<'_>,
        _observe: Observe<'_>,
    ) -> Result<ClaimsVerdict, InvalidVerdict> {
        let mut judgements = judged(answers).map(|(_, judgement)| judgement);
        let judgement = judgements.next().ok_or(InvalidVerdict::Empty)?;
        let claims = Checked::of(&self.claims, &judgement)?;
        let reference_claims = match judgements.next() {
            Some(judgement) => Checked::of(&self.reference_claims, &judgement)?,
            None => Vec::new(),
        };
        let share =
            |checked: &[Checked]| checked.iter().filter(|claim| claim.yes()).count() as f64 / checked.len() as f64;
        let recall = (!reference_claims.is_empty()).then(|| share(&reference_claims));
        Ok(ClaimsVerdict { precision: share(&claims), recall, claims, reference_claims, judgement })
    }

    fn text_len(&self) -> usize {
        let claims = self.claims.iter().chain(&self.reference_claims);
        self.item.text_len() + self.response.len() + claims.map(String::len).sum::<usize>()
    }

    fn longest_text(&self) -> String {
        self.item
            .longest_text(&[("/response", self.response.len()), ("/claims", self.claims.iter().map(String::len).sum())])
            .to_owned()
    }

    fn label(&self, _run: RunKey) -> &str {
        "inline"
    }

    fn annotator(&self) -> Option<&Annotator> {
        self.item.annotator.as_ref()
    }

    fn prompt(&self, judge: &JudgeProfile<'_>) -> Result<Option<NamedDigest>, TaskError> {
        judge.reading_templates(Form::Checklist, &self.options)
    }
}
