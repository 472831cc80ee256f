//! The plots of one judge: confusion matrix, histogram, reliability curve. Each has its numbers in a table beside it.

use super::super::super::page::panel::{Key, Panel};
use super::super::super::page::svg::{Anchor, Axis, Plot, SMALL, Symbol};
use super::super::super::page::units::{Unit, count, counted};
use crate::domain::agreement::report::{Bin, Histogram};

/// As wide as the text of a narrow phone, so that there plots are drawn at their own size.
const WIDTH: f64 = 328.0;

/// How many items have which label and which verdict. Tints are shares of a row; none is so strong that the count on it
/// could not be read, in light and in dark.
pub(super) fn confusion(caption: &str, levels: &[String], counts: &[Vec<usize>]) -> Panel {
    const STRONGEST: f64 = 0.5;
    let (left, top) = (48.0, 36.0);
    let wide = (WIDTH - left - 2.0) / levels.len() as f64;
    let high = wide.clamp(22.0, 40.0);
    let title = format!("{caption}: rows are labels, columns are what the judge says; the table has the counts");
    let mut plot = Plot::new(WIDTH, top + high * levels.len() as f64 + 2.0, Some(title));
    plot.text((left + (WIDTH - left) / 2.0, 12.0), Anchor::Middle, "soft", "the judge says");
    plot.text((0.0, top - 7.0), Anchor::Start, "soft", "label");
    let most_digits = counts.iter().flatten().map(|n| n.to_string().len()).max().unwrap_or(1);
    let size = ((wide - 3.0) / (most_digits as f64 * 0.6)).clamp(7.0, 13.0);
    let center = |column: usize| left + wide * (column as f64 + 0.5);
    for (column, level) in levels.iter().enumerate() {
        plot.text((center(column), top - 7.0), Anchor::Middle, "strong", level);
    }
    for (row, (level, of_label)) in levels.iter().zip(counts).enumerate() {
        let (y, sum) = (top + high * row as f64, of_label.iter().sum::<usize>());
        plot.text((left - 8.0, y + high / 2.0 + 4.0), Anchor::End, "strong", level);
        for (column, n) in of_label.iter().enumerate() {
            let cell = [left + wide * column as f64 + 1.0, y + 1.0, wide - 2.0, high - 2.0];
            let share = if sum == 0 { 0.0 } else { *n as f64 / sum as f64 };
            let tip = format!("label {level}, judge {}: {} ({})", levels[column], count(*n), Unit::Share.value(share));
            plot.tint(cell, share * STRONGEST, tip);
            plot.rect(cell, if row == column { "cell same" } else { "cell" }, None);
            let at = (center(column), y + high / 2.0 + size * 0.35);
            plot.sized(at, Anchor::Middle, size, "count", n.to_string());
        }
    }
    let head = std::iter::once("label".to_owned()).chain(levels.iter().cloned()).chain(["all".to_owned()]);
    let sum = |cells: &[usize]| count(cells.iter().sum());
    let mut rows: Vec<Vec<String>> = levels
        .iter()
        .zip(counts)
        .map(|(level, cells)| {
            let numbers = cells.iter().map(|n| count(*n));
            std::iter::once(level.clone()).chain(numbers).chain([sum(cells)]).collect()
        })
        .collect();
    let columns = (0..levels.len()).map(|column| count(counts.iter().map(|row| row[column]).sum()));
    let all = count(counts.iter().flatten().sum());
    rows.push(std::iter::once("all".to_owned()).chain(columns).chain([all]).collect());
    Panel {
        caption: caption.to_owned(),
        note: "Counts; the tint is the share of the row. Where judge and label agree, the cell has a border.".into(),
        plot,
        legend: Vec::new(),
        table: "The counts as a table",
        head: head.collect(),
        rows,
    }
}

