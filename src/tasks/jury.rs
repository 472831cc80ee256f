//! Juries: the task of each juror, and the verdict that their verdicts make.

use super::{Absolute, Relative, Task};
use crate::domain::jury::{Combine, Juror, Jury, Noise, PairBallot, ScoreBallot, free_marginal_kappa, spread};
use crate::domain::{
    AbsoluteRequest, AbsoluteVerdict, CriteriaVerdict, InvalidVerdict, Item, Judgement, Method, Options, Preference,
    RelativeRequest, RelativeVerdict, WeightedRubric,
};

/// A task that a jury can judge.
pub trait JuryTask: Task + Clone {
    /// The task as one juror judges it: with its own prompt set and annotator, if it has any.
    #[must_use]
    fn for_juror(&self, juror: &Juror) -> Self;

    /// Whether label noise turns around the verdict of a juror.
    fn is_flipped(&self, noise: Noise, juror: &Juror) -> bool;

    /// Makes the verdict of a jury of the verdicts of its jurors.
    ///
    /// # Errors
    /// If there are none, or they are not of this task.
    fn deliberate(
        &self,
        jury: &Jury,
        votes: &[Vote<'_, Self::Verdict>],
    ) -> Result<Deliberation<Self::Verdict>, InvalidVerdict>;
}

/// The verdict of a juror, and how it counts.
#[derive(Debug, Clone, Copy)]
pub struct Vote<'a, V> {
    /// The verdict.
    pub verdict: &'a V,
    /// Above 0.
    pub weight: f64,
    /// Whether label noise turns it around.
    pub flipped: bool,
    /// Who gave it.
    pub juror: &'a Juror,
    /// The number of failures of the jurors before, which come before its own in those of the jury.
    pub failures_before: usize,
}

/// The verdict of a jury, and how far its jurors agree.
#[derive(Debug, Clone, PartialEq)]
pub struct Deliberation<V> {
    /// The verdict.
    pub verdict: V,
    /// The standard deviation of the jurors' rewards, or of their `probability_a`, with n - 1; `None` for fewer than
    /// two.
    pub spread: Option<f64>,
    /// Free-marginal kappa of their scores or preferences, the mean over several rubrics; `None` for fewer than two
    /// jurors.
    pub kappa: Option<f64>,
}

impl JuryTask for AbsoluteRequest {
    fn for_juror(&self, juror: &Juror) -> Self {
        let mut own = self.clone();
        seat(juror, &mut own.item, &mut own.options);
        own
    }

    fn is_flipped(&self, noise: Noise, juror: &Juror) -> bool {
        noise.flips(juror, &[self.response.identity()])
    }

    fn deliberate(&self, jury: &Jury, votes: &[Vote<'_, Absolute>]) -> Result<Deliberation<Absolute>, InvalidVerdict> {
        Absolute::deliberate(&self.rubrics, self.multi, jury.combine, votes)
    }
}

impl JuryTask for RelativeRequest {
    fn for_juror(&self, juror: &Juror) -> Self {
        let mut own = self.clone();
        seat(juror, &mut own.item, &mut own.options);
        own
    }

    fn is_flipped(&self, noise: Noise, juror: &Juror) -> bool {
        noise.flips(juror, &[self.response_a.identity(), self.response_b.identity()])
    }

