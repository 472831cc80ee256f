//! The rules of OpenAI's graders that need no model: string checks, templates and formulas. Pure functions.

mod formula;
mod template;

pub use formula::{InvalidFormula, check, evaluate};
pub use template::{MAX_BYTES as MAX_TEMPLATE_BYTES, TemplateError, Variables};

use serde::{Deserialize, Serialize};

/// A comparison of two strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// They are equal.
    Eq,
    /// They are not equal.
    Ne,
    /// The input contains the reference. An empty reference never matches.
    Like,
    /// The same, ignoring case.
    Ilike,
}

impl Operation {
    /// Whether the comparison holds.
    #[must_use]
    pub fn holds(self, input: &str, reference: &str) -> bool {
        match self {
            Self::Eq => input == reference,
            Self::Ne => input != reference,
            Self::Like | Self::Ilike if reference.is_empty() => false,
            Self::Like => input.contains(reference),
            Self::Ilike => input.to_lowercase().contains(&reference.to_lowercase()),
        }
    }
}

/// The scores that a model grader chooses from: the integers of the range, if there are at most eleven, else eleven
/// evenly spaced numbers.
#[must_use]
pub fn levels(lowest: f64, highest: f64) -> Vec<f64> {
    let width = highest - lowest;
    if lowest.fract() == 0.0 && highest.fract() == 0.0 && (2.0..=10.0).contains(&width) {
        return (0..=width as usize).map(|step| lowest + step as f64).collect();
    }
    // Rounded, so that a tenth is written as 0.1.
    let unit = 10f64.powi(3 - (width.abs().log10().floor() as i32));
    (0..=10).map(|step| ((lowest + width * f64::from(step) / 10.0) * unit).round() / unit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_compared() {
        let check = |operation: Operation, input: &str, reference: &str, holds: bool| {
            assert_eq!(operation.holds(input, reference), holds, "{operation:?} {input:?} {reference:?}");
        };
        check(Operation::Eq, "a", "a", true);
        check(Operation::Eq, "a", "A", false);
        check(Operation::Ne, "a", "A", true);
        check(Operation::Like, "the cat", "cat", true);
        check(Operation::Like, "the Cat", "cat", false);
        check(Operation::Ilike, "the CÄT", "cät", true);
        for input in ["the cat", ""] {
            check(Operation::Like, input, "", false);
            check(Operation::Ilike, input, "", false);
        }
        check(Operation::Eq, "", "", true);
    }

    #[test]
    fn scores_are_written_short() {
        let check = |lowest: f64, highest: f64, expected: &[&str]| {
            let written: Vec<String> = levels(lowest, highest).iter().map(f64::to_string).collect();
            assert_eq!(written, expected);
        };
        check(0.0, 1.0, &["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1"]);
        check(1.0, 5.0, &["1", "2", "3", "4", "5"]);
        check(0.0, 100.0, &["0", "10", "20", "30", "40", "50", "60", "70", "80", "90", "100"]);
        check(-0.5, 0.5, &["-0.5", "-0.4", "-0.3", "-0.2", "-0.1", "0", "0.1", "0.2", "0.3", "0.4", "0.5"]);
    }
}
