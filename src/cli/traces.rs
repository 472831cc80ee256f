//! `gavel traces`: judgements of a judge that match people's labels, as training data for that judge.

mod asked;
mod counts;
mod groups;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use self::asked::Settings;
use self::counts::Counts;
use self::groups::{Group, Rules};
use super::CliError;
use super::asking::{Configure, judges, share};
use super::client::ANSWER_TIMEOUT;
use super::failures::Failures;
use super::grader::Grader;
use super::host::InProcessJudge;
use super::items::Item;
use super::outcomes::{self, MIN_LABEL_MASS};
use super::output::{Output, run_of};
use super::results::Results;
use super::tables::{TableKind, check_folder};
use super::work;
use crate::labelled::{self, LabelNames, LabelledItem, Mapping};

/// What to do if a file belongs to another run.
const REMEDY: &str = "use another file for --out";

/// Sample judgements of labelled items, and keep those that match the label, as training data for the judge.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel traces --data labelled.jsonl --samples 8 --out traces.jsonl
  gavel traces --data labelled.jsonl --samples 8 --rationalize \\
      --out traces.parquet
  gavel traces --server http://127.0.0.1:8080 --data pairs.jsonl \\
      --format dpo --out pairs-of-traces.jsonl

A row of `sft` has `prompt` and `completion`, one of `dpo` `prompt`, `chosen`
and `rejected`: lists of messages, as TRL's SFTTrainer and DPOTrainer read them
(docs/traces.md). The judgements are kept beside it (FILE.run.jsonl).
Exit codes: 0 all items judged, 1 an error, 2 wrong use, 4 some items failed,
130 Ctrl-C.")]
pub(super) struct TracesArgs {
    /// Labelled items, as `gavel agree` reads them: JSON lines, JSON, CSV or Parquet.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE", help_heading = "Items")]
    data: Vec<PathBuf>,
    /// Which column or path is which field, such as response=answer,label=meta.stars.
    #[arg(long, value_name = "FIELD=COLUMN,…", help_heading = "Items")]
    map: Option<Mapping>,
    /// What labels of pairs mean, where they are not A, B and tie.
    #[arg(long, value_name = "VALUE=A,VALUE=B,…", help_heading = "Items")]
    labels: Option<LabelNames>,
    /// URL of a running server. Default: load the model in this process.
    #[arg(long, value_name = "URL", help_heading = "Judging")]
    server: Option<String>,
    /// The model to sample from; with a server, one of its models.
    #[arg(long, value_name = "NAME", help_heading = "Judging")]
    judge: Option<String>,
    /// The rubric of items that have none.
    #[arg(long, default_value = "helpfulness", value_name = "NAME", help_heading = "Judging")]
    rubric: String,
    /// The prompt set. Default: the judge's own.
    #[arg(long, value_name = "SET", help_heading = "Judging")]
    prompt: Option<String>,
    /// Number of judgements of each item; of a pair, of each order.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Judging")]
    samples: u32,
    /// Temperature of the feedback, above 0 to 2.
    #[arg(long, default_value_t = 0.8, value_name = "T", value_parser = temperature, help_heading = "Judging")]
    temperature: f64,
    /// Seed of the first judgement of each item. The same seed gives the same judgements.
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Judging")]
    seed: u64,
    /// Maximum number of tokens of feedback. Default: the server's own.
    #[arg(long, value_name = "N", help_heading = "Judging")]
    max_feedback_tokens: Option<u32>,
    /// Ask again for items that no judgement matches, with the label as a hint, which is not part of the stored prompt.
    #[arg(long, help_heading = "Judging")]
    rationalize: bool,
    /// Number of requests in flight.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Judging")]
    concurrency: u16,
    /// Maximum time for the answer to one request, with --server.
    #[arg(long, value_name = "SECONDS", requires = "server", value_parser = super::bench::positive, help_heading = "Judging")]
    timeout: Option<f64>,
    /// Matching judgements, or pairs of a matching and another one.
    #[arg(long, default_value = "sft", help_heading = "Results")]
    format: Format,
    /// Maximum distance of a matching score from the label, at least 0. A label of 3.5 needs 0.5.
    #[arg(long, default_value_t = 0.0, value_name = "POINTS", value_parser = tolerance, help_heading = "Results")]
    tolerance: f64,
    /// Label mass below which a judgement is a forced guess, 0 to 1, and is left out.
    #[arg(long, value_name = "MASS", default_value_t = MIN_LABEL_MASS, value_parser = share, help_heading = "Results")]
    min_label_mass: f64,
    /// Maximum number of rows of one prompt. Default: all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Results")]
    most: Option<u32>,
    /// Write traces here: .jsonl, .parquet or .csv.
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    out: PathBuf,
    /// Print the counts as JSON.
    #[arg(long, help_heading = "Results")]
    json: bool,
}

/// What rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A judgement that matches its label.
    Sft,
    /// One that matches, chosen, and one that does not, rejected.
    Dpo,
}

fn temperature(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|t| *t > 0.0 && *t <= 2.0).ok_or_else(|| "must be above 0 and at most 2".to_owned())
}

fn tolerance(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|points| (0.0..=10.0).contains(points)).ok_or_else(|| "must be 0 to 10".to_owned())
}

