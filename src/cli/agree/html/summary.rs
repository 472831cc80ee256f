//! How far a judge is to be trusted, in words.

use serde::Serialize;

use super::super::super::page::units::{Unit, count, counted};
use crate::domain::agreement::report::{
    Absolute, Coverage, Figure, Judge, Labels, PairLabelFigures, PairLabels, Pairwise, Reward, ScoreLabels,
};

/// One matter: what it is about, what the figures come to, and the figures.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    about: &'static str,
    verdict: String,
    text: String,
}

/// What is to be said of a judge.
pub(super) fn findings(judge: &Judge, labels: &Labels) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(pairwise) = &judge.pairwise {
        found.extend(pairs(pairwise, labels.pairwise.as_ref()));
        found.extend(position(pairwise));
        found.extend(length(pairwise));
    }
    if let Some(absolute) = &judge.absolute {
        found.extend(scores(absolute, labels.absolute.as_ref()));
    }
    if let Some(reward) = &judge.reward {
        found.extend(probabilities(reward));
    }
    found.push(coverage(&judge.coverage));
    found
}

/// Where an interval lies beside a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Above,
    Around,
    Below,
    /// There is no interval.
    Unknown,
}

fn beside(figure: &Figure, value: f64) -> Beside {
    match (figure.low, figure.high) {
        (Some(low), _) if low > value => Beside::Above,
        (_, Some(high)) if high < value => Beside::Below,
        (Some(_), Some(_)) => Beside::Around,
        _ => Beside::Unknown,
    }
}

/// The rule that is right most often.
pub(super) fn best_rule(labels: &PairLabelFigures) -> Option<(&'static str, &Figure)> {
    let rules = &labels.baselines;
    [("taking the longer response", &rules.longer), ("always taking A", &rules.always_a), ("a coin", &rules.random)]
        .into_iter()
        .filter_map(|(name, figure)| Some((name, figure.as_ref()?)))
        .max_by(|one, other| one.1.value.total_cmp(&other.1.value))
}

fn pairs(pairwise: &Pairwise, labels: Option<&PairLabels>) -> Option<Finding> {
    let accuracy = pairwise.figures.accuracy_non_ties.as_ref()?;
    let rule = labels.and_then(|labels| best_rule(&labels.figures));
    let people = labels.and_then(|labels| labels.figures.human_ceiling.as_ref());
    let mut verdict = rule.map_or(String::new(), |(_, rule)| {
        match beside(accuracy, rule.value) {
            Beside::Above => "Better than the best simple rule",
            Beside::Around => "Not shown to be better than the best simple rule",
            Beside::Below => "Worse than the best simple rule",
            Beside::Unknown => "Too little data to say",
        }
        .to_owned()
    });
    if let Some(people) = people {
        verdict += match beside(accuracy, people.value) {
            Beside::Above => ", above how often people agree with each other",
            Beside::Around => ", about as often right as people agree with each other",
            Beside::Below => ", below how often people agree with each other",
            Beside::Unknown => "",
        };
    }
    let mut text =
        format!("It agrees with the label in {} of {}.", Unit::Share.sentence(accuracy), counted(accuracy.n, "pair"));
    if let Some((name, rule)) = rule {
        text += &format!(" The best rule that ignores the content, {name}, reaches {}.", Unit::Share.sentence(rule));
    }
    if let Some(people) = people {
        text += &format!(" Two people agree in {}.", Unit::Share.sentence(people));
    }
    if let Some(mean) = pairwise.macro_accuracy_non_ties.as_ref().filter(|_| pairwise.by_set.len() > 1) {
        text += &format!(" Its mean over {} sets is {}.", pairwise.by_set.len(), Unit::Share.sentence(mean));
    }
    Some(Finding { about: "Pairs", verdict, text })
}

fn position(pairwise: &Pairwise) -> Option<Finding> {
    let consistent = pairwise.figures.position_consistency.as_ref()?;
    let mut text = format!("It prefers the same response in both orders in {}.", Unit::Share.sentence(consistent));
    let lean = pairwise.figures.first_lean.as_ref();
    let verdict = match lean.map(|lean| (lean, beside(lean, 0.5))) {
        Some((_, Beside::Above)) => "Leans to the response shown first",
        Some((_, Beside::Below)) => "Leans to the response shown second",
        Some((_, Beside::Around)) => "No position bias is shown",
        Some((_, Beside::Unknown)) => "Too little data to say",
        None => "The two orders never disagree",
    };
    if let Some(lean) = lean {
        let of = counted(lean.n, "pair");
        text += &format!(
            " Where it does not ({of}), the one shown first won in {}; half would lean neither way.",
            Unit::Share.sentence(lean)
        );
    }
    Some(Finding { about: "Position", verdict: verdict.into(), text })
}

fn length(pairwise: &Pairwise) -> Option<Finding> {
    let bias = pairwise.figures.length_bias.as_ref()?;
    let verdict = match beside(bias, 0.0) {
        Beside::Above => "Prefers longer responses more than the labels do",
        Beside::Below => "Prefers shorter responses more than the labels do",
        Beside::Around => "No bias to length is shown",
        Beside::Unknown => "Too little data to say",
    };
    let text = format!(
        "How often it prefers the longer response, less how often the labels do: {}, over {}.",
        Unit::Points.sentence(bias),
        counted(bias.n, "pair")
    );
    Some(Finding { about: "Length", verdict: verdict.into(), text })
}

