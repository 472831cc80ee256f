//! Figures with their intervals, a line each, on one axis: a table whose rows have a plot in them.

use serde::Serialize;

use super::svg::{Anchor, Axis, Plot, Symbol};
use super::units::{Unit, Written};
use crate::domain::agreement::report::Figure;

/// The size of a row's plot; the axis lies within it, so that the numbers at its ends have room.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 24.0;
const PLACE: [f64; 2] = [20.0, 280.0];

/// A table of figures on one axis.
#[derive(Debug, Serialize)]
pub(in super::super) struct Forest {
    caption: String,
    note: String,
    heading: &'static str,
    axis: Plot,
    rows: Vec<Row>,
    legend: Vec<Legend>,
}

#[derive(Debug, Serialize)]
struct Row {
    /// Stands above the rows that belong together, in the first of them.
    group: Option<String>,
    name: String,
    /// Whose colours it has.
    class: String,
    figure: Option<Written>,
    strip: Plot,
    /// What stands behind the figure, such as a p-value.
    more: Option<String>,
}

#[derive(Debug, Serialize)]
struct Legend {
    class: String,
    symbol: Plot,
    text: String,
}

/// A line of the table.
pub(in super::super) struct Entry {
    pub(in super::super) group: Option<String>,
    pub(in super::super) name: String,
    pub(in super::super) class: String,
    pub(in super::super) symbol: Symbol,
    pub(in super::super) unit: Unit,
    pub(in super::super) figure: Option<Figure>,
    /// What it is compared with.
    pub(in super::super) beside: Vec<Beside>,
    pub(in super::super) more: Option<String>,
}

impl Entry {
    /// One of a judge.
    pub(in super::super) fn of_judge(nth: usize, name: impl Into<String>, unit: Unit, figure: Option<&Figure>) -> Self {
        Self {
            group: None,
            name: name.into(),
            class: judge_class(nth),
            symbol: Symbol::of_judge(nth),
            unit,
            figure: figure.copied(),
            beside: Vec::new(),
            more: None,
        }
    }

    /// One of a rule or of people.
    pub(in super::super) fn of_rule(name: &str, symbol: Symbol, unit: Unit, figure: &Figure) -> Self {
        let (class, name) = ("rule".to_owned(), name.to_owned());
        let figure = Some(*figure);
        Self { group: None, name, class, symbol, unit, figure, beside: Vec::new(), more: None }
    }
}

/// The class that has the colours of a judge.
pub(in super::super) fn judge_class(nth: usize) -> String {
    format!("judge-{}", nth % 4)
}

/// A value that a figure is compared with.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Beside {
    pub(in super::super) symbol: Symbol,
    pub(in super::super) name: &'static str,
    pub(in super::super) value: f64,
}

/// A table and how it is to look.
pub(in super::super) struct Layout<'a> {
    /// What a row is of.
    pub(in super::super) rows: &'static str,
    pub(in super::super) caption: &'a str,
    pub(in super::super) note: &'a str,
    /// Of the axis.
    pub(in super::super) unit: Unit,
    /// A dashed line, and what it says.
    pub(in super::super) dashed: Option<(f64, &'static str)>,
}

impl Forest {
    /// `None` where no entry has a figure.
    pub(in super::super) fn new(layout: &Layout<'_>, entries: Vec<Entry>) -> Option<Self> {
        entries.iter().any(|entry| entry.figure.is_some()).then(|| Self::of(layout, entries))
    }

    fn of(layout: &Layout<'_>, entries: Vec<Entry>) -> Self {
        let values = entries.iter().flat_map(|entry| {
            let figure = entry.figure.iter().flat_map(|figure| [Some(figure.value), figure.low, figure.high]);
            figure.flatten().chain(entry.beside.iter().map(|beside| beside.value))
        });
        let values = values.chain(layout.dashed.map(|(value, _)| value));
        let axis = Axis::over(values, PLACE);
        Self {
            caption: layout.caption.to_owned(),
            note: layout.note.to_owned(),
            heading: layout.rows,
            axis: scale(&axis, layout.unit),
            legend: legend(layout, &entries),
            rows: entries.into_iter().map(|entry| row(&axis, layout, entry)).collect(),
        }
    }
}

/// The numbers above the rows.
fn scale(axis: &Axis, unit: Unit) -> Plot {
    let mut plot = Plot::new(WIDTH, 18.0, None);
    for tick in axis.ticks() {
        plot.text((axis.at(tick), 13.0), Anchor::Middle, "soft", unit.tick(tick, axis.step));
    }
    plot
}

fn row(axis: &Axis, layout: &Layout<'_>, entry: Entry) -> Row {
    let middle = HEIGHT / 2.0;
    let of = |value: f64| entry.unit.value(value);
    let mut said = entry.figure.as_ref().map_or_else(|| "not defined".to_owned(), |f| entry.unit.sentence(f));
    for beside in &entry.beside {
        said += &format!("; {} {}", beside.name, of(beside.value));
    }
    let mut plot = Plot::new(WIDTH, HEIGHT, Some(format!("{}: {said}", entry.name)));
    for tick in axis.ticks() {
        plot.line((axis.at(tick), 0.0), (axis.at(tick), HEIGHT), "grid");
    }
    if let Some((value, _)) = layout.dashed {
        plot.line((axis.at(value), 0.0), (axis.at(value), HEIGHT), "dashed");
    }
    for beside in &entry.beside {
        plot.symbol(beside.symbol, (axis.at(beside.value), middle), None);
    }
    if let Some(figure) = &entry.figure {
        if let (Some(low), Some(high)) = (figure.low, figure.high) {
            plot.line((axis.at(low), middle), (axis.at(high), middle), "interval");
        }
        plot.symbol(entry.symbol, (axis.at(figure.value), middle), None);
    }
    Row {
        group: entry.group,
        name: entry.name,
        class: entry.class,
        figure: entry.figure.map(|figure| Written::of(&figure, entry.unit)),
        strip: plot,
        more: entry.more,
    }
}

fn legend(layout: &Layout<'_>, entries: &[Entry]) -> Vec<Legend> {
    let mut shown: Vec<(Symbol, &'static str)> = Vec::new();
    for beside in entries.iter().flat_map(|entry| &entry.beside) {
        if !shown.contains(&(beside.symbol, beside.name)) {
            shown.push((beside.symbol, beside.name));
        }
    }
    let mut legend: Vec<Legend> = shown
        .into_iter()
        .map(|(symbol, name)| {
            let mut plot = Plot::new(20.0, 18.0, None);
            plot.symbol(symbol, (10.0, 9.0), None);
            Legend { class: "rule".to_owned(), symbol: plot, text: name.to_owned() }
        })
        .collect();
    if let Some((_, name)) = layout.dashed {
        let mut plot = Plot::new(20.0, 18.0, None);
        plot.line((10.0, 0.0), (10.0, 18.0), "dashed");
        legend.push(Legend { class: "rule".to_owned(), symbol: plot, text: name.to_owned() });
    }
    legend
}
