//! Makes a map from labelled verdicts, and says how good it is on instructions that it was not fitted to.

use super::features::{RawAbsolute, RawPair, graded_alone};
use super::file::{Figures, HeldOut, LeftOutSet};
use super::fitting::{
    CannotFit, Labelled, MapMethod, calibrate_absolute, calibrate_pairs, fit_absolute, fit_pairs, fit_reward_model,
};
use super::parameters::Parameters;
use super::split::{folds, halves};
use crate::domain::agreement::calibration_error;
use crate::domain::judgement::Kind;

/// The folds of a cross-validation.
const FOLDS: usize = 5;

/// A labelled verdict, and where it belongs.
#[derive(Debug, Clone, PartialEq)]
pub struct Example<R> {
    /// What the judge says, and what people say.
    pub labelled: Labelled<R>,
    /// What is answered; no instruction is both fitted to and held out.
    pub instruction: String,
    /// Which of the sets it is from.
    pub set: usize,
}

/// Labelled verdicts of one kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Examples {
    /// On responses.
    Scores(Vec<Example<RawAbsolute>>),
    /// On pairs, both responses in one prompt.
    Pairs(Vec<Example<RawPair>>),
    /// On pairs, each response graded alone.
    GradedAlone(Vec<Example<[RawAbsolute; 2]>>),
}

/// Runs the same on each kind of examples.
macro_rules! each_kind {
    ($examples:expr, $all:ident => $of:expr) => {
        match $examples {
            Examples::Scores($all) => $of,
            Examples::Pairs($all) => $of,
            Examples::GradedAlone($all) => $of,
        }
    };
}

