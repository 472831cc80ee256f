//! A report as a person reads it, in at most 100 columns: a figure a line, and what it says.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::domain::agreement::report::{
    Absolute, Comparison, Coverage, Figure, Judge, Labels, PairFigures, PairLabels, Pairwise, Report, Reward,
    ScoreFigures,
};

/// Columns of a figure's name.
const NAME: usize = 23;
/// Columns of a group's name.
const GROUP: usize = 36;
/// Columns of a judge where several stand side by side.
const JUDGE: usize = 24;
/// How many subsets are listed.
const SUBSETS: usize = 60;

/// The whole report.
pub(super) fn show(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, report);
    for judge in &report.judges {
        of_judge(&mut out, judge, &report.labels);
    }
    if report.judges.len() > 1 {
        side_by_side(&mut out, &report.judges);
        comparisons(&mut out, &report.comparisons);
    }
    out
}

/// Writing to a string does not fail.
macro_rules! put {
    ($out:expr, $($part:tt)*) => { let _ = writeln!($out, $($part)*); };
}

fn head(out: &mut String, report: &Report) {
    let (scores, pairs) =
        report.data.iter().fold((0, 0), |(scores, pairs), file| (scores + file.absolute, pairs + file.pairwise));
    put!(
        out,
        "{} with a score, {}, of {}",
        count(scores, "item"),
        count(pairs, "pair"),
        count(report.data.len(), "file")
    );
    for file in &report.data {
        put!(
            out,
            "  {} ({}): {} of {}",
            file.path,
            file.format,
            file.absolute + file.pairwise,
            count(file.items, "item")
        );
        if file.unlabelled > 0 {
            let have = if file.unlabelled == 1 { "has" } else { "have" };
            put!(out, "    {} of {} {have} no label, left out", file.unlabelled, count(file.items, "item"));
        }
    }
    if let Some(split) = &report.split {
        put!(out, "the {split} half of the instructions");
    }
    if let Some(sample) = report.sample {
        put!(out, "a sample of {sample}, seed {}", report.seed);
    }
    put!(out, "intervals: 95 %, of {} bootstrap samples over instructions, seed {}", report.resamples, report.seed);
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn of_judge(out: &mut String, judge: &Judge, labels: &Labels) {
    let model = judge.model.as_ref().map(|model| {
        let name = Some(&model.name).filter(|name| **name != judge.name);
        format!("{} on {}", name.map_or_else(String::new, |name| format!(", {name}")), model.engine)
    });
    let prompt = judge.prompt.as_ref().map(|prompt| format!(", prompt set {}", prompt.name));
    put!(out, "\n{}{}{}", judge.name, model.unwrap_or_default(), prompt.unwrap_or_default());
    let Coverage { items, judged, unscored, failed } = judge.coverage;
    put!(out, "{judged} of {} judged, {unscored} without a verdict, {failed} failed", count(items, "item"));
    if let Some(pairwise) = &judge.pairwise {
        pairs(out, pairwise, labels.pairwise.as_ref());
    }
    if let Some(absolute) = &judge.absolute {
        scores(out, absolute, labels);
    }
    if let Some(reward) = &judge.reward {
        probabilities(out, reward);
    }
}

fn title(out: &mut String, name: &str) {
    put!(out, "\n  {name:NAME$}   value    95 % interval      n  meaning");
}

fn line(out: &mut String, name: &str, figure: Option<&Figure>, says: &str) {
    match figure {
        Some(Figure { value, n, .. }) => {
            put!(out, "  {name:NAME$} {value:>7.3}  {:>15} {n:>6}  {says}", interval(figure));
        }
        None => {
            put!(out, "  {name:NAME$} {:>7} {:24}  {says}", "-", "");
        }
    }
}

fn interval(figure: Option<&Figure>) -> String {
    match figure {
        Some(Figure { low: Some(low), high: Some(high), .. }) => format!("{low:.3} to {high:.3}"),
        _ => String::new(),
    }
}

fn pairs(out: &mut String, pairwise: &Pairwise, labels: Option<&PairLabels>) {
    let PairFigures {
        accuracy_non_ties,
        accuracy_ties_half,
        accuracy,
        cohen_kappa,
        position_consistency,
        first_lean,
        length_bias,
    } = &pairwise.figures;
    title(out, "PAIRS");
    line(out, "accuracy, no ties", accuracy_non_ties.as_ref(), "agrees with the label, neither a tie");
    if let Some(labels) = labels {
        let rules = &labels.figures.baselines;
        line(out, "  the longer response", rules.longer.as_ref(), "if you always take the longer one");
        line(out, "  always A", rules.always_a.as_ref(), "if you always take A");
        line(out, "  a coin", rules.random.as_ref(), "if you toss a coin");
        if labels.figures.human_ceiling.is_some() {
            line(out, "  people", labels.figures.human_ceiling.as_ref(), "one person's vote with another's");
        }
    }
    if pairwise.by_set.len() > 1 {
        line(out, "  mean of the sets", pairwise.macro_accuracy_non_ties.as_ref(), "each set counting alike");
    }
    line(out, "accuracy, ties half", accuracy_ties_half.as_ref(), "where it is A or B; a tie is half right");
    line(out, "accuracy, with ties", accuracy.as_ref(), "A, B or tie, as the label has it");
    line(out, "Cohen's kappa", cohen_kappa.as_ref(), "the same beyond chance: 1 full, 0 none");
    if let Some(alpha) = &pairwise.krippendorff_alpha {
        line(out, "Krippendorff's alpha", Some(alpha), "of the votes, with the judge as a voter");
        let own = labels.and_then(|labels| labels.krippendorff_alpha.as_ref());
        line(out, "  of the votes alone", own, "higher than that: the judge disagrees");
    }
    line(out, "consistent", position_consistency.as_ref(), "prefers the same in both orders");
    line(out, "leans to the first", first_lean.as_ref(), "of the inconsistent; 0.5 is no bias");
    line(out, "length bias", length_bias.as_ref(), "takes the longer more than labels do");
    line(out, "length correlation", pairwise.length_correlation.as_ref(), "of preferring A with A's length");
    put!(out, "\n  {:>NAME$} {:>7} {:>7} {:>7}", "label (rows), judge:", "A", "B", "tie");
    for (name, row) in ["A", "B", "tie"].iter().zip(&pairwise.confusion) {
        put!(out, "  {name:>NAME$} {:>7} {:>7} {:>7}", row[0], row[1], row[2]);
    }
    if pairwise.by_set.len() > 1 {
        groups(
            out,
            "by set",
            &pairwise.by_set,
            |set| set.accuracy_non_ties.as_ref(),
            |name| {
                let labels = labels.and_then(|labels| labels.by_set.get(name));
                let value =
                    |figure: Option<&Figure>| figure.map_or_else(|| "-".to_owned(), |f| format!("{:.3}", f.value));
                let longer = value(labels.and_then(|labels| labels.baselines.longer.as_ref()));
                format!("longer {longer}, people {}", value(labels.and_then(|labels| labels.human_ceiling.as_ref())))
            },
        );
    }
    groups(out, "by subset", &pairwise.by_subset, |set| set.accuracy_non_ties.as_ref(), |_| String::new());
}

fn scores(out: &mut String, absolute: &Absolute, labels: &Labels) {
    let ScoreFigures { pearson, spearman, kendall_tau_b, mae, quadratic_kappa, exact, off_by_one } = &absolute.figures;
    let rules = labels.absolute.as_ref();
    title(out, "SCORES");
    line(out, "Pearson", pearson.as_ref(), "expected score with label, -1 to 1");
    line(out, "Spearman", spearman.as_ref(), "the same, of ranks");
    line(
        out,
        "  the length",
        rules.and_then(|rules| rules.length_spearman.as_ref()),
        "of the length of the response alone",
    );
    line(out, "Kendall's tau-b", kendall_tau_b.as_ref(), "ordered minus unordered pairs of items");
    line(out, "mean error", mae.as_ref(), "in points of the scale");
    line(out, "  always the median", rules.and_then(|rules| rules.median_mae.as_ref()), "if you always give it");
    line(out, "quadratic kappa", quadratic_kappa.as_ref(), "beyond chance, far misses count more");
    line(out, "exact", exact.as_ref(), "the score is the label, rounded");
    line(
        out,
        "  the most frequent",
        rules.and_then(|rules| rules.most_frequent_exact.as_ref()),
        "if you always give it",
    );
    line(out, "off by at most one", off_by_one.as_ref(), "the score is the label or next to it");
    let levels: Vec<i32> = (absolute.scale[0]..=absolute.scale[1]).collect();
    let row =
        |cells: &mut dyn Iterator<Item = String>| cells.fold(String::new(), |row, cell| row + &format!("{cell:>6}"));
    put!(out, "\n  {:>NAME$}{}", "label (rows), judge:", row(&mut levels.iter().map(i32::to_string)));
    for (level, cells) in levels.iter().zip(&absolute.confusion) {
        put!(out, "  {level:>NAME$}{}", row(&mut cells.iter().map(usize::to_string)));
    }
    if absolute.by_set.len() > 1 {
        groups(out, "Pearson by set", &absolute.by_set, |set| set.pearson.as_ref(), |_| String::new());
    }
    groups(out, "Pearson by subset", &absolute.by_subset, |set| set.pearson.as_ref(), |_| String::new());
}

/// One figure of each group.
fn groups<T>(
    out: &mut String,
    name: &str,
    all: &BTreeMap<String, T>,
    figure: impl Fn(&T) -> Option<&Figure>,
    says: impl Fn(&str) -> String,
) {
    if all.is_empty() {
        return;
    }
    put!(out, "\n  {name}");
    for (name, group) in all.iter().take(SUBSETS) {
        let found = figure(group);
        let value = found.map_or_else(|| "-".to_owned(), |found| format!("{:.3}", found.value));
        let n = found.map_or_else(String::new, |found| found.n.to_string());
        // A long name has a line of its own.
        let mut first = name.as_str();
        if name.chars().count() > GROUP {
            put!(out, "  {name}");
            first = "";
        }
        let row = format!("  {first:GROUP$} {value:>7}  {:>15} {n:>5}  {}", interval(found), says(name));
        put!(out, "{}", row.trim_end());
    }
    if all.len() > SUBSETS {
        put!(out, "  and {} more, which --json has", all.len() - SUBSETS);
    }
}

fn probabilities(out: &mut String, reward: &Reward) {
    let of = if reward.of == "pairs" { "A better" } else { "the upper level" };
    title(out, "PROBABILITIES");
    line(out, "AUC", reward.auc.as_ref(), &format!("order by P({of}); 0.5 is chance"));
    line(out, "Brier score", reward.brier.as_ref(), "squared error; always 0.5 has 0.25");
    line(out, "calibration error", reward.ece.as_ref(), "ECE, 15 equal-mass bins; 0 is best");
}

/// A name of a figure, and where a judge has it.
type Cell = (&'static str, fn(&Judge) -> Option<&Figure>);

const SIDE_BY_SIDE: [Cell; 8] = [
    ("accuracy, no ties", |judge| judge.pairwise.as_ref()?.figures.accuracy_non_ties.as_ref()),
    ("accuracy, with ties", |judge| judge.pairwise.as_ref()?.figures.accuracy.as_ref()),
    ("consistent", |judge| judge.pairwise.as_ref()?.figures.position_consistency.as_ref()),
    ("Pearson", |judge| judge.absolute.as_ref()?.figures.pearson.as_ref()),
    ("Spearman", |judge| judge.absolute.as_ref()?.figures.spearman.as_ref()),
    ("mean error", |judge| judge.absolute.as_ref()?.figures.mae.as_ref()),
    ("AUC", |judge| judge.reward.as_ref()?.auc.as_ref()),
    ("calibration error", |judge| judge.reward.as_ref()?.ece.as_ref()),
];

fn side_by_side(out: &mut String, judges: &[Judge]) {
    put!(out, "\nSIDE BY SIDE");
    for some in judges.chunks(3) {
        let names = some.iter().map(|judge| format!("{:>JUDGE$}", shortened(&judge.name)));
        put!(out, "  {:NAME$}{}", "", names.collect::<String>());
        for (name, figure) in
            SIDE_BY_SIDE.iter().filter(|(_, figure)| judges.iter().any(|judge| figure(judge).is_some()))
        {
            let cell = |judge: &Judge| {
                let text = figure(judge).map_or_else(String::new, |found| {
                    format!("{:.3} ({})", found.value, interval(Some(found)).replace(" to ", "-"))
                });
                format!("{text:>JUDGE$}")
            };
            put!(out, "  {name:NAME$}{}", some.iter().map(cell).collect::<String>());
        }
    }
}

/// The end of a long name, which tells names apart better than their beginning.
fn shortened(name: &str) -> String {
    let room = JUDGE - 2;
    let long = name.chars().count();
    if long <= room {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(long + 1 - room).collect::<String>())
    }
}

fn comparisons(out: &mut String, all: &[Comparison]) {
    let mut of: Option<(&str, &str)> = None;
    for Comparison { a, b, figure, difference, p_value } in all {
        if of.replace((a, b)) != Some((a, b)) {
            put!(out, "\n{a} minus {b}, on items judged by both");
        }
        put!(
            out,
            "  {figure:29} {:>+7.3}  {:>16} {:>6}  p {p_value:.3}",
            difference.value,
            interval(Some(difference)),
            difference.n
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fits_a_terminal_of_100_columns() {
        let report: Report = serde_json::from_str(include_str!("../../../tests/agreement/report.json")).unwrap();
        let table = show(&report);
        let wide: Vec<&str> = table.lines().filter(|line| line.chars().count() > 100).collect();
        assert!(wide.is_empty(), "{}", wide.join("\n"));
        insta::assert_snapshot!(table);
    }
}
