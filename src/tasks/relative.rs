//! Relative grading: which of two responses is better, shown together in both orders or each graded alone.

use super::{
    Absolute, Answer, Ask, Criteria, JudgeProfile, Observation, Observe, RunKey, Task, TaskError, judged, rubric_of,
};
use crate::domain::calibration::Calibrator;
use crate::domain::{
    Annotator, Calibrated, Content, Distribution, InvalidRequest, InvalidVerdict, Judgement, Method, NamedDigest,
    Options, Order, Preference, RelativeRequest, RelativeVerdict, Turn, Weight, prefer_by_reward,
};
use crate::prompts::{Said, Subject};

/// A relative verdict.
#[derive(Debug, Clone, PartialEq)]
pub enum Relative {
    /// Both responses were shown together.
    Pairwise(RelativeVerdict),
    /// Each response was graded alone.
    Graded {
        /// The one with the higher reward.
        preference: Preference,
        /// The probability that A scores higher, ties counted half.
        probability_a: f64,
        /// The verdict on A.
        a: Absolute,
        /// The verdict on B.
        b: Absolute,
    },
}

impl Task for RelativeRequest {
    type Verdict = Relative;

    fn kind(&self) -> &'static str {
        self.method().kind().name()
    }

    fn settled(self, judge: &JudgeProfile<'_>) -> Self {
        Self { method: self.method.or(Some(judge.preference_method)), ..self }
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        Self::check(self)
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn runs(&self) -> Vec<RunKey> {
        match self.method() {
            Method::Pairwise => {
                let orders = if self.swap { &[Order::AB, Order::BA][..] } else { &[Order::AB] };
                orders.iter().map(|order| RunKey { order: Some(*order), ..RunKey::default() }).collect()
            }
            Method::Absolute => {
                let of = |response| {
                    (0..self.rubrics.len()).map(move |criterion| RunKey {
                        criterion,
                        response: Some(response),
                        ..RunKey::default()
                    })
                };
                of('A').chain(of('B')).collect()
            }
        }
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
    ) -> Result<Relative, InvalidVerdict> {
        let criteria = Criteria { rubrics: &self.rubrics, multi: self.multi, calibrator };
        let judged = judged(answers);
        match self.method() {
            Method::Pairwise => {
                let judgements = judged.map(|(_, judgement)| judgement).collect();
                let texts = [self.response_a.texts(), self.response_b.texts()];
                Relative::pairwise(criteria, texts.each_ref().map(String::as_str), judgements, self.tie_margin, observe)
            }
            Method::Absolute => {
                let (a, b): (Vec<_>, Vec<_>) = judged.partition(|(run, _)| run.response == Some('A'));
                let mut combine = |said: &Content, judged: Vec<_>| {
                    Absolute::combine(criteria, &said.texts(), judged.into_iter(), observe)
                };
                let (a, b) = (combine(&self.response_a, a)?, combine(&self.response_b, b)?);
                let pairs: Vec<(&Distribution, &Distribution, Weight)> = a
                    .verdicts()
                    .zip(b.verdicts())
                    .zip(&self.rubrics)
                    .map(|((a, b), rubric)| (&a.distribution, &b.distribution, rubric.weight))
                    .collect();
                let (preference, probability_a) = prefer_by_reward(a.reward(), b.reward(), &pairs, self.tie_margin)?;
                let probability_a = a.preferred_to(&b).unwrap_or(probability_a);
                let verdict = Relative::Graded { preference, probability_a, a, b };
                verdict.observe(criteria, observe);
                Ok(verdict)
            }
        }
    }

    fn text_len(&self) -> usize {
        Self::text_len(self)
    }

    fn longest_text(&self) -> String {
        let responses = [("/response_a", self.response_a.text_len()), ("/response_b", self.response_b.text_len())];
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
        judge.templates(self.method().kind(), &self.options)
    }
}

impl RelativeRequest {
    /// What a run judges.
    fn subject(&self, run: RunKey) -> Subject<'_> {
        let (a, b) = ((Said::from(&self.response_a), "response_a"), (Said::from(&self.response_b), "response_b"));
        let (item, rubric) = (&self.item, &self.rubrics[run.criterion].rubric.rubric);
        match run.response {
            Some(name) => Subject::Absolute { item, response: if name == 'A' { a.0 } else { b.0 }, rubric },
            None => {
                let ((first, first_field), (second, second_field)) =
                    if run.order == Some(Order::BA) { (b, a) } else { (a, b) };
                Subject::Relative { item, first, second, first_field, second_field, rubric }
            }
        }
    }
}