impl Examples {
    /// The kind of verdict that a map of them is for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Scores(_) | Self::GradedAlone(_) => Kind::Absolute,
            Self::Pairs(_) => Kind::Relative,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        each_kind!(self, all => all.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set of each.
    #[must_use]
    pub fn sets(&self) -> Vec<usize> {
        each_kind!(self, all => all.iter().map(|example| example.set).collect())
    }

    fn instructions(&self) -> Vec<&str> {
        each_kind!(self, all => all.iter().map(|example| example.instruction.as_str()).collect())
    }

    /// The label of each.
    fn labels(&self) -> Vec<f64> {
        each_kind!(self, all => all.iter().map(|example| example.labelled.label).collect())
    }

    /// Those that are marked.
    fn marked(&self, marks: &[bool]) -> Self {
        fn of<R: Clone>(all: &[Example<R>], marks: &[bool]) -> Vec<Example<R>> {
            all.iter().zip(marks).filter(|(_, marked)| **marked).map(|(example, _)| example.clone()).collect()
        }
        match self {
            Self::Scores(all) => Self::Scores(of(all, marks)),
            Self::Pairs(all) => Self::Pairs(of(all, marks)),
            Self::GradedAlone(all) => Self::GradedAlone(of(all, marks)),
        }
    }

    /// What a map makes of each; without one, what the judge says.
    fn values(&self, map: Option<&Parameters>) -> Vec<f64> {
        match self {
            Self::Scores(all) => {
                let raw = all.iter().map(|example| &example.labelled.raw);
                raw.map(|raw| map.map_or(raw.reward, |map| map.reward(raw))).collect()
            }
            Self::Pairs(all) => {
                let raw = all.iter().map(|example| &example.labelled.raw);
                raw.map(|raw| map.map_or(raw.probability_a, |map| map.probability_a(raw))).collect()
            }
            Self::GradedAlone(all) => {
                let raw = all.iter().map(|example| &example.labelled.raw);
                raw.map(|raw| map.map_or_else(|| graded_alone(raw), |map| map.preferred_alone(raw))).collect()
            }
        }
    }

    fn calibrate(&self, method: MapMethod) -> Result<Parameters, CannotFit> {
        match self {
            Self::Scores(all) => calibrate_absolute(method, &labelled(all)),
            Self::Pairs(all) => calibrate_pairs(method, &labelled(all)),
            Self::GradedAlone(_) => Err(CannotFit::GradedAlone),
        }
    }

    fn fit(&self, seed: u64) -> Result<(Parameters, Vec<f64>), CannotFit> {
        let folds = folds(&self.instructions(), FOLDS, seed);
        match self {
            Self::Scores(all) => fit_absolute(&labelled(all), &folds),
            Self::Pairs(all) => fit_pairs(&labelled(all), &folds),
            Self::GradedAlone(all) => fit_reward_model(&labelled(all), &folds),
        }
    }

    /// How well numbers, one an example, agree with the labels.
    fn figures(&self, values: &[f64]) -> Figures {
        // A tie says nothing of which is better.
        let (accuracy, points): (Vec<f64>, Vec<(f64, f64)>) = match self {
            Self::Scores(all) => {
                let of = |(example, value): (&Example<RawAbsolute>, &f64)| {
                    let most = (example.labelled.raw.probabilities.len() - 1) as f64;
                    let nearest = |share: f64| (share * most).round();
                    let right = nearest(*value) == nearest(example.labelled.label);
                    (f64::from(u8::from(right)), (*value, example.labelled.label))
                };
                all.iter().zip(values).map(of).unzip()
            }
            Self::Pairs(_) | Self::GradedAlone(_) => {
                let decided = self.labels().into_iter().zip(values).filter(|(label, _)| *label != 0.5);
                decided.map(|(label, value)| (right(*value, label), (*value, label))).unzip()
            }
        };
        let squares = points.iter().map(|(value, label)| (value - label).powi(2));
        Figures {
            accuracy: mean(&accuracy),
            brier: mean(&squares.collect::<Vec<_>>()),
            ece: calibration_error(&points).unwrap_or_default(),
        }
    }

    /// The accuracy of taking the longer response of each pair.
    fn longer(&self) -> Option<f64> {
        let characters: Vec<[usize; 2]> = match self {
            Self::Scores(_) => return None,
            Self::Pairs(all) => all.iter().map(|example| example.labelled.raw.characters).collect(),
            Self::GradedAlone(all) => {
                all.iter().map(|example| example.labelled.raw.each_ref().map(|raw| raw.characters)).collect()
            }
        };
        let values: Vec<f64> = characters
            .into_iter()
            .map(|[a, b]| 0.5 + 0.5 * (f64::from(u8::from(a > b)) - f64::from(u8::from(b > a))))
            .collect();
        Some(self.figures(&values).accuracy)
    }
}

/// Fits a calibration to one half of the instructions, and tries it on the other half.
///
/// # Errors
/// When a half has too few examples, or the method is not for them.
pub fn calibrated(examples: &Examples, method: MapMethod, seed: u64) -> Result<(Parameters, HeldOut), CannotFit> {
    let fitted_to = halves(&examples.instructions(), seed);
    let map = examples.marked(&fitted_to).calibrate(method)?;
    let held_out = examples.marked(&fitted_to.iter().map(|fitted| !fitted).collect::<Vec<_>>());
    if held_out.is_empty() {
        return Err(CannotFit::OneInstruction);
    }
    let figures = HeldOut {
        items: held_out.len(),
        before: held_out.figures(&held_out.values(None)),
        after: held_out.figures(&held_out.values(Some(&map))),
        left_out_sets: Vec::new(),
    };
    Ok((map, figures))
}

/// Fits a linear model to all examples. What it says of each, fitted to the instructions of other folds, gives the
/// figures; with several sets, each is also left out as a whole.
///
/// # Errors
/// When there are too few examples, with a set left out as well.
pub fn fitted(examples: &Examples, names: &[String], seed: u64) -> Result<(Parameters, HeldOut), CannotFit> {
    let (map, left_out) = examples.fit(seed)?;
    let sets = examples.sets();
    let left_out_set = |(set, name): (usize, &String)| {
        let within: Vec<bool> = sets.iter().map(|other| *other == set).collect();
        let (of_set, others) =
            (examples.marked(&within), examples.marked(&within.iter().map(|within| !within).collect::<Vec<_>>()));
        let (map, _) = others.fit(seed)?;
        Ok(LeftOutSet {
            name: name.clone(),
            items: of_set.len(),
            accuracy: of_set.figures(&of_set.values(Some(&map))).accuracy,
            judge: of_set.figures(&of_set.values(None)).accuracy,
            longer: of_set.longer(),
        })
    };
    let several = names.iter().enumerate().filter(|(set, _)| names.len() > 1 && sets.contains(set));
    let figures = HeldOut {
        items: examples.len(),
        before: examples.figures(&examples.values(None)),
        after: examples.figures(&left_out),
        left_out_sets: several.map(left_out_set).collect::<Result<_, _>>()?,
    };
    Ok((map, figures))
}

fn labelled<R: Clone>(all: &[Example<R>]) -> Vec<Labelled<R>> {
    all.iter().map(|example| example.labelled.clone()).collect()
}

/// Whether a probability is on the side of the label; one half is half right.
fn right(value: f64, label: f64) -> f64 {
    if value == 0.5 { 0.5 } else { f64::from(u8::from((value > 0.5) == (label > 0.5))) }
}

/// The mean; 0 of none.
fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::super::{RawOrder, RawPair};
    use super::*;

