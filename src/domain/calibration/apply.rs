//! Finds the map of a verdict, by model, prompt, rubric and mode, and applies it.

use std::sync::Arc;

use super::features::{RawAbsolute, RawOrder, RawPair};
use super::file::{CalibrationFile, CalibrationObject};
use crate::domain::judgement::{Judgement, Kind, Mode, Order};
use crate::domain::rubric::Rubric;
use crate::domain::verdict::{AbsoluteVerdict, RelativeVerdict};

/// The maps of one judge, for verdicts on one prompt.
#[derive(Debug, Clone, Copy)]
pub struct Calibrator<'a> {
    /// The files of the model; those of rubrics come with them.
    files: &'a [Arc<CalibrationFile>],
    /// The digests of the model and of the prompt; `None` where the prompt is the caller's own.
    judged_by: Option<(&'a str, &'a str)>,
    mode: Mode,
}

impl<'a> Calibrator<'a> {
    /// The maps for verdicts of a model on a prompt, both as digests.
    #[must_use]
    pub fn new(files: &'a [Arc<CalibrationFile>], model: &'a str, prompt: Option<&'a str>, mode: Mode) -> Self {
        Self { files, judged_by: prompt.map(|prompt| (model, prompt)), mode }
    }

    /// None: verdicts stay as they are.
    #[must_use]
    pub fn none() -> Self {
        Self { files: &[], judged_by: None, mode: Mode::default() }
    }

    /// The one map of a verdict. A rubric's own goes before the model's, one for this rubric before one for any, a fit
    /// before a calibration, and of equals the first one.
    fn find(&self, kind: Kind, rubric: &'a Rubric, levels: Option<usize>) -> Option<&'a CalibrationFile> {
        let (model, prompt) = self.judged_by?;
        let own = rubric.calibrations().iter().map(|file| (false, file));
        let all = own.chain(self.files.iter().map(|file| (true, file)));
        let fitting = all.filter(|(_, file)| {
            let content = file.content();
            content.kind == kind
                && content.made_for.mode.is_none_or(|mode| mode == self.mode)
                && levels.is_none_or(|levels| content.parameters.maps_levels(levels))
                && file.check(model, ("", prompt)).is_ok()
                && file.check_rubric(rubric.digest()).is_ok()
        });
        let rank = |(models, file): &(bool, &'a Arc<CalibrationFile>)| {
            let content = file.content();
            (*models, content.made_for.rubrics.is_none(), content.object == CalibrationObject::Calibration)
        };
        fitting.min_by_key(rank).map(|(_, file)| &**file)
    }

    /// Calibrates the verdict on a response, if there is a map for it.
    pub fn absolute(&self, rubric: &'a Rubric, response: &str, verdict: &mut AbsoluteVerdict) {
        let Some(file) = self.find(Kind::Absolute, rubric, Some(verdict.scale.levels())) else { return };
        let raw = RawAbsolute {
            probabilities: verdict.distribution.probabilities().to_vec(),
            reward: verdict.reward,
            label_mass: verdict.label_mass,
            characters: response.chars().count(),
        };
        let map = &file.content().parameters;
        verdict.calibrate(map.reward(&raw), map.log_odds(&raw), file.digest());
    }

    /// Calibrates the verdict on a pair, if there is a map for it and both orders were judged: maps are made from both.
    pub fn pair(&self, rubric: &'a Rubric, [a, b]: [&str; 2], tie_margin: f64, verdict: &mut RelativeVerdict) {
        let Some(file) = self.find(Kind::Relative, rubric, None) else { return };
        let (Some(ab), Some(ba)) = (order(&verdict.judgements, Order::AB), order(&verdict.judgements, Order::BA))
        else {
            return;
        };
        let raw = RawPair {
            probability_a: verdict.probability_a,
            ..RawPair::new([ab, ba], [a.chars().count(), b.chars().count()])
        };
        verdict.calibrate(file.content().parameters.probability_a(&raw), file.digest(), tie_margin);
    }
}

/// The mean over the samples of one order.
fn order(judgements: &[Judgement], order: Order) -> Option<RawOrder> {
    let of_order = judgements.iter().filter(|judgement| judgement.order == Some(order));
    let samples: Vec<(f64, f64)> =
        of_order.map(|judgement| (judgement.probability_a(), judgement.label_mass)).collect();
    RawOrder::mean(&samples)
}
