//! The arithmetic of juries: from what each juror says to what the jury says.

use super::Combine;
use crate::domain::distribution::Distribution;
use crate::domain::judgement::Judgement;
use crate::domain::scale::Scale;
use crate::domain::verdict::{AbsoluteVerdict, InvalidVerdict, Preference, RelativeVerdict, complement_exact};

/// What one juror says of a response.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreBallot {
    /// The index of its score, from the lowest.
    pub score: usize,
    /// Over the scores, lowest first.
    pub distribution: Distribution,
    /// 0..1
    pub reward: f64,
    /// 0..1
    pub label_mass: f64,
    /// Above 0.
    pub weight: f64,
}

/// What one juror says of two responses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairBallot {
    /// Which is better.
    pub preference: Preference,
    /// A multiple of 2⁻⁴⁰.
    pub probability_a: f64,
    /// Whether both orders agree, if both were judged.
    pub consistent: Option<bool>,
    /// 0..1
    pub label_mass: f64,
    /// Above 0.
    pub weight: f64,
}

impl ScoreBallot {
    /// The ballot of a verdict, turned around on the scale if `flipped`.
    #[must_use]
    pub fn of(verdict: &AbsoluteVerdict, weight: f64, flipped: bool) -> Self {
        let score = verdict.scale.scores().take_while(|score| *score != verdict.score).count();
        let AbsoluteVerdict { reward, label_mass, .. } = *verdict;
        let distribution = verdict.distribution.clone();
        if flipped {
            let score = verdict.scale.levels() - 1 - score;
            return Self { score, distribution: distribution.reversed(), reward: 1.0 - reward, label_mass, weight };
        }
        Self { score, distribution, reward, label_mass, weight }
    }
}

impl PairBallot {
    /// The ballot with A and B exchanged.
    #[must_use]
    pub fn flipped(self) -> Self {
        Self { preference: self.preference.exchanged(), probability_a: 1.0 - self.probability_a, ..self }
    }
}

impl AbsoluteVerdict {
    /// The verdict of a jury, made of these ballots. Numbers are those of the jurors that count: with
    /// [`Combine::Majority`] those that gave the score. `agreement` is the share of the votes that gave it. The label
    /// mass is the lowest.
    ///
    /// # Errors
    /// When there are none, or when their labels are not the scale's.
    pub fn of_jury(
        scale: Scale,
        mut ballots: Vec<ScoreBallot>,
        combine: Combine,
        judgements: Vec<Judgement>,
    ) -> Result<Self, InvalidVerdict> {
        // In an order of their own, so that rounding does not depend on the order of the jurors.
        ballots.sort_by(|a, b| {
            let numbers = |ballot: &ScoreBallot| [ballot.reward, ballot.label_mass, ballot.weight];
            let probabilities = |ballot: &ScoreBallot| ballot.distribution.probabilities().to_vec();
            let order = |a: &[f64], b: &[f64]| {
                let unequal = a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
                unequal.unwrap_or(std::cmp::Ordering::Equal)
            };
            let by_numbers = a.score.cmp(&b.score).then_with(|| order(&numbers(a), &numbers(b)));
            by_numbers.then_with(|| order(&probabilities(a), &probabilities(b)))
        });
        let all: Vec<&ScoreBallot> = ballots.iter().collect();
        let mean = mean_distribution(&all)?;
        if mean.probabilities().len() != scale.levels() {
            return Err(InvalidVerdict::Labels { expected: scale.levels(), found: mean.probabilities().len() });
        }
        let votes = |label: usize| -> f64 { all.iter().filter(|b| b.score == label).map(|b| b.weight).sum() };
        let first = all[0].score;
        let winner = match combine {
            _ if all.iter().all(|ballot| ballot.score == first) => first,
            Combine::Mean | Combine::Weighted => mean.argmax(),
            Combine::Majority => (1..scale.levels()).fold(0, |best, label| {
                let key = |label: usize| (votes(label), mean.probabilities()[label]);
                if key(label) > key(best) { label } else { best }
            }),
        };
        let counted: Vec<&ScoreBallot> =
            all.iter().copied().filter(|ballot| combine != Combine::Majority || ballot.score == winner).collect();
        let distribution = mean_distribution(&counted)?;
        let expected_score = distribution.expectation(scale.scores().map(|score| f64::from(score.value())));
        Ok(Self {
            scale,
            score: scale.score(winner).ok_or(InvalidVerdict::Empty)?,
            expected_score,
            reward: weighted_mean(counted.iter().map(|ballot| (ballot.reward, ballot.weight))),
            label_mass: counted.iter().map(|ballot| ballot.label_mass).fold(1.0, f64::min),
            agreement: votes(winner) / all.iter().map(|ballot| ballot.weight).sum::<f64>(),
            distribution,
            calibration: None,
            judgements,
        })
    }
}

