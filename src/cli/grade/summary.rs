//! What a run comes to, as a person reads it, as JSON, and as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::CliError;
use super::super::items::Skipped;
use super::super::progress::duration;
use super::super::work::Tokens;
use crate::domain::agreement::report::{Figure, Judge};
use crate::domain::runs::{LOW_LABEL_MASS, PairSummary, ResponseSummary, RunSummary};

/// Columns of the longest bar.
const BAR: usize = 30;

/// What a run comes to.
pub(super) struct Summary<'a> {
    pub(super) judge: Option<String>,
    pub(super) data: String,
    pub(super) out: String,
    pub(super) items: usize,
    /// Rows of the file that are no items.
    pub(super) skipped: &'a Skipped,
    /// Failed items of this run by the code of their errors.
    pub(super) failures: BTreeMap<String, usize>,
    /// Items that were not tried, because the run ended early.
    pub(super) untried: usize,
    /// The verdicts of all runs.
    pub(super) run: RunSummary,
    pub(super) min_label_mass: f64,
    pub(super) agreement: Agreement,
    /// Verdicts of this run.
    pub(super) fresh: usize,
    /// Time of this run, in seconds.
    pub(super) seconds: f64,
    /// Of the verdicts of this run.
    pub(super) tokens: Tokens,
}

/// How far verdicts agree with labels.
pub(super) enum Agreement {
    NoLabels,
    Measured(Box<Judge>),
    /// With the reason.
    NotMeasured(String),
}

/// A name of a figure, and where a judge has it.
type Cell = (&'static str, fn(&Judge) -> Option<&Figure>);

const AGREEMENT: [Cell; 7] = [
    ("Pearson", |judge| judge.absolute.as_ref()?.figures.pearson.as_ref()),
    ("Spearman", |judge| judge.absolute.as_ref()?.figures.spearman.as_ref()),
    ("mean error", |judge| judge.absolute.as_ref()?.figures.mae.as_ref()),
    ("exact", |judge| judge.absolute.as_ref()?.figures.exact.as_ref()),
    ("quadratic kappa", |judge| judge.absolute.as_ref()?.figures.quadratic_kappa.as_ref()),
    ("accuracy, no ties", |judge| judge.pairwise.as_ref()?.figures.accuracy_non_ties.as_ref()),
    ("accuracy, with ties", |judge| judge.pairwise.as_ref()?.figures.accuracy.as_ref()),
];

/// A line of the summary: what it is of, and what it says.
type Line = (&'static str, String);

impl Summary<'_> {
    /// In at most 100 columns.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (name, says) in self.lines() {
            writeln!(out, "{name:14} {says}").expect("writing to a string does not fail");
            if name == MEAN_REWARD {
                out += &self.run.responses.as_ref().map(bars).unwrap_or_default();
            }
        }
        out
    }

    fn lines(&self) -> Vec<Line> {
        let run = &self.run;
        let mut lines = Vec::new();
        if let Some(ResponseSummary { reward, .. }) = &run.responses {
            lines.push((MEAN_REWARD, shown(reward)));
        }
        if let Some(pairs) = &run.pairs {
            let PairSummary { probability_a, a, b, tie, inconsistent } = pairs;
            lines.push(("pairs", format!("A {a}, B {b}, tie {tie}; of two orders, {inconsistent} disagree")));
            lines.push(("mean P(A)", shown(probability_a)));
        }
        if run.unscored > 0 {
            let limit = self.min_label_mass;
            lines.push(("unscored", format!("{}: label mass below {limit}, the judge was guessing", run.unscored)));
        }
        if run.low_label_mass > 0 {
            let what = format!("{} with a label mass below {LOW_LABEL_MASS}; they count", run.low_label_mass);
            lines.push(("doubtful", what));
        }
        if run.cut > 0 {
            let what = format!("{} with feedback cut at its limit; raise --max-feedback-tokens", run.cut);
            lines.push(("cut", what));
        }
        match &self.agreement {
            Agreement::NoLabels => {}
            Agreement::Measured(judge) => {
                for (name, figure) in AGREEMENT.iter().filter_map(|(name, of)| Some((name, of(judge)?))) {
                    lines.push(("labels", format!("{name} {}", shown(figure))));
                }
            }
            Agreement::NotMeasured(why) => lines.push(("labels", format!("not measured: {why}"))),
        }
        if self.skipped.count() > 0 {
            lines.push(("skipped", format!("{}: rows that cannot be used", self.skipped.count())));
        }
        if !self.failures.is_empty() {
            let codes = self.failures.iter().map(|(code, count)| format!("{count} {code}"));
            lines.push(("failed", codes.collect::<Vec<_>>().join(", ")));
        }
        if self.untried > 0 {
            lines.push(("not tried", self.untried.to_string()));
        }
        if self.fresh > 0 {
            let rate = self.fresh as f64 / self.seconds.max(1e-9);
            let took = duration(Duration::from_secs_f64(self.seconds));
            lines.push(("this run", format!("{} graded in {took}, {rate:.1}/s", self.fresh)));
            let Tokens { prompt, cached, completion } = self.tokens;
            lines.push(("tokens", format!("{prompt} of prompts ({cached} cached), {completion} written")));
        }
        lines
    }

    /// Everything, as one JSON object.
    ///
    /// # Errors
    /// If a figure is no number, which none is.
    pub(super) fn json(&self) -> Result<String, CliError> {
        let failed = |error| CliError::because("the summary", error);
        let run = serde_json::to_value(&self.run).map_err(failed)?;
        let (agreement, why) = match &self.agreement {
            Agreement::NoLabels => (Value::Null, Value::Null),
            Agreement::Measured(judge) => (serde_json::to_value(judge).map_err(failed)?, Value::Null),
            Agreement::NotMeasured(why) => (Value::Null, json!(why)),
        };
        let mut summary = json!({
            "object": "summary", "version": env!("CARGO_PKG_VERSION"), "judge": self.judge, "data": self.data,
            "out": self.out, "items": self.items, "skipped": self.skipped.all(), "failed": self.failures.values().sum::<usize>(),
            "failures": self.failures, "untried": self.untried, "mean": self.run.mean(),
            "min_label_mass": self.min_label_mass, "low_label_mass_below": LOW_LABEL_MASS,
            "agreement": agreement, "agreement_error": why,
            "this_run": {"graded": self.fresh, "seconds": self.seconds, "tokens": self.tokens},
        });
        if let (Value::Object(summary), Value::Object(run)) = (&mut summary, run) {
            summary.extend(run);
        }
        Ok(format!("{summary:#}\n"))
    }

    /// As a table, for a comment on a pull request.
    pub(super) fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n| | |\n| --- | --- |\n", cell(&self.data));
        let mut row = |name: &str, says: &str| {
            writeln!(out, "| {name} | {} |", cell(says)).expect("writing to a string does not fail");
        };
        row("graded", &format!("{} of {}", self.run.graded, self.items));
        if let Some(judge) = &self.judge {
            row("judge", judge);
        }
        for (name, says) in self.lines() {
            row(name, &says);
        }
        if self.skipped.count() > 0 {
            out += "\n| skipped rows |\n| --- |\n";
            for row in self.skipped.shown() {
                writeln!(out, "| {} |", cell(&row)).expect("writing to a string does not fail");
            }
        }
        if let Some(responses) = self.run.responses.as_ref().filter(|responses| !responses.scores.is_empty()) {
            out += "\n| score | responses |\n| --: | --: |\n";
            for (score, count) in &responses.scores {
                writeln!(out, "| {score} | {count} |").expect("writing to a string does not fail");
            }
        }
        out
    }
}

