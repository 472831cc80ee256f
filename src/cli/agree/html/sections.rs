//! What the page shows of one judge.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::super::page::forest::{Beside, Entry, Forest, Layout, judge_class};
use super::super::super::page::panel::Panel;
use super::super::super::page::svg::Symbol;
use super::super::super::page::units::{Unit, Written, counted};
use super::figures::{GROUPS, Measure};
use super::plots::{confusion, histogram, reliability};
use super::summary::{Finding, findings};
use crate::domain::agreement::report::{
    Absolute, Figure, Judge, Labels, PairFigures, PairLabelFigures, Pairwise, Reward, ScoreFigures,
};

/// How many subsets are shown at once; more are folded.
const UNFOLDED: usize = 24;

/// One judge.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) about: Vec<(&'static str, String)>,
    findings: Vec<Finding>,
    parts: Vec<Part>,
    tables: Vec<Table>,
}

/// Pairs, scores or probabilities.
#[derive(Debug, Serialize)]
struct Part {
    heading: &'static str,
    panels: Vec<Panel>,
    forests: Vec<Forest>,
    folded: Option<Folded>,
}

/// What is too long to be shown at once.
#[derive(Debug, Serialize)]
struct Folded {
    what: String,
    forest: Forest,
}

/// Figures with what they mean.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) heading: &'static str,
    pub(super) rows: Vec<Explained>,
}

/// A figure with what it means.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    pub(super) name: &'static str,
    pub(super) says: &'static str,
    pub(super) figure: Option<Written>,
}

pub(super) fn section(nth: usize, judge: &Judge, labels: &Labels) -> Section {
    let mut parts = Vec::new();
    if let Some(of_pairs) = &judge.pairwise {
        parts.push(pairs(nth, of_pairs, labels));
    }
    if let Some(absolute) = &judge.absolute {
        parts.push(scores(nth, absolute));
    }
    if let Some(reward) = judge.reward.as_ref().filter(|reward| !reward.reliability.is_empty()) {
        parts.push(probabilities(reward));
    }
    Section {
        name: judge.name.clone(),
        class: judge_class(nth),
        about: about(judge),
        findings: findings(judge, labels),
        parts,
        tables: tables(judge),
    }
}

fn about(judge: &Judge) -> Vec<(&'static str, String)> {
    let mut about = Vec::new();
    match &judge.model {
        Some(model) => {
            about.push(("Model", format!("{} on {}", model.name, model.engine)));
            about.push(("Model’s digest", model.digest.clone()));
        }
        None => about.push(("Model", "not named in the verdicts, or several".into())),
    }
    match &judge.prompt {
        Some(prompt) => {
            about.push(("Prompt set", prompt.name.clone()));
            about.push(("Prompt set’s digest", prompt.digest.clone()));
        }
        None => about.push(("Prompt set", "not named in the verdicts, or several".into())),
    }
    about
}

fn tables(judge: &Judge) -> Vec<Table> {
    let has = |heading: &str| match heading {
        "Pairs" => judge.pairwise.is_some(),
        "Scores" => judge.absolute.is_some(),
        _ => judge.reward.is_some(),
    };
    let groups = GROUPS.iter().filter(|(heading, _)| has(heading));
    let explained = |measure: &Measure| Explained {
        name: measure.name,
        says: measure.says,
        figure: (measure.of)(judge).map(|figure| Written::of(figure, measure.unit)),
    };
    groups.map(|(heading, all)| Table { heading, rows: all.iter().map(explained).collect() }).collect()
}

/// What the accuracy on a set is compared with.
pub(super) fn beside(labels: &PairLabelFigures) -> Vec<Beside> {
    let longer = labels.baselines.longer.map(|figure| (Symbol::Hollow, "the longer response", figure));
    let people = labels.human_ceiling.map(|figure| (Symbol::Bar, "people, one with another", figure));
    let of = |(symbol, name, figure): (_, _, Figure)| Beside { symbol, name, value: figure.value };
    longer.into_iter().chain(people).map(of).collect()
}

