//! What `gavel calibrate` and `gavel fit` print.

use std::time::{SystemTime, UNIX_EPOCH};

use super::examples::Gathered;
use crate::domain::calibration::{Examples, HeldOut, Parameters};

/// The figures before and after, and those of sets that were left out.
pub(super) fn text(gathered: &Gathered, map: &Parameters, held_out: &HeldOut) -> String {
    let mut text = String::new();
    let mut line = |line: String| text.push_str(&(line + "\n"));
    let what = match &gathered.examples {
        Examples::Scores(_) => "scores",
        Examples::Pairs(_) => "pairs",
        Examples::GradedAlone(_) => "pairs (each response graded alone)",
    };
    let joined = &gathered.joined;
    let (with, without, failed) = (gathered.examples.len(), joined.without_verdict, joined.failed);
    line(format!("{with} labelled {what} with a verdict, {without} without; {failed} lines have an error"));
    if joined.unlabelled > 0 {
        line(format!("items without a label, left out: {}", joined.unlabelled));
    }
    let tried = if map.is_fit() { "by cross-validation over instructions" } else { "on the instructions held out" };
    line(format!("\n{tried}, n = {}", held_out.items));
    line(format!("{:<10} {:>8} {:>8} {:>8}", "", "accuracy", "Brier", "ECE"));
    for (name, figures) in [("judge", held_out.before), ("after", held_out.after)] {
        line(format!("{name:<10} {:>8.3} {:>8.4} {:>8.4}", figures.accuracy, figures.brier, figures.ece));
    }
    if !held_out.left_out_sets.is_empty() {
        line(format!("\n{:<28} {:>6} {:>8} {:>8} {:>8}", "accuracy, set left out", "n", "fit", "judge", "longer"));
        for set in &held_out.left_out_sets {
            let longer = set.longer.map_or("-".to_owned(), |longer| format!("{longer:.3}"));
            line(format!("{:<28} {:>6} {:>8.3} {:>8.3} {longer:>8}", set.name, set.items, set.accuracy, set.judge));
        }
    }
    match map {
        Parameters::Temperature { temperature } => line(format!("\ntemperature {temperature:.4}")),
        Parameters::Isotonic { knots } => line(format!("\n{} knots", knots.len())),
        Parameters::Ordinal { slope, thresholds } => line(format!("\nslope {slope:.4}, thresholds {thresholds:.4?}")),
        Parameters::BradleyTerry { ridge, weights } => line(format!("\nridge {ridge}, weights {weights:.4?}")),
        Parameters::RidgeRegression { ridge, intercept, weights }
        | Parameters::RewardModel { ridge, intercept, weights } => {
            line(format!("\nridge {ridge}, intercept {intercept:.4}, weights {weights:.4?}"));
        }
    }
    text
}

/// The time, as RFC 3339 writes it.
pub(in super::super) fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    rfc_3339(seconds)
}

/// A time in seconds since 1970, in UTC.
fn rfc_3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since the first of March of the year 0: so a leap day is the last day of its year (Hinnant, "chrono-compatible
    // low-level date algorithms").
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |seconds: u64, expected: &str| assert_eq!(rfc_3339(seconds), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(951_827_696, "2000-02-29T12:34:56Z");
        check(1_767_225_599, "2025-12-31T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
    }
}