    /// Pairs of which the judge is right in four of five, and always quite sure; the longer one is better in three of
    /// four.
    fn pairs(count: usize) -> Examples {
        let example = |i: usize| {
            let label = f64::from(u8::from(i.is_multiple_of(2)));
            let says_a = if i.is_multiple_of(5) { 1.0 - label } else { label };
            let p = if says_a == 1.0 { 0.96875 } else { 0.03125 };
            let order = RawOrder { probability_a: p, label_mass: 0.9 };
            let longer_a = if i % 4 == 3 { 1.0 - label } else { label };
            let characters = if longer_a == 1.0 { [90, 30] } else { [30, 90] };
            Example {
                labelled: Labelled { raw: RawPair::new([order; 2], characters), label },
                instruction: format!("Question {}", i / 2),
                set: i % 3,
            }
        };
        Examples::Pairs((0..count).map(example).collect())
    }

    #[test]
    fn a_judge_that_is_too_sure_is_calibrated() {
        for method in [MapMethod::Temperature, MapMethod::Isotonic] {
            let (_, held_out) = calibrated(&pairs(200), method, 1).unwrap();
            assert_eq!(held_out.items, 100);
            assert!(held_out.after.ece < 0.1 && held_out.after.ece < held_out.before.ece, "{held_out:?}");
            assert!(held_out.after.brier < held_out.before.brier, "{held_out:?}");
            assert_eq!(held_out.after.accuracy, held_out.before.accuracy, "the order stays");
        }
        assert_eq!(calibrated(&pairs(12), MapMethod::Temperature, 1), Err(CannotFit::TooFew(6)));
    }

    #[test]
    fn a_fit_weighs_the_judge_and_the_length() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let (map, held_out) = fitted(&pairs(200), &names, 1).unwrap();
        let Parameters::BradleyTerry { weights, .. } = &map else { panic!("{map:?}") };
        assert!(weights.values().filter(|weight| **weight > 0.0).count() >= 2, "{weights:?}");
        assert!(held_out.after.accuracy >= held_out.before.accuracy && held_out.after.brier < held_out.before.brier);
        assert_eq!(held_out.left_out_sets.len(), 3);
        let set = &held_out.left_out_sets[0];
        assert!((set.longer.unwrap() - 0.75).abs() < 0.03 && set.items == 67, "{set:?}");
        // A single set cannot be left out.
        assert_eq!(fitted(&pairs(200), &names[..1], 1).unwrap().1.left_out_sets, []);
    }

    /// Responses that were graded alone: the reward is right in four of five pairs.
    fn graded_alone(count: usize) -> Examples {
        let response = |good: bool| {
            let probabilities = if good { vec![0.1, 0.2, 0.7] } else { vec![0.3, 0.3, 0.4] };
            let reward = probabilities[1] / 2.0 + probabilities[2];
            RawAbsolute { probabilities, reward, label_mass: 1.0, characters: 50 }
        };
        let example = |i: usize| {
            let better_a = i.is_multiple_of(2);
            let says_a = better_a != i.is_multiple_of(5);
            let labelled =
                Labelled { raw: [response(says_a), response(!says_a)], label: f64::from(u8::from(better_a)) };
            Example { labelled, instruction: format!("Question {}", i / 2), set: 0 }
        };
        Examples::GradedAlone((0..count).map(example).collect())
    }

    #[test]
    fn pairs_of_responses_that_were_graded_alone_make_a_reward_model() {
        let (map, held_out) = fitted(&graded_alone(200), &["a".to_owned()], 1).unwrap();
        assert_eq!((map.method(), graded_alone(2).kind()), ("reward_model", Kind::Absolute));
        assert_eq!(held_out.after.accuracy, held_out.before.accuracy, "{held_out:?}");
        // The distributions say 0.65; people agree in four of five.
        assert!(held_out.after.ece < 0.1 && held_out.after.ece < held_out.before.ece, "{held_out:?}");
        assert_eq!(calibrated(&graded_alone(40), MapMethod::Isotonic, 1), Err(CannotFit::GradedAlone));
    }
}