fn scores(absolute: &Absolute, labels: Option<&ScoreLabels>) -> Option<Finding> {
    let figures = &absolute.figures;
    let (correlation, error) = (figures.spearman.as_ref(), figures.mae.as_ref()?);
    let length = labels.and_then(|labels| labels.length_spearman.as_ref());
    let median = labels.and_then(|labels| labels.median_mae.as_ref());
    let mut verdict = match correlation.map(|found| beside(found, length.map_or(0.0, |length| length.value.abs()))) {
        Some(Beside::Above) => "Orders responses better than their length does",
        Some(Beside::Around) => "Not shown to order responses better than their length does",
        Some(Beside::Below) => "Orders responses worse than their length does",
        Some(Beside::Unknown) => "Too little data to say",
        None => "Its scores have no order, or the labels have none",
    }
    .to_owned();
    if length.is_none() && correlation.is_some() {
        verdict =
            verdict.replace(" better than their length does", "").replace(" worse than their length does", " wrongly");
    }
    verdict += match median.map(|median| beside(error, median.value)) {
        Some(Beside::Below) => ", and is nearer to the labels than always the median",
        Some(Beside::Around) => ", and is not shown to be nearer to the labels than always the median",
        Some(Beside::Above) => ", and is further from the labels than always the median",
        Some(Beside::Unknown) | None => "",
    };
    let mut text = format!("Over {}", counted(error.n, "item"));
    match (figures.pearson.as_ref(), correlation) {
        (Some(pearson), Some(spearman)) => {
            text += &format!(
                ", its scores have a Pearson correlation of {} with the labels and Spearman’s of {}",
                Unit::Number.sentence(pearson),
                Unit::Number.sentence(spearman)
            );
        }
        _ => text += ", a correlation with the labels is not defined",
    }
    text += &length.map_or(".".to_owned(), |found| {
        format!("; the length of the response has Spearman’s of {}.", Unit::Number.sentence(found))
    });
    let [lowest, highest] = absolute.scale;
    text += &format!(
        " On a scale from {} to {}, it is {} points from the label on average",
        signed(lowest),
        signed(highest),
        Unit::Number.sentence(error)
    );
    text += &median.map_or(".".to_owned(), |found| format!("; always the median is {}.", Unit::Number.sentence(found)));
    if let Some(exact) = &figures.exact {
        text += &format!(" It gives exactly the label in {}", Unit::Share.sentence(exact));
        let frequent = labels.and_then(|labels| labels.most_frequent_exact.as_ref());
        text += &frequent.map_or(".".to_owned(), |found| {
            format!("; always the most frequent one is right in {}.", Unit::Share.sentence(found))
        });
    }
    Some(Finding { about: "Scores", verdict, text })
}

fn signed(level: i32) -> String {
    level.to_string().replace('-', "\u{2212}")
}

fn probabilities(reward: &Reward) -> Option<Finding> {
    let (brier, ece) = (reward.brier.as_ref()?, reward.ece.as_ref()?);
    let verdict = match beside(brier, 0.25) {
        Beside::Below => "Better than always answering one half",
        Beside::Around => "Not shown to be better than always answering one half",
        Beside::Above => "Worse than always answering one half",
        Beside::Unknown => "Too little data to say",
    };
    let text = format!(
        "In the mean a probability is {} from how often it comes true (calibration error); the Brier score is {}, that of \
         always one half is 0.25.",
        Unit::Number.sentence(ece),
        Unit::Number.sentence(brier)
    );
    Some(Finding { about: "Probabilities", verdict: verdict.into(), text })
}

fn coverage(of: &Coverage) -> Finding {
    let Coverage { items, judged, unscored, failed } = *of;
    let verdict = if judged == items { "All items judged" } else { "Not all items judged" };
    let mut text = format!("{} of {} have a verdict", count(judged), counted(items, "item"));
    if judged < items {
        text += &format!(
            "; {} without one, {} failed. Figures do not count these: a judge that leaves out difficult items looks \
             better than it is",
            count(unscored),
            count(failed)
        );
    }
    Finding { about: "Coverage", verdict: verdict.into(), text: text + "." }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(interval: Option<(f64, f64)>, value: f64, expected: Beside) {
        let figure = Figure { value: 0.6, low: interval.map(|i| i.0), high: interval.map(|i| i.1), n: 9 };
        assert_eq!(beside(&figure, value), expected, "{interval:?} {value}");
    }

    #[test]
    fn an_interval_lies_above_around_or_below_a_value() {
        check(Some((0.5, 0.7)), 0.4, Beside::Above);
        check(Some((0.5, 0.7)), 0.5, Beside::Around);
        check(Some((0.5, 0.7)), 0.7, Beside::Around);
        check(Some((0.5, 0.7)), 0.8, Beside::Below);
        check(None, 0.8, Beside::Unknown);
    }
}