impl Relative {
    /// Combines the samples of both orders, and calibrates what comes of them.
    pub(super) fn pairwise(
        criteria: Criteria<'_>,
        texts: [&str; 2],
        judgements: Vec<Judgement>,
        tie_margin: f64,
        observe: Observe<'_>,
    ) -> Result<Self, InvalidVerdict> {
        let mut verdict = RelativeVerdict::combine(judgements, tie_margin)?;
        // A pair is compared by one rubric.
        if let Some(weighted) = criteria.rubrics.first() {
            criteria.calibrator.pair(&weighted.rubric.rubric, texts, tie_margin, &mut verdict);
        }
        let verdict = Self::Pairwise(verdict);
        verdict.observe(criteria, observe);
        Ok(verdict)
    }

    /// Shows the preference to metrics.
    fn observe(&self, Criteria { rubrics, multi, .. }: Criteria<'_>, observe: Observe<'_>) {
        let rubric = match rubrics {
            [one] if !multi => one.rubric.name.as_str(),
            _ => "multi",
        };
        let (preference, flipped) = (self.preference(), self.consistent() == Some(false));
        observe(Observation::Preference { rubric, preference, flipped });
    }

    /// How the two were compared.
    #[must_use]
    pub fn method(&self) -> Method {
        match self {
            Self::Pairwise(_) => Method::Pairwise,
            Self::Graded { .. } => Method::Absolute,
        }
    }

    /// Which response is better.
    #[must_use]
    pub fn preference(&self) -> Preference {
        match self {
            Self::Pairwise(verdict) => verdict.preference,
            Self::Graded { preference, .. } => *preference,
        }
    }

    /// The probability that A is better.
    #[must_use]
    pub fn probability_a(&self) -> f64 {
        match self {
            Self::Pairwise(verdict) => verdict.probability_a,
            Self::Graded { probability_a, .. } => *probability_a,
        }
    }

    /// Whether both orders agree; `None` unless both were judged.
    #[must_use]
    pub fn consistent(&self) -> Option<bool> {
        match self {
            Self::Pairwise(verdict) => verdict.consistent,
            Self::Graded { .. } => None,
        }
    }

    /// What made `probability_a` of the judge's own, if anything did and the two were shown together.
    #[must_use]
    pub fn calibration(&self) -> Option<&Calibrated> {
        match self {
            Self::Pairwise(verdict) => verdict.calibration.as_deref(),
            Self::Graded { .. } => None,
        }
    }

    /// The label mass.
    #[must_use]
    pub fn label_mass(&self) -> f64 {
        match self {
            Self::Pairwise(verdict) => verdict.label_mass,
            Self::Graded { a, b, .. } => a.label_mass().min(b.label_mass()),
        }
    }

    /// What a reasoning judge thought before the feedback.
    #[must_use]
    pub fn thoughts(&self) -> Option<&str> {
        match self {
            Self::Pairwise(verdict) => Some(verdict.speaker()?.thoughts.as_ref()?.text.as_str()),
            Self::Graded { .. } => None,
        }
    }

    /// The feedback of an AB judgement; `None` if each response was graded alone.
    #[must_use]
    pub fn feedback(&self) -> Option<&str> {
        match self {
            Self::Pairwise(verdict) => verdict.feedback(),
            Self::Graded { .. } => None,
        }
    }

    /// The judgements of the two together; none if each response was graded alone.
    #[must_use]
    pub fn judgements(&self) -> &[Judgement] {
        match self {
            Self::Pairwise(verdict) => &verdict.judgements,
            Self::Graded { .. } => &[],
        }
    }

    /// The first judgement.
    #[must_use]
    pub fn first_judgement(&self) -> Option<&Judgement> {
        match self {
            Self::Pairwise(verdict) => verdict.judgements.first(),
            Self::Graded { a, .. } => a.first_judgement(),
        }
    }
}
