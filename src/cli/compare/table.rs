//! A comparison as a person reads it, in at most 100 columns.

use std::fmt::Write;

use super::report::{Compared, Report, Side, ends};
use crate::domain::runs::Shift;

/// Columns of the beginning of an instruction.
const INSTRUCTION: usize = 44;
/// Columns of an id.
const ID: usize = 20;

/// Writing to a string does not fail.
macro_rules! put {
    ($out:expr, $($part:tt)*) => { let _ = writeln!($out, $($part)*); };
}

/// The whole report, with so many of the worst and of the best items.
pub(super) fn show(report: &Report, top: usize) -> String {
    let mut out = String::new();
    side(&mut out, "a", &report.a);
    side(&mut out, "b", &report.b);
    if !report.differs.is_empty() {
        put!(out, "they were made with another {}", report.differs.join(", another "));
    }
    put!(
        out,
        "{} items in both with a verdict, {} only in a, {} only in b",
        report.change.both,
        report.only_a,
        report.only_b
    );
    put!(
        out,
        "\n{:12}{:>8}{:>8}{:>10}   {:18}{:>7}{:>6}{:>6}{:>6}",
        "mean",
        "a",
        "b",
        "b less a",
        "95 % interval",
        "p",
        "up",
        "down",
        "same"
    );
    for (name, of) in [("reward", &report.change.responses), ("P(A better)", &report.change.pairs)] {
        if let Some(of) = of {
            put!(out, "{}", row(name, of));
        }
    }
    put!(out, "up, down: items whose score is higher or lower in b (of pairs: the preference moved to A or to B)");
    if report.by_item {
        put!(out, "items count as independent of each other; --data names their instructions");
    }
    let (worst, best) = ends(&report.items, top);
    items(&mut out, "WORST IN B", &worst);
    items(&mut out, "BEST IN B", &best);
    out
}

fn side(out: &mut String, letter: &str, side: &Side) {
    let Side { name, items, graded, unscored, failed, .. } = side;
    put!(out, "{letter}  {name}: {graded} of {items} graded, {unscored} unscored, {failed} failed");
    let made = [("", &side.model), ("rubric ", &side.rubric), ("prompt set ", &side.prompt)];
    let made: Vec<String> =
        made.iter().filter_map(|(what, name)| name.as_ref().map(|name| format!("{what}{name}"))).collect();
    if !made.is_empty() {
        put!(out, "   {}", made.join(", "));
    }
}

fn row(name: &str, shift: &Shift) -> String {
    let Shift { a, b, difference, p_value, up, down, same } = shift;
    let interval = match (difference.low, difference.high) {
        (Some(low), Some(high)) => format!("{low:+.3} to {high:+.3}"),
        _ => String::new(),
    };
    format!(
        "{name:12}{:>8.3}{:>8.3}{:>+10.3}   {interval:18}{p_value:>7.3}{up:>6}{down:>6}{same:>6}",
        a.value, b.value, difference.value
    )
}

fn items(out: &mut String, title: &str, items: &[&Compared]) {
    if items.is_empty() {
        return;
    }
    put!(out, "\n{title:ID$}{:>8}{:>8}{:>10}   said", "a", "b", "b less a");
    for item in items {
        let said = match (item.a.said(), item.b.said()) {
            (a, b) if a == b => a,
            (a, b) => format!("{a} → {b}"),
        };
        let id = shortened(&item.id, ID - 2);
        let text = item.instruction.as_deref().map(|text| shortened(text, INSTRUCTION)).unwrap_or_default();
        let line =
            format!("{id:ID$}{:>8.3}{:>8.3}{:>+10.3}   {said:9} {text}", item.a.value, item.b.value, item.difference);
        put!(out, "{}", line.trim_end());
    }
}

/// The beginning of a text, on one line.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::made_up;
    use super::*;

    #[test]
    fn a_comparison_fits_a_terminal_of_100_columns() {
        let table = show(&made_up(), 3);
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
        for part in [
            "a  before: 12 of 13 graded, 0 unscored, 1 failed",
            "   small on scripted, rubric honesty, prompt set honesty",
            "they were made with another model",
            "12 items in both with a verdict, 0 only in a, 1 only in b",
            "WORST IN B",
            "item-0                 0.100  -0.100    -0.200   1         Question item-0?",
            "BEST IN B",
        ] {
            assert!(table.contains(part), "{part}: {table}");
        }
        assert_eq!(shortened("a\n b  c", 9), "a b c");
        assert_eq!(shortened("abcdefghij", 5), "abcd…");
    }
}
