//! Several responses before one judge or a jury: the verdict on each response or pair, of which a goal makes what the
//! caller wants. A jury decides on each alone, as it does on a single response or pair.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::candidates::{CandidateGoal, CandidateVerdicts, Candidates};
use super::jury::{Deliberation, JuryTask, Vote, seat};
use super::{Absolute, ByMethod, FailureIndex, Relative, ResponsePair};
use crate::domain::jury::{Juror, Jury, Noise};
use crate::domain::{InvalidVerdict, ManyRequest};

/// Keeps the verdict on each response or pair for the goal.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Parts<G>(G);

/// The task of judging several responses for a goal.
pub type JudgeParts<G> = Candidates<Parts<G>>;

impl<G: CandidateGoal> CandidateGoal for Parts<G> {
    type Verdict = CandidateVerdicts;

    const ALLOWS_FAILURES: bool = G::ALLOWS_FAILURES;

    fn combine(&self, _request: &ManyRequest, verdicts: CandidateVerdicts) -> CandidateVerdicts {
        verdicts
    }
}

impl<G: CandidateGoal + Clone> JudgeParts<G> {
    /// A task for a checked request.
    #[must_use]
    pub fn of(request: ManyRequest, goal: G) -> Self {
        Self::new(request, Parts(goal))
    }

    /// What the goal makes of the verdicts.
    #[must_use]
    pub fn made_of(&self, verdicts: CandidateVerdicts) -> G::Verdict {
        self.goal.0.combine(&self.request, verdicts)
    }
}

impl<G: CandidateGoal + Clone> JuryTask for JudgeParts<G> {
    fn for_juror(&self, juror: &Juror) -> Self {
        let mut own = self.clone();
        seat(juror, &mut own.request.item, &mut own.request.options);
        own
    }

    /// Whether the noise turns around any of its verdicts.
    fn is_flipped(&self, noise: Noise, juror: &Juror) -> bool {
        self.texts().iter().any(|texts| noise.flips(juror, texts))
    }

    fn deliberate(
        &self,
        jury: &Jury,
        votes: &[Vote<'_, CandidateVerdicts>],
    ) -> Result<Deliberation<CandidateVerdicts>, InvalidVerdict> {
        let texts = self.texts();
        let (mut spreads, mut kappas) = (Vec::new(), Vec::new());
        let ManyRequest { rubrics, multi, swap, tie_margin, .. } = &self.request;
        let verdict = match &self.parts {
            ByMethod::Pointwise(indexes) => {
                let all = (0..indexes.len()).map(|part| {
                    decided(
                        jury,
                        votes,
                        &texts[part],
                        |verdicts| graded(verdicts, part),
                        |heard| {
                            let decided = Absolute::deliberate(rubrics, *multi, jury.combine, heard)?;
                            spreads.extend(decided.spread);
                            kappas.extend(decided.kappa);
                            Ok(decided.verdict)
                        },
                    )
                });
                ByMethod::Pointwise(all.collect::<Result<_, _>>()?)
            }
            ByMethod::Pairwise(pairs) => {
                let all = pairs.iter().enumerate().map(|(part, ResponsePair { a, b, .. })| {
                    let verdict = decided(
                        jury,
                        votes,
                        &texts[part],
                        |verdicts| compared(verdicts, part),
                        |heard| {
                            let decided = Relative::deliberate(*swap, *tie_margin, jury.combine, heard)?;
                            spreads.extend(decided.spread);
                            kappas.extend(decided.kappa);
                            Ok(decided.verdict)
                        },
                    )?;
                    Ok(ResponsePair { a: *a, b: *b, verdict })
                });
                ByMethod::Pairwise(all.collect::<Result<_, InvalidVerdict>>()?)
            }
        };
        Ok(Deliberation { verdict, spread: mean(&spreads), kappa: mean(&kappas) })
    }
}

impl<G> JudgeParts<G> {
    /// The judged responses of each part, by what tells them from others.
    fn texts(&self) -> Vec<Vec<Cow<'_, str>>> {
        let response = |index: usize| self.request.responses[index].identity();
        match &self.parts {
            ByMethod::Pointwise(indexes) => indexes.iter().map(|index| vec![response(*index)]).collect(),
            ByMethod::Pairwise(pairs) => pairs.iter().map(|pair| vec![response(pair.a), response(pair.b)]).collect(),
        }
    }
}

/// The verdict of the jurors that have one on a part, or the first failure if they are fewer than the quorum.
fn decided<'a, V: 'a>(
    jury: &Jury,
    votes: &[Vote<'a, CandidateVerdicts>],
    texts: &[Cow<'_, str>],
    of: impl Fn(&'a CandidateVerdicts) -> Option<&'a Result<V, FailureIndex>>,
    decide: impl FnOnce(&[Vote<'a, V>]) -> Result<V, InvalidVerdict>,
) -> Result<Result<V, FailureIndex>, InvalidVerdict> {
    let (mut heard, mut failure) = (Vec::new(), None);
    for vote in votes {
        match of(vote.verdict) {
            Some(Ok(verdict)) => {
                let flipped = jury.noise.is_some_and(|noise| noise.flips(vote.juror, texts));
                let Vote { weight, juror, failures_before, .. } = *vote;
                heard.push(Vote { verdict, weight, flipped, juror, failures_before });
            }
            Some(Err(FailureIndex(index))) => {
                failure.get_or_insert(FailureIndex(vote.failures_before + index));
            }
            // The jurors were asked by another method, which the request excludes.
            None => return Err(InvalidVerdict::Empty),
        }
    }
    match failure {
        Some(failure) if heard.len() < jury.quorum => Ok(Err(failure)),
        _ => decide(&heard).map(Ok),
    }
}

/// A juror's verdict on a response.
fn graded(verdicts: &CandidateVerdicts, part: usize) -> Option<&Result<Absolute, FailureIndex>> {
    match verdicts {
        ByMethod::Pointwise(graded) => graded.get(part),
        ByMethod::Pairwise(_) => None,
    }
}

/// A juror's verdict on a pair.
fn compared(verdicts: &CandidateVerdicts, part: usize) -> Option<&Result<Relative, FailureIndex>> {
    match verdicts {
        ByMethod::Pairwise(pairs) => pairs.get(part).map(|pair| &pair.verdict),
        ByMethod::Pointwise(_) => None,
    }
}

/// The mean over the parts; `None` for none.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