impl TracesArgs {
    /// The server that is asked, where it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    fn mapping(&self) -> Mapping {
        let mut mapping = self.map.clone().unwrap_or_default();
        mapping.labels.clone_from(&self.labels);
        mapping
    }

    /// The file of traces and its kind.
    fn output(&self) -> Result<(PathBuf, TableKind), CliError> {
        let (path, kind) = match Output::of(&self.out)? {
            Output::Stdout => return Err(CliError::Usage("--out - cannot be gone on with; name a file".into())),
            Output::Lines(path) => (path, TableKind::Lines),
            Output::Table(path, kind) => (path, kind),
        };
        check_folder("--out", &path)?;
        let same = |data: &PathBuf| data.canonicalize().is_ok_and(|data| path.canonicalize().is_ok_and(|p| p == data));
        if self.data.iter().any(same) {
            return Err(CliError::Failed(format!("{} is both --data and --out; name another file", path.display())));
        }
        Ok((path, kind))
    }
}

pub(super) async fn run(args: &TracesArgs, model: Option<String>, config: &Configure<'_>) -> Result<(), CliError> {
    let judge = judges(args.judge.as_slice(), model)?.pop().flatten();
    let (path, kind) = args.output()?;
    let files = labelled::read(&args.data, &args.mapping())?;
    let items: Vec<LabelledItem> = files.into_iter().flat_map(|file| file.items).collect();
    let settings = Settings {
        rubric: &args.rubric,
        // Only a server may have several models.
        model: judge.as_deref().filter(|_| args.server.is_some()),
        prompt: args.prompt.as_deref(),
        samples: args.samples,
        temperature: args.temperature,
        seed: args.seed,
        max_feedback_tokens: args.max_feedback_tokens,
    };
    let requests = items.iter().map(|item| settings.request(item)).collect::<Result<Vec<Item>, CliError>>()?;
    let timeout = args.timeout.map_or(ANSWER_TIMEOUT, Duration::from_secs_f64);
    let (grader, hosted) = match &args.server {
        Some(url) => (Grader::of_server(url, timeout).await?, None),
        None => {
            let hosted = InProcessJudge::start(config(judge.as_deref())?).await?;
            (Grader::InProcess(hosted.gavel.clone()), Some(hosted))
        }
    };
    let made = make(args, &path, &grader, (&items, &requests), &settings).await;
    drop(grader);
    if let Some(hosted) = hosted {
        hosted.stop().await;
    }
    let (groups, mut counts, failures) = made?;
    let most = args.most.map_or(usize::MAX, |most| most as usize);
    let table = match args.format {
        Format::Sft => groups::matching(&groups, most, &mut counts),
        Format::Dpo => groups::pairs(&groups, most, &mut counts),
    };
    table.write(&path, kind)?;
    if args.json {
        outln!("{:#}", counts.json());
    } else {
        outln!("{} {}: {}", table.rows.len(), if table.rows.len() == 1 { "row" } else { "rows" }, path.display());
        out!("{}", counts.text());
    }
    failures.message().map_or(Ok(()), |message| Err(CliError::ItemsFailed(message)))
}

/// Samples judgements, and asks again with a hint where none matches.
async fn make<'a>(
    args: &TracesArgs,
    path: &std::path::Path,
    grader: &Grader,
    (items, requests): (&'a [LabelledItem], &[Item]),
    settings: &Settings<'_>,
) -> Result<(Vec<Group<'a>>, Counts, Failures), CliError> {
    let rules = Rules { tolerance: args.tolerance, min_label_mass: args.min_label_mass };
    let (verdicts, mut failures) = judged(args, run_of(path), grader, requests).await?;
    let mut counts = Counts { items: items.len(), failed: failures.count(), ..Counts::default() };
    let mut groups = groups::of(items, &verdicts, rules, &mut counts)?;
    if args.rationalize {
        let unmatched: Vec<&mut Group<'_>> = groups.iter_mut().filter(|group| group.wants_hint()).collect();
        let hinted = unmatched.iter().filter_map(|group| settings.hinted(group.item, group.order));
        let requests: Vec<Item> = hinted.collect();
        let mut lines = path.as_os_str().to_owned();
        lines.push(".hints.jsonl");
        let (verdicts, more) = judged(args, lines.into(), grader, &requests).await?;
        failures.extend(more);
        counts.hinted = requests.len();
        for group in unmatched {
            if let Some(verdict) = verdicts.get(&group.name()) {
                group.add_hinted(verdict, rules, &mut counts)?;
            }
        }
    }
    Ok((groups, counts, failures))
}

/// The verdicts on requests, by their ids; those of earlier runs are not asked for again.
async fn judged(
    args: &TracesArgs,
    lines: PathBuf,
    grader: &Grader,
    requests: &[Item],
) -> Result<(HashMap<String, Value>, Failures), CliError> {
    if requests.is_empty() {
        return Ok((HashMap::new(), Failures::default()));
    }
    let mut results = Results::open(&lines, REMEDY)?;
    results.check(requests)?;
    let work = work::grade(grader, requests, &mut results, usize::from(args.concurrency)).await?;
    if work.interrupted {
        let what = format!("{} of {} judged; run the same command again to go on", work.graded(), requests.len());
        return Err(CliError::Interrupted(what));
    }
    let stored = outcomes::read(&lines)?.into_iter().filter_map(|stored| Some((stored.id, stored.value.ok()?)));
    Ok((stored.collect(), work.failures))
}