const MEAN_REWARD: &str = "mean reward";

/// A text that ends no cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn shown(figure: &Figure) -> String {
    let interval = match (figure.low, figure.high) {
        (Some(low), Some(high)) => format!("95 %: {low:.3} to {high:.3}, "),
        _ => String::new(),
    };
    format!("{:.3} ({interval}n {})", figure.value, figure.n)
}

fn bars(responses: &ResponseSummary) -> String {
    let most = responses.scores.values().copied().max().unwrap_or(0).max(1);
    let bar = |(score, count): (&i32, &usize)| {
        // What occurs has a bar, however short.
        let wide = (count * BAR).div_ceil(most);
        format!("{score:>14} {}{}{count}\n", "█".repeat(wide), if *count > 0 { " " } else { "" })
    };
    responses.scores.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, n: usize) -> Figure {
        Figure { value, low: Some(value - 0.05), high: Some(value + 0.05), n }
    }

    fn summary(skipped: &Skipped) -> Summary<'_> {
        Summary {
            judge: Some("small".into()),
            data: "my|items.jsonl".into(),
            out: "verdicts.jsonl".into(),
            items: 120,
            skipped,
            failures: BTreeMap::from([("context_overflow".to_owned(), 2), ("saturated".to_owned(), 1)]),
            untried: 7,
            run: RunSummary {
                graded: 110,
                unscored: 3,
                low_label_mass: 4,
                cut: 5,
                responses: Some(ResponseSummary {
                    reward: figure(0.612, 97),
                    scores: BTreeMap::from([(1, 1), (2, 0), (3, 60), (4, 30), (5, 6)]),
                }),
                pairs: Some(PairSummary { probability_a: figure(0.55, 10), a: 5, b: 3, tie: 2, inconsistent: 2 }),
            },
            min_label_mass: 0.05,
            agreement: Agreement::NotMeasured("its label `red` is no number".into()),
            fresh: 50,
            seconds: 20.0,
            tokens: Tokens { prompt: 81_000, cached: 60_000, completion: 1_234 },
        }
    }

    #[test]
    fn a_summary_fits_a_terminal_and_says_what_is_to_be_doubted() {
        let text = summary(&Skipped::default()).text();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let expected = "\
mean reward    0.612 (95 %: 0.562 to 0.662, n 97)
             1 █ 1
             2 0
             3 ██████████████████████████████ 60
             4 ███████████████ 30
             5 ███ 6
pairs          A 5, B 3, tie 2; of two orders, 2 disagree
mean P(A)      0.550 (95 %: 0.500 to 0.600, n 10)
unscored       3: label mass below 0.05, the judge was guessing
doubtful       4 with a label mass below 0.5; they count
cut            5 with feedback cut at its limit; raise --max-feedback-tokens
labels         not measured: its label `red` is no number
failed         2 context_overflow, 1 saturated
not tried      7
this run       50 graded in 20 s, 2.5/s
tokens         81000 of prompts (60000 cached), 1234 written
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_summary_is_json_and_markdown() {
        let json: Value = serde_json::from_str(&summary(&Skipped::default()).json().unwrap()).unwrap();
        assert_eq!((&json["mean"]["value"], &json["failed"], &json["cut"]), (&json!(0.612), &json!(3), &json!(5)));
        assert_eq!((&json["responses"]["scores"]["3"], &json["pairs"]["tie"]), (&json!(60), &json!(2)));
        assert_eq!(json["this_run"]["tokens"]["completion"], 1234);
        let markdown = summary(&Skipped::default()).markdown();
        for part in ["# my\\|items.jsonl", "| graded | 110 of 120 |", "| judge | small |", "| 3 | 60 |"] {
            assert!(markdown.contains(part), "{part}: {markdown}");
        }
    }
}
