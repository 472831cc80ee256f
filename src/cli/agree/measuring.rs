//! Items and verdicts, put beside each other and measured.

use super::super::CliError;
use super::selection::Selection;
use super::verdicts::{Answer, Answers, Stored};
use crate::domain::agreement::report::{Coverage, Judge, Labels, Report};
use crate::domain::agreement::{
    Bootstrap, Items, PairItem, PairVerdict, Place, ScoreItem, ScoreVerdict, Verdicts, compare, instruction_key,
    measure, pair_labels, rounded, score_labels,
};
use crate::domain::{Preference, Scale};
use crate::labelled::{DataError, Labelled, LabelledItem};

/// How the report says that it was made.
pub(in super::super) struct Settings {
    pub(in super::super) bootstrap: Bootstrap,
    pub(in super::super) sample: Option<usize>,
    pub(in super::super) split: Option<&'static str>,
}

/// Makes the report.
///
/// # Errors
/// When verdicts and items do not belong together.
pub(in super::super) fn report(
    selection: Selection,
    judges: Vec<Answers>,
    settings: &Settings,
) -> Result<Report, CliError> {
    let Selection { files, items } = selection;
    let aligned: Vec<(Verdicts, Coverage)> =
        judges.iter().map(|judge| align(&items, judge)).collect::<Result<_, _>>()?;
    let labelled = labelled(&items, &aligned)?;
    if let Some(scale) = labelled.scale {
        judges.iter().try_for_each(|judge| check_scores(&items, judge, scale))?;
    }
    let bootstrap = settings.bootstrap;
    let mut measured = Vec::with_capacity(judges.len());
    for (judge, (verdicts, coverage)) in judges.iter().zip(&aligned) {
        let found = measure(&labelled, verdicts, bootstrap);
        measured.push(Judge {
            name: judge.name.clone(),
            model: judge.model.clone(),
            prompt: judge.prompt.clone(),
            coverage: *coverage,
            absolute: found.absolute,
            pairwise: found.pairwise,
            reward: found.reward,
        });
    }
    let mut comparisons = Vec::new();
    for (second, (b, _)) in aligned.iter().enumerate() {
        for (first, (a, _)) in aligned[..second].iter().enumerate() {
            let names = (judges[first].name.as_str(), judges[second].name.as_str());
            comparisons.extend(compare(&labelled, (names.0, a), (names.1, b), bootstrap));
        }
    }
    Ok(Report {
        object: "agreement".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        seed: bootstrap.seed,
        resamples: bootstrap.resamples,
        sample: settings.sample,
        split: settings.split.map(str::to_owned),
        data: files,
        judges: measured,
        labels: Labels {
            absolute: score_labels(&labelled.scores, bootstrap),
            pairwise: pair_labels(&labelled.pairs, bootstrap),
        },
        comparisons,
    })
}

/// The verdicts of a judge in the order of the items, and how many there are.
fn align(items: &[LabelledItem], judge: &Answers) -> Result<(Verdicts, Coverage), CliError> {
    let mut verdicts = Verdicts::default();
    let mut coverage = Coverage { items: items.len(), ..Coverage::default() };
    if !judge.by_id.is_empty() && !items.iter().any(|item| judge.by_id.contains_key(&item.id)) {
        let what = format!("{}: no verdict has the id of an item in --data", judge.name);
        return Err(CliError::Failed(what));
    }
    for item in items {
        let stored = judge.by_id.get(&item.id);
        let answer = stored.map_or(Answer::Unscored, |stored| stored.answer);
        match answer {
            Answer::Failed => coverage.failed += 1,
            Answer::Unscored => coverage.unscored += 1,
            Answer::Score(_) | Answer::Pair(_) | Answer::Chosen(_) => coverage.judged += 1,
        }
        match item.labelled {
            Labelled::Score { .. } => verdicts.scores.push(score(item, answer, stored)?),
            Labelled::Pair { chosen, .. } => verdicts.pairs.push(pair(item, chosen, answer, stored)?),
        }
    }
    Ok((verdicts, coverage))
}

fn wrong(stored: Option<&Stored>, item: &LabelledItem, what: &str) -> CliError {
    let place = stored.map(|stored| stored.place.clone()).unwrap_or_default();
    DataError::at(place, format!("{what} `{}` ({})", item.id, item.place)).into()
}