/// How often each score occurs, among the labels and among the judge's scores.
pub(super) fn histogram(levels: &[String], of: &Histogram) -> Panel {
    let most = of.label.iter().chain(&of.judge).copied().max().unwrap_or(0);
    let (left, top, bottom, high) = (12.0 + 7.0 * count(most).len() as f64, 16.0, 22.0, 150.0);
    let axis = Axis::over([0.0, most.max(1) as f64].into_iter(), [top + high, top]);
    let title = "Scores of the judge beside labels: how often each occurs; the table has the counts".to_owned();
    let mut plot = Plot::new(WIDTH, top + high + bottom, Some(title));
    for tick in axis.ticks().filter(|tick| tick.fract() == 0.0) {
        plot.line((left, axis.at(tick)), (WIDTH, axis.at(tick)), "grid");
        plot.text((left - 6.0, axis.at(tick) + 4.0), Anchor::End, "soft", count(tick as usize));
    }
    let wide = (WIDTH - left) / levels.len() as f64;
    let bar = (wide * 0.36).min(30.0);
    for (nth, level) in levels.iter().enumerate() {
        let middle = left + wide * (nth as f64 + 0.5);
        for (class, who, n, x) in [
            ("bar label", "labels", of.label[nth], middle - bar - 1.0),
            ("bar judge", "judge", of.judge[nth], middle + 1.0),
        ] {
            let y = axis.at(n as f64);
            plot.rect([x, y, bar, top + high - y], class, Some(format!("{who}, {level}: {}", count(n))));
        }
        plot.text((middle, top + high + 15.0), Anchor::Middle, "strong", level);
    }
    plot.line((left, top + high), (WIDTH, top + high), "base");
    let rows = levels.iter().enumerate();
    Panel {
        caption: "Scores beside labels".into(),
        note: "How often each score occurs; labels between two scores are rounded.".into(),
        plot,
        legend: vec![Key { class: "label", text: "labels" }, Key { class: "judge", text: "the judge" }],
        table: "The counts as a table",
        head: ["score", "labels", "judge"].map(str::to_owned).to_vec(),
        rows: rows.map(|(nth, level)| vec![level.clone(), count(of.label[nth]), count(of.judge[nth])]).collect(),
    }
}

/// Probabilities against what came true, and how many items lie in each bin.
pub(super) fn reliability(what: &str, bins: &[Bin]) -> Panel {
    let (left, right, top, side, below) = (36.0, WIDTH - 8.0, 22.0, 284.0, 48.0);
    let across = Axis::fixed(0.0, 1.0, 0.2, [left, right]);
    let up = Axis::fixed(0.0, 1.0, 0.2, [top + side, top]);
    let counts = top + side + 16.0 + below;
    let title = format!(
        "Reliability curve over {}: observed share by predicted probability; the table has the bins",
        counted(bins.len(), "bin")
    );
    let mut plot = Plot::new(WIDTH, counts + 36.0, Some(title));
    plot.text((0.0, 12.0), Anchor::Start, "soft", "share that is so");
    for tick in up.ticks() {
        plot.line((left, up.at(tick)), (right, up.at(tick)), "grid");
        plot.line((across.at(tick), top), (across.at(tick), top + side), "grid");
        let name = Unit::Number.tick(tick, 0.2);
        plot.text((left - 6.0, up.at(tick) + 4.0), Anchor::End, "soft", name.clone());
        plot.text((across.at(tick), counts + 14.0), Anchor::Middle, "soft", name);
    }
    plot.line((left, top + side), (right, top), "dashed");
    let place = |bin: &Bin| (across.at(bin.predicted), up.at(bin.observed));
    for pair in bins.windows(2) {
        plot.line(place(&pair[0]), place(&pair[1]), "curve");
    }
    let number = |x: f64| Unit::Number.value(x);
    for bin in bins {
        let tip = format!(
            "{} to {}: {} predicted, {} so, {}",
            number(bin.low),
            number(bin.high),
            number(bin.predicted),
            number(bin.observed),
            counted(bin.n, "item")
        );
        plot.symbol(Symbol::Circle, place(bin), Some(tip));
    }
    let most = bins.iter().map(|bin| bin.n).max().unwrap_or(0);
    plot.text((left - 6.0, counts - below + 8.0), Anchor::End, "soft", count(most));
    plot.text((left - 6.0, counts), Anchor::End, "soft", "0");
    for bin in bins {
        let tall = below * bin.n as f64 / most.max(1) as f64;
        let (from, to) = (across.at(bin.low), across.at(bin.high));
        // A bin of equal probabilities has no width of its own.
        let wide = (to - from).max(2.0);
        let from = ((from + to) / 2.0 - wide / 2.0).clamp(left, right - wide);
        let tip = format!("{} to {}: {}", number(bin.low), number(bin.high), counted(bin.n, "item"));
        plot.rect([from, counts - tall, wide, tall], "bar bin", Some(tip));
    }
    plot.line((left, counts), (right, counts), "base");
    plot.text((right, counts + 14.0 + SMALL + 5.0), Anchor::End, "soft", "probability; bars: items in each bin");
    let row = |bin: &Bin| {
        let mut cells = vec![format!("{} to {}", number(bin.low), number(bin.high))];
        cells.extend([number(bin.predicted), number(bin.observed), count(bin.n)]);
        cells
    };
    Panel {
        caption: format!("Reliability of {what}"),
        note: "On the dashed line, probabilities match the observed shares; below it, they are too high.".into(),
        plot,
        legend: Vec::new(),
        table: "The bins as a table",
        head: ["probability", "mean", "is so", "items"].map(str::to_owned).to_vec(),
        rows: bins.iter().map(row).collect(),
    }
}
