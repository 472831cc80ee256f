//! All judges on one axis, beside rules and people; and each two against each other.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::super::page::forest::{Entry, Forest, Layout, judge_class};
use super::super::super::page::svg::Symbol;
use super::super::super::page::units::{Unit, Written};
use super::figures::{GROUPS, Measure, RULES, measure};
use super::sections::beside;
use crate::domain::agreement::report::{Comparison, Figure, Judge, Report};

/// The figures that decide how far a judge is to be trusted.
pub(super) fn headlines(report: &Report) -> Vec<Forest> {
    let pairs = headline(
        report,
        "pairwise.accuracy_non_ties",
        Layout {
            rows: "Who",
            caption: "Pairs: how often the label’s preference is found",
            note: "Accuracy without ties. Dots are values, lines 95 % intervals.",
            unit: Unit::Share,
            dashed: Some((0.5, "a coin")),
        },
        &["People with each other", "The longer response", "Always A"],
    );
    let order = headline(
        report,
        "absolute.spearman",
        Layout {
            rows: "Who",
            caption: "Scores: do better responses get higher ones?",
            note: "Spearman’s correlation with the label: 1 is full, 0 none.",
            unit: Unit::Number,
            dashed: Some((0.0, "no correlation")),
        },
        &["Length of the response"],
    );
    let error = headline(
        report,
        "absolute.mae",
        Layout {
            rows: "Who",
            caption: "Scores: how far from the label?",
            note: "Mean absolute error in points of the scale: less is better.",
            unit: Unit::Number,
            dashed: None,
        },
        &["Always the median"],
    );
    [pairs, order, error].into_iter().flatten().collect()
}

fn headline(report: &Report, path: &str, layout: Layout<'_>, rules: &[&str]) -> Option<Forest> {
    let measure = measure(path)?;
    let judges = report.judges.iter().enumerate();
    let judges = judges.map(|(nth, judge)| Entry::of_judge(nth, &judge.name, measure.unit, (measure.of)(judge)));
    let mut entries: Vec<Entry> = judges.filter(|entry| entry.figure.is_some()).collect();
    if entries.is_empty() {
        return None;
    }
    let known = RULES.iter().filter(|rule| rules.contains(&rule.name));
    entries.extend(known.filter_map(|rule| {
        let symbol = if rule.name.starts_with("People") { Symbol::Bar } else { Symbol::Hollow };
        Some(Entry::of_rule(rule.name, symbol, rule.unit, (rule.of)(&report.labels)?))
    }));
    Forest::new(&layout, entries)
}

/// Judges side by side.
#[derive(Debug, Serialize)]
pub(super) struct SideBySide {
    /// So many judges as stand beside each other.
    tables: Vec<Beside>,
    by_set: Vec<Forest>,
    comparisons: Vec<Comparisons>,
}