fn pairs(nth: usize, of: &Pairwise, labels: &Labels) -> Part {
    let labels = labels.pairwise.as_ref();
    let levels = ["A", "B", "tie"].map(str::to_owned);
    let counts: Vec<Vec<usize>> = of.confusion.iter().map(|row| row.to_vec()).collect();
    let accuracy =
        |name: &str, figures: &PairFigures| Entry::of_judge(nth, name, Unit::Share, figures.accuracy_non_ties.as_ref());
    let by_set = of.by_set.iter().map(|(name, figures)| {
        let set = labels.and_then(|labels| labels.by_set.get(name)).map(beside);
        Entry { beside: set.unwrap_or_default(), ..accuracy(name, figures) }
    });
    let coin = Some((0.5, "a coin"));
    let layout = |rows, caption, note| Layout { rows, caption, note, unit: Unit::Share, dashed: coin };
    let set_layout = layout("Set", "Accuracy by set", "Without ties; 95 % intervals.");
    let bias = |caption, note, dashed, unit| Layout { rows: "Of", caption, note, unit, dashed: Some(dashed) };
    let mut position = by_group(nth, of, Unit::Share, |figures| figures.position_consistency.as_ref());
    position[0].group = Some("Position consistency".into());
    let mut lean = by_group(nth, of, Unit::Share, |figures| figures.first_lean.as_ref());
    lean[0].group = Some("Lean to the first, where not consistent".into());
    position.extend(lean);
    let subset_layout = layout("Subset", "Accuracy by subset", "Without ties; 95 % intervals.");
    let (subsets, folded) = folded(&subset_layout, &of.by_subset, accuracy);
    let forests = [
        Forest::new(&set_layout, by_set.collect()),
        subsets,
        Forest::new(
            &bias(
                "Position bias",
                "Does the judge prefer the same response in both orders? If not: how often does the one shown first win?",
                (0.5, "leans neither way"),
                Unit::Share,
            ),
            position,
        ),
        Forest::new(
            &bias(
                "Length bias",
                "How often the judge prefers the longer response, less how often the labels do, in percentage points.",
                (0.0, "no bias"),
                Unit::Points,
            ),
            by_group(nth, of, Unit::Points, |figures| figures.length_bias.as_ref()),
        ),
    ];
    Part {
        heading: "Pairs",
        panels: vec![confusion("Preferences against labels", &levels, &counts)],
        forests: forests.into_iter().flatten().collect(),
        folded,
    }
}

/// A figure of all pairs and, where there are several, of each set.
fn by_group(nth: usize, of: &Pairwise, unit: Unit, figure: fn(&PairFigures) -> Option<&Figure>) -> Vec<Entry> {
    let sets = of.by_set.iter().filter(|_| of.by_set.len() > 1);
    let all = std::iter::once(("all pairs", &of.figures)).chain(sets.map(|(set, figures)| (set.as_str(), figures)));
    all.map(|(of, figures)| Entry::of_judge(nth, of, unit, figure(figures))).collect()
}

/// Subsets as they are, or folded where they are many.
fn folded<T>(
    layout: &Layout<'_>,
    groups: &BTreeMap<String, T>,
    entry: impl Fn(&str, &T) -> Entry,
) -> (Option<Forest>, Option<Folded>) {
    let forest = Forest::new(layout, groups.iter().map(|(name, figures)| entry(name, figures)).collect());
    if groups.len() <= UNFOLDED {
        return (forest, None);
    }
    let what = format!("{}: {}", layout.caption, counted(groups.len(), "subset"));
    (None, forest.map(|forest| Folded { what, forest }))
}

fn scores(nth: usize, of: &Absolute) -> Part {
    let levels: Vec<String> = (of.scale[0]..=of.scale[1]).map(|level| level.to_string()).collect();
    let pearson =
        |name: &str, figures: &ScoreFigures| Entry::of_judge(nth, name, Unit::Number, figures.pearson.as_ref());
    let layout =
        |rows, caption, note| Layout { rows, caption, note, unit: Unit::Number, dashed: Some((0.0, "no correlation")) };
    let note = "Pearson’s correlation of the expected score with the label; 95 % intervals.";
    let by_set = of.by_set.iter().map(|(name, figures)| pearson(name, figures)).collect();
    let (subsets, folded) = folded(&layout("Subset", "Correlation by subset", note), &of.by_subset, pearson);
    let sets = Forest::new(&layout("Set", "Correlation by set", note), by_set);
    Part {
        heading: "Scores",
        panels: vec![confusion("Scores against labels", &levels, &of.confusion), histogram(&levels, &of.histogram)],
        forests: sets.into_iter().chain(subsets).collect(),
        folded,
    }
}

fn probabilities(reward: &Reward) -> Part {
    let what = if reward.of == "pairs" { "the probability that A is better" } else { "the reward" };
    let panels = vec![reliability(what, &reward.reliability)];
    Part { heading: "Probabilities", panels, forests: Vec::new(), folded: None }
}