    fn deliberate(&self, jury: &Jury, votes: &[Vote<'_, Relative>]) -> Result<Deliberation<Relative>, InvalidVerdict> {
        let combine = jury.combine;
        let pairwise = votes.iter().any(|vote| vote.verdict.method() == Method::Pairwise);
        if pairwise {
            return Relative::deliberate(self.swap, self.tie_margin, combine, votes);
        }
        let ballots: Vec<PairBallot> = votes.iter().map(Vote::ballot).collect();
        let (spread, kappa) = (spread_of(&ballots), kappa_of(&ballots, true));
        Ok(Deliberation { verdict: self.graded(combine, votes, ballots)?, spread, kappa })
    }
}

impl Relative {
    /// The verdict of a jury on two responses, of whose jurors at least one compared them in pairs.
    pub(super) fn deliberate(
        swap: bool,
        tie_margin: f64,
        combine: Combine,
        votes: &[Vote<'_, Self>],
    ) -> Result<Deliberation<Self>, InvalidVerdict> {
        let ballots: Vec<PairBallot> = votes.iter().map(Vote::ballot).collect();
        let (spread, kappa) = (spread_of(&ballots), kappa_of(&ballots, swap || tie_margin > 0.0));
        let by_mean = |probability_a: f64| Preference::with_margin(probability_a, tie_margin);
        let judgements = votes.iter().flat_map(|vote| vote.verdict.judgements()).cloned().collect();
        let verdict = Self::Pairwise(RelativeVerdict::of_jury(ballots, combine, by_mean, judgements)?);
        Ok(Deliberation { verdict, spread, kappa })
    }
}

/// The spread of `probability_a`.
fn spread_of(ballots: &[PairBallot]) -> Option<f64> {
    spread(&ballots.iter().map(|ballot| ballot.probability_a).collect::<Vec<_>>())
}

/// The agreement on the preference, of which a tie is one if there can be any.
fn kappa_of(ballots: &[PairBallot], ties: bool) -> Option<f64> {
    let label = |ballot: &PairBallot| match ballot.preference {
        Preference::A => 0,
        Preference::B => 1,
        Preference::Tie => 2,
    };
    free_marginal_kappa(&ballots.iter().map(label).collect::<Vec<_>>(), if ties { 3 } else { 2 })
}

impl Vote<'_, Relative> {
    fn ballot(&self) -> PairBallot {
        let ballot = PairBallot {
            preference: self.verdict.preference(),
            probability_a: self.verdict.probability_a(),
            consistent: self.verdict.consistent(),
            label_mass: self.verdict.label_mass(),
            weight: self.weight,
        };
        if self.flipped { ballot.flipped() } else { ballot }
    }
}

impl RelativeRequest {
    /// The verdict of jurors who all graded each response alone: so does the jury, and prefers the higher reward.
    fn graded(
        &self,
        combine: Combine,
        votes: &[Vote<'_, Relative>],
        ballots: Vec<PairBallot>,
    ) -> Result<Relative, InvalidVerdict> {
        let grades = |of_a: bool| {
            let votes: Vec<Vote<'_, Absolute>> = votes
                .iter()
                .filter_map(|vote| match vote.verdict {
                    Relative::Graded { a, b, .. } => {
                        let verdict = if of_a == vote.flipped { b } else { a };
                        let Vote { weight, juror, failures_before, .. } = *vote;
                        Some(Vote { verdict, weight, flipped: false, juror, failures_before })
                    }
                    Relative::Pairwise(_) => None,
                })
                .collect();
            Absolute::of_jury(&self.rubrics, self.multi, combine, &votes)
        };
        let (a, b) = (grades(true)?, grades(false)?);
        let margin = a.reward() - b.reward();
        let by_mean = |_| Preference::of_margin(margin, self.tie_margin);
        let RelativeVerdict { preference, probability_a, .. } =
            RelativeVerdict::of_jury(ballots, combine, by_mean, Vec::new())?;
        Ok(Relative::Graded { preference, probability_a, a, b })
    }
}

impl Absolute {
    /// The verdict of a jury on a response.
    pub(super) fn deliberate(
        rubrics: &[WeightedRubric],
        multi: bool,
        combine: Combine,
        votes: &[Vote<'_, Self>],
    ) -> Result<Deliberation<Self>, InvalidVerdict> {
        let reward = |vote: &Vote<'_, Self>| {
            if vote.flipped { 1.0 - vote.verdict.reward() } else { vote.verdict.reward() }
        };
        Ok(Deliberation {
            verdict: Self::of_jury(rubrics, multi, combine, votes)?,
            spread: spread(&votes.iter().map(reward).collect::<Vec<_>>()),
            kappa: kappa(rubrics.len(), votes),
        })
    }

    /// The verdict of a jury, by each rubric.
    fn of_jury(
        rubrics: &[WeightedRubric],
        multi: bool,
        combine: Combine,
        votes: &[Vote<'_, Self>],
    ) -> Result<Self, InvalidVerdict> {
        let criteria = rubrics.iter().enumerate().map(|(criterion, weighted)| {
            let of = |vote: &Vote<'_, Self>| {
                let verdict = vote.verdict.verdicts().nth(criterion).ok_or(InvalidVerdict::Empty)?;
                Ok((ScoreBallot::of(verdict, vote.weight, vote.flipped), verdict.judgements.clone()))
            };
            let (ballots, judgements): (Vec<ScoreBallot>, Vec<Vec<Judgement>>) =
                votes.iter().map(of).collect::<Result<Vec<_>, InvalidVerdict>>()?.into_iter().unzip();
            let scale = weighted.rubric.rubric.scale();
            Ok((AbsoluteVerdict::of_jury(scale, ballots, combine, judgements.concat())?, weighted.weight))
        });
        let mut criteria = criteria.collect::<Result<Vec<_>, InvalidVerdict>>()?;
        if multi {
            let gates = rubrics.iter().map(|weighted| weighted.gate);
            return Ok(Self::Multi(CriteriaVerdict::combine(criteria)?.gated(gates)));
        }
        criteria.pop().map(|(verdict, _)| Self::Single(verdict)).ok_or(InvalidVerdict::Empty)
    }
}

/// The mean over the rubrics of the agreement on the scores by each.
fn kappa(rubrics: usize, votes: &[Vote<'_, Absolute>]) -> Option<f64> {
    let by_rubric = (0..rubrics).map(|criterion| {
        let verdicts = votes.iter().filter_map(|vote| Some((vote, vote.verdict.verdicts().nth(criterion)?)));
        let ballots: Vec<(usize, usize)> = verdicts
            .map(|(vote, verdict)| (ScoreBallot::of(verdict, vote.weight, vote.flipped).score, verdict.scale.levels()))
            .collect();
        let levels = ballots.first()?.1;
        free_marginal_kappa(&ballots.iter().map(|(score, _)| *score).collect::<Vec<_>>(), levels)
    });
    let by_rubric: Vec<f64> = by_rubric.collect::<Option<_>>()?;
    Some(by_rubric.iter().sum::<f64>() / by_rubric.len() as f64)
}

/// Puts a juror's own prompt set and annotator in place of those of the request.
pub(super) fn seat(juror: &Juror, item: &mut Item, options: &mut Options) {
    if juror.prompt.is_some() {
        options.prompt.clone_from(&juror.prompt);
    }
    if juror.annotator.is_some() {
        item.annotator.clone_from(&juror.annotator);
    }
}