#[derive(Debug, Serialize)]
struct Beside {
    judges: Vec<Named>,
    rows: Vec<(&'static str, Vec<Option<Written>>)>,
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    class: String,
}

#[derive(Debug, Serialize)]
struct Comparisons {
    a: String,
    b: String,
    forests: Vec<Forest>,
}

/// `None` of a single judge.
pub(super) fn side_by_side(report: &Report) -> Option<SideBySide> {
    if report.judges.len() < 2 {
        return None;
    }
    let judges: Vec<(usize, &Judge)> = report.judges.iter().enumerate().collect();
    Some(SideBySide {
        tables: judges.chunks(3).map(|some| table(some, &report.judges)).collect(),
        by_set: [accuracy_by_set(report), correlation_by_set(report)].into_iter().flatten().collect(),
        comparisons: comparisons(&report.comparisons),
    })
}

fn table(some: &[(usize, &Judge)], all: &[Judge]) -> Beside {
    let measures = GROUPS.iter().flat_map(|(_, measures)| measures.iter());
    let measures = measures.filter(|measure| all.iter().any(|judge| (measure.of)(judge).is_some()));
    let row = |measure: &Measure| {
        let cells = some.iter().map(|(_, judge)| Some(Written::of((measure.of)(judge)?, measure.unit)));
        (measure.name, cells.collect())
    };
    Beside {
        judges: some.iter().map(|(nth, judge)| Named { name: judge.name.clone(), class: judge_class(*nth) }).collect(),
        rows: measures.map(row).collect(),
    }
}

fn accuracy_by_set(report: &Report) -> Option<Forest> {
    let of = |judge: &Judge| judge.pairwise.as_ref().map(|pairwise| pairwise.by_set.keys().cloned().collect());
    let figure = |judge: &Judge, set: &str| judge.pairwise.as_ref()?.by_set.get(set)?.accuracy_non_ties;
    let mut entries = by_set(report, Unit::Share, of, figure);
    for entry in &mut entries {
        let labels = report.labels.pairwise.as_ref().and_then(|labels| labels.by_set.get(entry.group.as_ref()?));
        entry.beside = labels.map(beside).unwrap_or_default();
    }
    let layout = Layout {
        rows: "Judge",
        caption: "Accuracy by set",
        note: "Without ties; 95 % intervals.",
        unit: Unit::Share,
        dashed: Some((0.5, "a coin")),
    };
    Forest::new(&layout, grouped(entries))
}

fn correlation_by_set(report: &Report) -> Option<Forest> {
    let of = |judge: &Judge| judge.absolute.as_ref().map(|absolute| absolute.by_set.keys().cloned().collect());
    let figure = |judge: &Judge, set: &str| judge.absolute.as_ref()?.by_set.get(set)?.pearson;
    let layout = Layout {
        rows: "Judge",
        caption: "Correlation by set",
        note: "Pearson’s, of the expected score with the label; 95 % intervals.",
        unit: Unit::Number,
        dashed: Some((0.0, "no correlation")),
    };
    Forest::new(&layout, grouped(by_set(report, Unit::Number, of, figure)))
}

/// Every set with every judge, the name of the set on each.
fn by_set(
    report: &Report,
    unit: Unit,
    sets: impl Fn(&Judge) -> Option<Vec<String>>,
    figure: impl Fn(&Judge, &str) -> Option<Figure>,
) -> Vec<Entry> {
    let names: BTreeSet<String> = report.judges.iter().filter_map(sets).flatten().collect();
    let entry = |set: &String, nth: usize, judge: &Judge| {
        let entry = Entry::of_judge(nth, &judge.name, unit, figure(judge, set).as_ref());
        Entry { group: Some(set.clone()), ..entry }
    };
    let of_set = |set| report.judges.iter().enumerate().map(move |(nth, judge)| entry(set, nth, judge));
    names.iter().flat_map(of_set).collect()
}

/// Only the first row of a group says which group it is.
fn grouped(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut before: Option<String> = None;
    for entry in &mut entries {
        if entry.group == before {
            entry.group = None;
        } else {
            before.clone_from(&entry.group);
        }
    }
    entries
}

fn comparisons(all: &[Comparison]) -> Vec<Comparisons> {
    let of_two = all.chunk_by(|one, other| (&one.a, &one.b) == (&other.a, &other.b));
    of_two
        .map(|of_two| Comparisons { a: of_two[0].a.clone(), b: of_two[0].b.clone(), forests: differences(of_two) })
        .collect()
}

/// Shares and plain numbers have axes of their own.
fn differences(of_two: &[Comparison]) -> Vec<Forest> {
    let unit = |of: &Comparison| measure(&of.figure).map_or(Unit::Number, |measure| measure.unit).of_differences();
    let entry = |of: &Comparison| {
        let name = measure(&of.figure).map_or(of.figure.as_str(), |measure| measure.name).to_owned();
        Entry {
            group: None,
            name,
            class: "difference".into(),
            symbol: Symbol::Circle,
            unit: unit(of),
            figure: Some(of.difference),
            beside: Vec::new(),
            more: Some(probability(of.p_value)),
        }
    };
    let of_unit = |wanted: Unit, caption: &'static str| {
        let entries = of_two.iter().filter(|of| unit(of) == wanted).map(entry).collect();
        let layout = Layout { rows: "Figure", caption, note: "", unit: wanted, dashed: Some((0.0, "no difference")) };
        Forest::new(&layout, entries)
    };
    let points = of_unit(Unit::Points, "Differences of shares, in percentage points");
    let plain = of_unit(Unit::Difference, "Differences of correlations, errors and scores");
    points.into_iter().chain(plain).collect()
}

fn probability(p: f64) -> String {
    if p < 0.0005 { "p < 0.001".into() } else { format!("p = {p:.3}") }
}