impl RelativeVerdict {
    /// The verdict of a jury, made of these ballots. With [`Combine::Majority`], numbers are those of the jurors that
    /// have the preference. `by_mean` is the preference for the mean `probability_a` of all jurors, where they differ.
    /// `consistent` is what more than half of the jurors were that judged both orders. The label
    /// mass is the lowest.
    ///
    /// # Errors
    /// When there are none.
    pub fn of_jury(
        mut ballots: Vec<PairBallot>,
        combine: Combine,
        by_mean: impl FnOnce(f64) -> Preference,
        judgements: Vec<Judgement>,
    ) -> Result<Self, InvalidVerdict> {
        ballots.sort_by(|a, b| a.probability_a.total_cmp(&b.probability_a).then(a.weight.total_cmp(&b.weight)));
        let Some(first) = ballots.first() else { return Err(InvalidVerdict::Empty) };
        let by_mean = by_mean(mean_of_pair(&ballots));
        let preference = match combine {
            _ if ballots.iter().all(|ballot| ballot.preference == first.preference) => first.preference,
            Combine::Mean | Combine::Weighted => by_mean,
            Combine::Majority => majority(&ballots, by_mean),
        };
        let mut counted: Vec<PairBallot> = ballots.clone();
        if combine == Combine::Majority && ballots.iter().any(|ballot| ballot.preference == preference) {
            counted.retain(|ballot| ballot.preference == preference);
        }
        let judged_both = ballots.iter().filter_map(|ballot| Some((ballot.consistent?, ballot.weight)));
        let (consistent, both): (f64, f64) = judged_both.fold((0.0, 0.0), |(yes, all), (consistent, weight)| {
            (if consistent { yes + weight } else { yes }, all + weight)
        });
        Ok(Self {
            preference,
            probability_a: mean_of_pair(&counted),
            consistent: (both > 0.0).then_some(consistent > both / 2.0),
            label_mass: counted.iter().map(|ballot| ballot.label_mass).fold(1.0, f64::min),
            calibration: None,
            judgements,
        })
    }
}

/// The preference with the most votes; of several with equally many, the one that the mean of all jurors has, or a tie.
fn majority(ballots: &[PairBallot], by_mean: Preference) -> Preference {
    let all = [Preference::A, Preference::B, Preference::Tie];
    let votes = |preference: Preference| ballots.iter().filter(|ballot| ballot.preference == preference).count();
    let most = all.into_iter().map(votes).max().unwrap_or_default();
    let leaders: Vec<Preference> = all.into_iter().filter(|preference| votes(*preference) == most).collect();
    match leaders[..] {
        [only] => only,
        _ if leaders.contains(&by_mean) => by_mean,
        _ => Preference::Tie,
    }
}

/// The weighted mean of `probability_a`. Exchanging A and B gives the exact complement.
fn mean_of_pair(ballots: &[PairBallot]) -> f64 {
    let of = |exchange: bool| {
        weighted_mean(ballots.iter().map(|ballot| {
            let p = ballot.probability_a;
            (if exchange { 1.0 - p } else { p }, ballot.weight)
        }))
    };
    complement_exact(of(false), of(true))
}

fn mean_distribution(ballots: &[&ScoreBallot]) -> Result<Distribution, InvalidVerdict> {
    Ok(Distribution::weighted_mean(ballots.iter().map(|ballot| (&ballot.distribution, ballot.weight)))?)
}

fn weighted_mean(values: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, total) = values.fold((0.0, 0.0), |(sum, total), (value, weight)| (sum + value * weight, total + weight));
    sum / total
}

/// The standard deviation of the jurors' values, with n - 1; `None` for fewer than two.
#[must_use]
pub fn spread(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt())
}

/// Free-marginal kappa of the labels that jurors gave one item, where there are `levels` labels: the share of pairs of
/// jurors that agree, corrected for the share by chance, which is 1 / `levels` (Randolph 2005, "Free-marginal multirater
/// kappa"; Brennan and Prediger 1981). 1 is full agreement, 0 that of chance. `None` for fewer than two jurors.
///
/// Kappas that estimate chance from the labels themselves, as Fleiss' does, say nothing of one item: it would be
/// -1 / (n - 1) unless all agree, and undefined if they do.
#[must_use]
pub fn free_marginal_kappa(labels: &[usize], levels: usize) -> Option<f64> {
    let jurors = labels.len();
    let agreeing: usize = labels.iter().map(|label| labels.iter().filter(|other| *other == label).count() - 1).sum();
    let (pairs, chance) = ((jurors * jurors.saturating_sub(1)) as f64, 1.0 / levels as f64);
    (jurors > 1).then(|| (agreeing as f64 / pairs - chance) / (1.0 - chance))
}

#[cfg(test)]
mod tests;
