//! A report as a page that a browser shows: one file, without scripts and without anything from elsewhere.

mod figures;
mod overview;
mod plots;
mod sections;
mod summary;
#[cfg(test)]
mod tests;

use serde::Serialize;

use self::figures::RULES;
use self::overview::SideBySide;
use self::sections::{Explained, Section};
use super::super::CliError;
use super::super::page::forest::Forest;
use super::super::page::render;
use super::super::page::units::{Written, count, counted};
use crate::domain::agreement::report::{DataFile, Labels, Report};

/// What the page shows.
#[derive(Serialize)]
struct Page {
    title: String,
    lead: String,
    headlines: Vec<Forest>,
    judges: Vec<Section>,
    side_by_side: Option<SideBySide>,
    rules: Vec<Explained>,
    run: Vec<(&'static str, String)>,
    resamples: String,
    files: Vec<File>,
}

/// A labelled file.
#[derive(Serialize)]
struct File {
    path: String,
    format: String,
    items: String,
    taken: String,
    /// Items without a label, if there are any.
    unlabelled: Option<String>,
    sha256: String,
}

/// The page of a report.
///
/// # Errors
/// When a template is wrong, which no report makes it.
pub(super) fn page(report: &Report) -> Result<String, CliError> {
    render(include_str!("html/page.html.j2"), shown(report))
}

fn shown(report: &Report) -> Page {
    let judges = report.judges.iter().enumerate();
    Page {
        title: title(report),
        lead: lead(report),
        headlines: overview::headlines(report),
        judges: judges.map(|(nth, judge)| sections::section(nth, judge, &report.labels)).collect(),
        side_by_side: overview::side_by_side(report),
        rules: rules(&report.labels),
        run: run(report),
        resamples: count(report.resamples),
        files: files(report),
    }
}

fn title(report: &Report) -> String {
    let names: Vec<&str> = report.judges.iter().map(|judge| judge.name.as_str()).collect();
    match names.split_last() {
        Some((last, [])) => format!("How far {last} agrees with labels"),
        Some((last, others)) => format!("How far {} and {last} agree with labels", others.join(", ")),
        None => "Agreement with labels".into(),
    }
}

fn lead(report: &Report) -> String {
    let (scores, pairs) =
        report.data.iter().fold((0, 0), |(scores, pairs), file| (scores + file.absolute, pairs + file.pairwise));
    let mut of = Vec::new();
    if scores > 0 {
        of.push(format!("{} with a score", counted(scores, "item")));
    }
    if pairs > 0 {
        of.push(counted(pairs, "pair"));
    }
    let mut lead = format!("Measured on {} from {}", of.join(" and "), counted(report.data.len(), "file"));
    if let Some(split) = &report.split {
        lead += &format!(", the {split} half of the instructions");
    }
    if let Some(sample) = report.sample {
        lead += &format!(", a sample of {}", count(sample));
    }
    lead + "."
}

fn rules(labels: &Labels) -> Vec<Explained> {
    let known = RULES.iter().filter_map(|rule| Some((rule, (rule.of)(labels)?)));
    known
        .map(|(rule, figure)| Explained {
            name: rule.name,
            says: rule.says,
            figure: Some(Written::of(figure, rule.unit)),
        })
        .collect()
}

fn run(report: &Report) -> Vec<(&'static str, String)> {
    vec![
        ("Version", format!("gavel {}", report.version)),
        ("Seed", report.seed.to_string()),
        ("Resamples", count(report.resamples)),
        ("Sample", report.sample.map_or_else(|| "none: all items".into(), |sample| counted(sample, "item"))),
        (
            "Split",
            report.split.as_ref().map_or_else(|| "none: both halves".into(), |split| format!("the {split} half")),
        ),
    ]
}

fn files(report: &Report) -> Vec<File> {
    let file = |file: &DataFile| File {
        path: file.path.clone(),
        format: file.format.clone(),
        items: count(file.items),
        taken: match (file.absolute, file.pairwise) {
            (scores, 0) => format!("{} with a score", count(scores)),
            (0, pairs) => counted(pairs, "pair"),
            (scores, pairs) => format!("{} with a score, {}", count(scores), counted(pairs, "pair")),
        },
        unlabelled: (file.unlabelled > 0).then(|| count(file.unlabelled)),
        sha256: file.sha256.clone(),
    };
    report.data.iter().map(file).collect()
}