fn score(item: &LabelledItem, answer: Answer, stored: Option<&Stored>) -> Result<Option<ScoreVerdict>, CliError> {
    match answer {
        Answer::Score(verdict) => Ok(Some(verdict)),
        Answer::Unscored | Answer::Failed => Ok(None),
        Answer::Pair(_) | Answer::Chosen(_) => Err(wrong(stored, item, "is a preference, but the item needs a score:")),
    }
}

fn pair(
    item: &LabelledItem,
    chosen: Option<Preference>,
    answer: Answer,
    stored: Option<&Stored>,
) -> Result<Option<PairVerdict>, CliError> {
    match (answer, chosen) {
        (Answer::Pair(verdict), _) => Ok(Some(verdict)),
        (Answer::Chosen(right), Some(chosen)) => {
            let preference = if right == (chosen == Preference::A) { Preference::A } else { Preference::B };
            Ok(Some(PairVerdict { preference, probability_a: None, consistent: None, first_preferred: None }))
        }
        (Answer::Chosen(_), None) => {
            Err(wrong(stored, item, "says chosen or rejected of a pair whose responses are A and B:"))
        }
        (Answer::Unscored | Answer::Failed, _) => Ok(None),
        (Answer::Score(_), _) => Err(wrong(stored, item, "is a score, but the item needs a preference:")),
    }
}

/// The items as statistics take them, and the scale of their labels.
fn labelled(items: &[LabelledItem], judges: &[(Verdicts, Coverage)]) -> Result<Items, CliError> {
    let mut found = Items::default();
    let mut known: Option<(Scale, &LabelledItem)> = None;
    for item in items {
        let place = Place {
            set: item.set.clone(),
            subset: item.subset.clone(),
            instruction: instruction_key(&item.instruction),
        };
        match &item.labelled {
            Labelled::Score { label, scale, length } => {
                found.scores.push(ScoreItem { place, label: *label, length: *length });
                match (known, scale) {
                    (None, Some(scale)) => known = Some((*scale, item)),
                    (Some((one, first)), Some(other)) if one != *other => {
                        let (one, other) = (shown(one), shown(*other));
                        let what = format!(
                            "its scale is {other}, and that of `{}` ({}) is {one}; measure them one after the other",
                            first.id, first.place
                        );
                        return Err(DataError::at(&item.place, what).into());
                    }
                    _ => {}
                }
            }
            Labelled::Pair { label, votes, lengths, .. } => {
                found.pairs.push(PairItem { place, label: *label, votes: votes.clone(), lengths: *lengths });
            }
        }
    }
    if !found.scores.is_empty() {
        found.scale = Some(match known {
            Some((scale, _)) => scale,
            None => scale_of_numbers(&found, judges)?,
        });
    }
    Ok(found)
}

fn shown(scale: Scale) -> String {
    format!("{} to {}", scale.lowest(), scale.highest())
}

/// The scale that labels and scores lie on, where no item names one.
fn scale_of_numbers(items: &Items, judges: &[(Verdicts, Coverage)]) -> Result<Scale, CliError> {
    let labels = items.scores.iter().map(|item| rounded(item.label));
    let scores = judges.iter().flat_map(|(verdicts, _)| verdicts.scores.iter().flatten()).map(|verdict| verdict.score);
    let (low, high) =
        labels.chain(scores).fold((i32::MAX, i32::MIN), |(low, high), score| (low.min(score), high.max(score)));
    let levels = i64::from(high) - i64::from(low) + 1;
    if levels > 11 {
        let what = format!(
            "labels and scores run from {low} to {high}: a scale has at most 11 scores; give items a \
             \"scale\": [lowest, highest], or rescale the numbers"
        );
        return Err(CliError::Failed(what));
    }
    // Of a single score, a scale of two.
    let high = high.max(low.saturating_add(1));
    Scale::from_levels(&(low..=high).collect::<Vec<_>>()).map_err(|error| CliError::because("the labels", error))
}

/// A score outside of the scale of the labels means that the judge was asked something else.
fn check_scores(items: &[LabelledItem], judge: &Answers, scale: Scale) -> Result<(), CliError> {
    for item in items {
        let stored = judge.by_id.get(&item.id);
        if let Some(Stored { answer: Answer::Score(verdict), .. }) = stored
            && !(scale.lowest()..=scale.highest()).contains(&verdict.score)
        {
            let what = format!(
                "its score {} is not on the scale of the labels, which is {}: {}",
                verdict.score,
                shown(scale),
                "grade by a rubric of that scale;"
            );
            return Err(wrong(stored, item, &what));
        }
    }
    Ok(())
}
