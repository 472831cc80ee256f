//! What a simulation found, as text.

use std::fmt::Write;

use serde::Serialize;

use super::super::page::units::Unit;
use crate::domain::Kind;
use crate::domain::calibration::{DataSource, MadeFor};
use crate::domain::routing::Simulation;

/// What a simulation found, and on what.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) kind: Kind,
    /// The router; `None`: the judge's own uncertainty.
    pub(super) router: Option<RouterName>,
    /// Whose verdicts they are.
    pub(super) judged_with: MadeFor,
    pub(super) data: Vec<DataSource>,
    pub(super) seed: u64,
    pub(super) resamples: u32,
    #[serde(flatten)]
    pub(super) simulation: Simulation,
}

/// A router by its file.
#[derive(Debug, Serialize)]
pub(super) struct RouterName {
    pub(super) path: String,
    pub(super) digest: String,
}

/// What items are routed by.
pub(super) fn routed_by(report: &Report) -> String {
    match &report.router {
        Some(RouterName { path, digest }) => format!("the router {path} ({digest})"),
        None => "the judge's own uncertainty".to_owned(),
    }
}

/// The report as text.
pub(super) fn table(report: &Report) -> String {
    let Simulation { items, instructions, points, area, best_area } = &report.simulation;
    let mut text = String::new();
    let mut line = |line: String| {
        // Writing to a text does not fail.
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line(format!("routed by {}", routed_by(report)));
    line(format!("\naccuracy, n = {items} on {instructions} instructions; 95 % intervals"));
    line(format!("{:>9}  {:>5}  {:<25} {:<25} {}", "to people", "score", "routed", "at random", "gain"));
    for point in points {
        let score = point.threshold.map_or_else(|| "-".to_owned(), |score| format!("{score:.3}"));
        let (routed, random) = (Unit::Share.sentence(&point.accuracy), Unit::Share.sentence(&point.random));
        let share = format!("{:.0} %", point.share * 100.0);
        line(format!("{share:>9}  {score:>5}  {routed:<25} {random:<25} {}", Unit::Points.sentence(&point.gain)));
    }
    line(format!("\narea between the curves {}", Unit::Points.sentence(area)));
    line(format!("of at most              {}", Unit::Points.sentence(best_area)));
    text.replace('\u{a0}', " ")
}
