//! How numbers are written.

use serde::Serialize;

use crate::domain::agreement::report::Figure;

/// How a figure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Unit {
    /// A share, as a percentage.
    Share,
    /// A difference of shares, in percentage points, with its sign.
    Points,
    /// A plain number.
    Number,
    /// A difference of plain numbers, with its sign.
    Difference,
}

impl Unit {
    /// That of the difference of two figures.
    pub(in super::super) fn of_differences(self) -> Self {
        match self {
            Self::Share | Self::Points => Self::Points,
            Self::Number | Self::Difference => Self::Difference,
        }
    }

    /// The value without what follows it.
    fn bare(self, value: f64) -> String {
        let text = match self {
            Self::Share => format!("{:.1}", value * 100.0),
            Self::Points => format!("{:+.1}", value * 100.0),
            Self::Number => format!("{value:.3}"),
            Self::Difference => format!("{value:+.3}"),
        };
        signed(&text)
    }

    fn behind(self) -> &'static str {
        match self {
            Self::Share => "\u{a0}%",
            Self::Points => "\u{a0}points",
            Self::Number | Self::Difference => "",
        }
    }

    /// The value as text.
    pub(in super::super) fn value(self, value: f64) -> String {
        self.bare(value) + self.behind()
    }

    /// A place on an axis with marks so far apart.
    pub(in super::super) fn tick(self, value: f64, step: f64) -> String {
        let (value, step, behind) = match self {
            Self::Share => (value * 100.0, step * 100.0, self.behind()),
            Self::Points => (value * 100.0, step * 100.0, ""),
            Self::Number | Self::Difference => (value, step, ""),
        };
        // As many decimals as tell two marks apart.
        let decimals = (-(step * 1.000_001).log10().floor()).max(0.0) as usize;
        signed(&format!("{value:.decimals$}")) + behind
    }

    /// The interval as text; `None` where there is none.
    pub(in super::super) fn range(self, figure: &Figure) -> Option<String> {
        let (low, high) = (figure.low?, figure.high?);
        Some(format!("{} to {}", self.bare(low), self.bare(high)))
    }

    /// The value and its interval, in a sentence.
    pub(in super::super) fn sentence(self, figure: &Figure) -> String {
        match self.range(figure) {
            Some(range) => format!("{} ({range})", self.value(figure.value)),
            None => self.value(figure.value),
        }
    }
}

/// With a minus sign as wide as a plus sign, and no sign before a zero.
fn signed(text: &str) -> String {
    let digits = text.trim_start_matches(['-', '+']);
    if digits.chars().all(|digit| matches!(digit, '0' | '.')) {
        return digits.to_owned();
    }
    text.replace('-', "\u{2212}")
}

/// A count with a comma before every three digits.
pub(in super::super) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 item`, `2 items`.
pub(in super::super) fn counted(n: usize, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A figure as it stands in a table.
#[derive(Debug, Serialize)]
pub(in super::super) struct Written {
    value: String,
    range: Option<String>,
    n: String,
}

impl Written {
    pub(in super::super) fn of(figure: &Figure, unit: Unit) -> Self {
        Self { value: unit.value(figure.value), range: unit.range(figure), n: count(figure.n) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unit: Unit, value: f64, expected: &str) {
        assert_eq!(unit.value(value), expected, "{unit:?} {value}");
    }

    #[test]
    fn numbers_are_written_by_their_unit() {
        check(Unit::Share, 0.66, "66.0\u{a0}%");
        check(Unit::Points, 0.07, "+7.0\u{a0}points");
        check(Unit::Points, -0.00001, "0.0\u{a0}points");
        check(Unit::Number, -0.25, "\u{2212}0.250");
        check(Unit::Difference, 0.0004, "0.000");
    }

    fn check_tick(unit: Unit, value: f64, step: f64, expected: &str) {
        assert_eq!(unit.tick(value, step), expected, "{unit:?} {value} {step}");
    }

    #[test]
    fn marks_of_an_axis_have_as_many_decimals_as_tell_them_apart() {
        check_tick(Unit::Share, 0.5, 0.1, "50\u{a0}%");
        check_tick(Unit::Share, 0.505, 0.005, "50.5\u{a0}%");
        check_tick(Unit::Number, 0.2, 0.2, "0.2");
        check_tick(Unit::Number, 0.85, 0.05, "0.85");
        check_tick(Unit::Number, -2.0, 1.0, "\u{2212}2");
        check_tick(Unit::Points, -0.1, 0.1, "\u{2212}10");
    }

    #[test]
    fn counts_have_commas() {
        let counts = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((counted(1, "pair"), counted(2, "pair")), ("1 pair".to_owned(), "2 pairs".to_owned()));
    }

    #[test]
    fn an_interval_is_shown_where_there_is_one() {
        let figure = |low, high| Figure { value: 0.5, low, high, n: 3 };
        assert_eq!(Unit::Share.range(&figure(None, None)), None);
        assert_eq!(Unit::Share.sentence(&figure(None, None)), "50.0\u{a0}%");
        assert_eq!(Unit::Share.sentence(&figure(Some(0.4), Some(0.6))), "50.0\u{a0}% (40.0 to 60.0)");
    }
}
