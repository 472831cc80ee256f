//! `gavel compare`: what changed from one run to another.

mod html;
mod report;
mod table;

use std::path::{Path, PathBuf};

use clap::Args;

use self::report::{Report, Texts};
use super::CliError;
use super::asking::share;
use super::outcomes::{self, MIN_LABEL_MASS};
use super::tables::replace;
use crate::labelled::Mapping;

/// Compare two runs of `gavel grade`: the difference with its interval, what flipped, and the worst and best items.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel compare before.jsonl after.jsonl
  gavel compare main=verdicts-main.jsonl mine=verdicts-mine.csv \\
      --data items.jsonl --html compare.html

Items are matched by their ids. A difference is that of the second run less the
first.
Exit codes: 0 compared, 1 an error, 2 wrong use, 3 the second run is worse
(--fail-if-worse).")]
pub(super) struct CompareArgs {
    /// The first run: what `gavel grade --out` wrote (.jsonl, .csv, .parquet); called NAME, or as the file.
    #[arg(value_name = "[NAME=]RUN_A")]
    a: String,
    /// The second run.
    #[arg(value_name = "[NAME=]RUN_B")]
    b: String,
    /// The items, for their instructions: items on one instruction are not independent of each other. Not needed where a
    /// run was made --with-input.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Which column or path of the items is which field.
    #[arg(long, value_name = "FIELD=COLUMN,…", requires = "data")]
    map: Option<Mapping>,
    /// Label mass below which the judge was guessing, 0 to 1: such verdicts count as none.
    #[arg(long, value_name = "MASS", default_value_t = MIN_LABEL_MASS, value_parser = share)]
    min_label_mass: f64,
    /// How many of the worst and of the best items are shown.
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// Of the intervals: equal seeds give equal reports.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// End with exit code 3 if the second run is worse: if the whole interval of the difference is below 0.
    #[arg(long)]
    fail_if_worse: bool,
    /// Print the report as JSON, with every item.
    #[arg(long)]
    json: bool,
    /// Write the report as a page for a browser; one file, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(args: &CompareArgs) -> Result<(), CliError> {
    let (a, b) = (named(&args.a), named(&args.b));
    let runs = [outcomes::read(&a.1)?, outcomes::read(&b.1)?];
    let texts = match &args.data {
        Some(data) => {
            let texts = Texts::read(data, args.map.as_ref())?;
            texts.check(data, &runs)?;
            texts
        }
        None => Texts::default(),
    };
    let report = Report::of([&a, &b], runs, &texts, args.min_label_mass, args.seed)?;
    if let Some(path) = &args.html {
        replace(path, html::page(&report, args.top)?.as_bytes())?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| CliError::because("the report", error))?;
        outln!("{text}");
    } else {
        out!("{}", table::show(&report, args.top));
    }
    if args.fail_if_worse && report.is_worse() {
        return Err(CliError::BelowLimit(format!(
            "{} is worse than {} (--fail-if-worse)",
            report.b.name, report.a.name
        )));
    }
    Ok(())
}

/// The name and the file behind `FILE` or `NAME=FILE`.
fn named(given: &str) -> (String, PathBuf) {
    let (name, path) = match given.split_once('=') {
        Some((name, path)) if !Path::new(given).exists() => (Some(name.to_owned()), Path::new(path)),
        _ => (None, Path::new(given)),
    };
    (name.unwrap_or_else(|| path.display().to_string()), path.to_owned())
}
