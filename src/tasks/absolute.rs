//! Absolute grading: one response by one rubric, or by several with weights.

use super::{Answer, Ask, Criteria, JudgeProfile, Observation, Observe, RunKey, Task, TaskError, judged, rubric_of};
use crate::domain::calibration::{Calibrator, preferred};
use crate::domain::{
    AbsoluteRequest, AbsoluteVerdict, Annotator, CriteriaVerdict, InvalidRequest, InvalidVerdict, Judgement, Kind,
    NamedDigest, Options, Turn, Weight,
};
use crate::prompts::Subject;

/// An absolute verdict by one rubric or several.
#[derive(Debug, Clone, PartialEq)]
pub enum Absolute {
    /// By one rubric.
    Single(AbsoluteVerdict),
    /// By a list of rubrics with weights.
    Multi(CriteriaVerdict),
}

impl Task for AbsoluteRequest {
    type Verdict = Absolute;

    fn kind(&self) -> &'static str {
        Kind::Absolute.name()
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        Self::check(self)
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn runs(&self) -> Vec<RunKey> {
        (0..self.rubrics.len()).map(|criterion| RunKey { criterion, ..RunKey::default() }).collect()
    }

    fn ask(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError> {
        judge.grading(&self.subject(run), &self.options)
    }

    fn messages(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Vec<Turn>, TaskError> {
        judge.messages(&self.subject(run), &self.options)
    }

    fn combine(
        &self,
        answers: Vec<Answer>,
        calibrator: Calibrator<'_>,
        observe: Observe<'_>,
    ) -> Result<Absolute, InvalidVerdict> {
        let criteria = Criteria { rubrics: &self.rubrics, multi: self.multi, calibrator };
        Absolute::combine(criteria, &self.response.texts(), judged(answers), observe)
    }

    fn text_len(&self) -> usize {
        Self::text_len(self)
    }

    fn longest_text(&self) -> String {
        let responses = [("/response", self.response.text_len())];
        self.item.longest_text_or_examples(&responses, self.options.examples_len()).to_owned()
    }

    fn label(&self, run: RunKey) -> &str {
        &self.rubrics[run.criterion].rubric.name
    }

    fn rubric(&self) -> Option<NamedDigest> {
        rubric_of(&self.rubrics, self.multi)
    }

    fn annotator(&self) -> Option<&Annotator> {
        self.item.annotator.as_ref()
    }

    fn prompt(&self, judge: &JudgeProfile<'_>) -> Result<Option<NamedDigest>, TaskError> {
        judge.templates(Kind::Absolute, &self.options)
    }
}

impl AbsoluteRequest {
    /// What a run judges.
    fn subject(&self, run: RunKey) -> Subject<'_> {
        let rubric = &self.rubrics[run.criterion].rubric.rubric;
        Subject::Absolute { item: &self.item, response: (&self.response).into(), rubric }
    }
}

impl Absolute {
    /// Combines the samples of each criterion, and calibrates what comes of them.
    pub(super) fn combine(
        Criteria { rubrics, multi, calibrator }: Criteria<'_>,
        response: &str,
        judged: impl Iterator<Item = (RunKey, Judgement)>,
        observe: Observe<'_>,
    ) -> Result<Self, InvalidVerdict> {
        let mut by_criterion: Vec<Vec<Judgement>> = vec![Vec::new(); rubrics.len()];
        judged.for_each(|(run, judgement)| by_criterion[run.criterion].push(judgement));
        let verdicts = rubrics.iter().zip(by_criterion).map(|(weighted, judgements)| {
            let rubric = &weighted.rubric.rubric;
            let mut verdict = AbsoluteVerdict::combine(rubric.scale(), judgements)?;
            calibrator.absolute(rubric, response, &mut verdict);
            observe(Observation::Reward { rubric: &weighted.rubric.name, reward: verdict.reward });
            Ok((verdict, weighted.weight))
        });
        let mut verdicts: Vec<(AbsoluteVerdict, Weight)> = verdicts.collect::<Result<_, InvalidVerdict>>()?;
        if multi {
            let gates = rubrics.iter().map(|weighted| weighted.gate);
            return Ok(Self::Multi(CriteriaVerdict::combine(verdicts)?.gated(gates)));
        }
        verdicts.pop().map(|(verdict, _)| Self::Single(verdict)).ok_or(InvalidVerdict::Empty)
    }

    /// The reward of the verdict, or the weighted mean of several.
    #[must_use]
    pub fn reward(&self) -> f64 {
        match self {
            Self::Single(verdict) => verdict.reward,
            Self::Multi(criteria) => criteria.reward,
        }
    }

    /// The probability that people prefer this response to another one, if both went through one reward model.
    pub(super) fn preferred_to(&self, other: &Self) -> Option<f64> {
        let (Self::Single(one), Self::Single(other)) = (self, other) else { return None };
        let (one, other) = (one.calibration.as_deref()?, other.calibration.as_deref()?);
        (one.digest == other.digest).then_some(preferred(one.log_odds?, other.log_odds?))
    }

    /// The lowest label mass of the criteria.
    #[must_use]
    pub fn label_mass(&self) -> f64 {
        self.verdicts().map(|verdict| verdict.label_mass).fold(1.0, f64::min)
    }

    /// The verdict of each criterion.
    pub fn verdicts(&self) -> impl Iterator<Item = &AbsoluteVerdict> {
        let (one, many) = match self {
            Self::Single(verdict) => (Some(verdict), None),
            Self::Multi(criteria) => (None, Some(criteria.criteria.iter().map(|(verdict, _)| verdict))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The score; `None` with several rubrics.
    #[must_use]
    pub fn score(&self) -> Option<i32> {
        match self {
            Self::Single(verdict) => Some(verdict.score.value()),
            Self::Multi(_) => None,
        }
    }

    /// The feedback; `None` in score mode and with several rubrics.
    #[must_use]
    pub fn feedback(&self) -> Option<&str> {
        match self {
            Self::Single(verdict) => verdict.feedback(),
            Self::Multi(_) => None,
        }
    }

    /// The first judgement.
    #[must_use]
    pub fn first_judgement(&self) -> Option<&Judgement> {
        self.verdicts().next()?.judgements.first()
    }
}
