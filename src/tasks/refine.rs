//! A refinement: a response and its refined version, each graded alone.

use serde::{Deserialize, Serialize};

use super::{Absolute, Answer, Ask, JudgeProfile, Observe, Relative, RunKey, Task, TaskError};
use crate::domain::calibration::Calibrator;
use crate::domain::{Annotator, InvalidRequest, InvalidVerdict, NamedDigest, Options, RelativeRequest};

/// A pair that is graded one by one: A is the response, B its refined version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refinement(pub RelativeRequest);

/// What was gained.
#[derive(Debug, Clone, PartialEq)]
pub struct RefinementVerdict {
    /// The verdict on the response.
    pub response: Absolute,
    /// The verdict on its refined version.
    pub refined: Absolute,
    /// The reward of the refined version minus that of the response.
    pub gain: f64,
    /// The probability that the refined version scores higher, ties counted half.
    pub probability_better: f64,
}

impl Task for Refinement {
    type Verdict = RefinementVerdict;

    fn kind(&self) -> &'static str {
        Task::kind(&self.0)
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        self.0.check()
    }

    fn options(&self) -> &Options {
        Task::options(&self.0)
    }

    fn runs(&self) -> Vec<RunKey> {
        self.0.runs()
    }

    fn ask(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError> {
        self.0.ask(run, judge)
    }

    fn combine(
        &self,
        answers: Vec<Answer>,
        calibrator: Calibrator<'_>,
        observe: Observe<'_>,
    ) -> Result<RefinementVerdict, InvalidVerdict> {
        match self.0.combine(answers, calibrator, observe)? {
            Relative::Graded { a, b, probability_a, .. } => Ok(RefinementVerdict {
                gain: b.reward() - a.reward(),
                probability_better: 1.0 - probability_a,
                response: a,
                refined: b,
            }),
            Relative::Pairwise(_) => Err(InvalidVerdict::Empty),
        }
    }

    fn text_len(&self) -> usize {
        self.0.text_len()
    }

    fn longest_text(&self) -> String {
        let responses = [("/response", self.0.response_a.text_len()), ("/refined", self.0.response_b.text_len())];
        self.0.item.longest_text_or_examples(&responses, self.0.options.examples_len()).to_owned()
    }

    fn label(&self, run: RunKey) -> &str {
        self.0.label(run)
    }

    fn rubric(&self) -> Option<NamedDigest> {
        self.0.rubric()
    }

    fn annotator(&self) -> Option<&Annotator> {
        self.0.item.annotator.as_ref()
    }

    fn prompt(&self, judge: &JudgeProfile<'_>) -> Result<Option<NamedDigest>, TaskError> {
        self.0.prompt(judge)
    }
}
