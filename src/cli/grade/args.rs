//! The options of `gavel grade`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::super::CliError;
use super::super::agree::grading::file_name;
use super::super::asking::share;
use super::super::bench::positive;
use super::super::client::ANSWER_TIMEOUT;
use super::super::items::{ItemOptions, ItemSettings, KindArg};
use super::super::outcomes::MIN_LABEL_MASS;
use crate::labelled::LabelNames;

/// Grade one response, or a whole file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel grade --instruction 'Why is the sky blue?' \\
      --response 'Because the sea is.' --rubric factual_validity
  gavel grade --server http://127.0.0.1:8080 --data items.jsonl --mode score \\
      --out verdicts.jsonl
  gavel grade --data answers.csv --map instruction=question,response=answer \\
      --rubric mine.toml --out verdicts.csv
  gavel grade --data items.jsonl --judge small --judge large --fail-below 0.7 \\
      --out verdicts-{judge}.jsonl

Exit codes: 0 all graded, 1 an error, 2 wrong use, 3 the mean is below
--fail-below, 4 some items failed or rows were skipped, 130 Ctrl-C.
docs/cli.md has the formats.")]
pub(in super::super) struct GradeArgs {
    /// URL of a running server. Default: load the model in this process.
    #[arg(long, value_name = "URL", help_heading = "Judging")]
    pub(super) server: Option<String>,
    /// A model to judge with; with a server, one of its models. May be given several times: one run each, and --out names
    /// a file for each, such as verdicts-{judge}.jsonl.
    #[arg(long, value_name = "NAME", help_heading = "Judging")]
    pub(super) judge: Vec<String>,
    /// Items to grade: JSON lines, a JSON array, CSV or Parquet, by the ending of its name. Request bodies or labelled
    /// items.
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with = "instruction", help_heading = "Items")]
    pub(super) data: Option<PathBuf>,
    /// Write verdicts here: JSON lines (.jsonl, or - for standard output), or a table (.csv, .parquet). Items that already
    /// have a verdict in it are not graded again.
    #[arg(long, value_name = "FILE", requires = "data", help_heading = "Results")]
    pub(super) out: Option<PathBuf>,
    /// The grading kind. Default: each item's own, and absolute without a file.
    #[arg(long, help_heading = "Items")]
    pub(super) kind: Option<KindArg>,
    #[command(flatten)]
    pub(super) options: ItemOptions,
    #[command(flatten)]
    pub(super) settings: ItemSettings,
    /// Compare the responses of pairs in one order only: half of the time, but a judge may favour a position.
    #[arg(long, help_heading = "Judging")]
    pub(super) no_swap: bool,
    /// What labels of pairs mean, where they are not A, B and tie.
    #[arg(long, value_name = "VALUE=A,VALUE=B,…", requires = "data", help_heading = "Items")]
    pub(super) labels: Option<LabelNames>,
    /// Keep the fields of each item beside its verdict.
    #[arg(long, requires = "data", help_heading = "Results")]
    pub(super) with_input: bool,
    /// Put the lines into the order of the items when the run ends. Default: as they were graded. Tables are always in
    /// the order of the items.
    #[arg(long, requires = "data", help_heading = "Results")]
    pub(super) sort: bool,
    /// Write the summary here as well: .json or .md.
    #[arg(long, value_name = "FILE", requires = "data", help_heading = "Results")]
    pub(super) summary: Option<PathBuf>,
    /// End with exit code 3 if the mean reward (of pairs, the mean probability that A is better) is below this, 0 to 1.
    #[arg(long, value_name = "REWARD", requires = "data", value_parser = share, help_heading = "Results")]
    pub(super) fail_below: Option<f64>,
    /// Label mass below which the judge was guessing, 0 to 1: such verdicts count in no mean.
    #[arg(long, value_name = "MASS", default_value_t = MIN_LABEL_MASS, value_parser = share, help_heading = "Results")]
    pub(super) min_label_mass: f64,
    /// Number of requests in flight.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Judging")]
    pub(super) concurrency: u16,
    /// Maximum time for the answer to one request, with --server. Longer than the server's own limit (`limits.deadline_ms`,
    /// ten minutes by default), so that the server can say what happened. A server that does not accept the connection
    /// or sends nothing for 10 s is an error.
    #[arg(long, value_name = "SECONDS", requires = "server", value_parser = positive, help_heading = "Judging")]
    pub(super) timeout: Option<f64>,
    /// The instruction of one request.
    #[arg(long, required_unless_present = "data", help_heading = "One request")]
    pub(super) instruction: Option<String>,
    /// Its response; for relative grading, response A.
    #[arg(long, requires = "instruction", required_unless_present = "data", help_heading = "One request")]
    pub(super) response: Option<String>,
    /// Response B, to compare the two.
    #[arg(long, requires = "instruction", help_heading = "One request")]
    pub(super) response_b: Option<String>,
    /// A reference answer.
    #[arg(long, requires = "instruction", help_heading = "One request")]
    pub(super) reference: Option<String>,
    /// Print the verdict as JSON.
    #[arg(long, requires = "instruction", help_heading = "One request")]
    pub(super) json: bool,
}

impl GradeArgs {
    /// The URL of the server, if it is another process.
    pub(in super::super) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// Maximum time for the answer to one request.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.map_or(ANSWER_TIMEOUT, Duration::from_secs_f64)
    }
}

/// The name of a file with a place for the judge's name filled in.
///
/// # Errors
/// If several judges would write the same file.
pub(super) fn of_judge(path: &Path, flag: &str, judge: Option<&str>, several: bool) -> Result<PathBuf, CliError> {
    let name = path.to_string_lossy();
    if several && !name.contains("{judge}") {
        let what = format!(
            "several --judge need {flag} with a place for their names, such as {flag} verdicts-{{judge}}.jsonl; {name} has none"
        );
        return Err(CliError::Usage(what));
    }
    let judge = judge.map_or_else(|| "default".to_owned(), file_name);
    Ok(if name.contains("{judge}") { name.replace("{judge}", &judge).into() } else { path.to_owned() })
}

/// What a summary is written as, by the name of its file.
///
/// # Errors
/// If it is none.
pub(super) fn summary_kind(path: &Path) -> Result<SummaryKind, CliError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Ok(SummaryKind::Json),
        Some("md") => Ok(SummaryKind::Markdown),
        _ => Err(CliError::Usage(format!("--summary {}: the file's name must end in .json or .md", path.display()))),
    }
}

/// What a summary is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SummaryKind {
    Json,
    Markdown,
}
