//! `gavel agree`: how far judges agree with labels.

pub(super) mod grading;
mod html;
pub(super) mod measuring;
pub(super) mod selection;
mod table;
pub(super) mod verdicts;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;

use self::grading::Asked;
use self::measuring::Settings;
use self::selection::{Draw, Selection, Split};
use self::verdicts::Answers;
use super::CliError;
use super::client::ANSWER_TIMEOUT;
use super::failures::Failures;
use super::grader::Grader;
use super::host::InProcessJudge;
use super::items::{MethodArg, ModeArg};
use super::tables::check_folder;
use crate::config::Config;
use crate::domain::agreement::Bootstrap;
use crate::labelled::{self, LabelNames, Mapping};

/// Measure how far judges agree with labels.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel agree --data pairs.jsonl --data scores.csv \\
      --map response=answer,label=stars
  gavel agree --data pairs.jsonl --verdicts mine=verdicts.jsonl \\
      --verdicts theirs.jsonl
  gavel agree --server http://127.0.0.1:8080 --judge small --judge large \\
      --data pairs.jsonl --sample 200")]
pub(super) struct AgreeArgs {
    /// Labelled items: JSON lines, JSON, CSV or Parquet, in Gavel's form, RewardBench's or prometheus-eval's.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    /// A model to measure; with a server, one of its models. May be given several times.
    #[arg(long, value_name = "NAME")]
    judge: Vec<String>,
    /// Stored verdicts to measure, one a line; the judge is called NAME, or as the file. May be given several times.
    #[arg(long, value_name = "[NAME=]FILE")]
    verdicts: Vec<String>,
    /// Which column or path is which field, such as response=answer,label=meta.stars.
    #[arg(long, value_name = "FIELD=COLUMN,…")]
    map: Option<Mapping>,
    /// What labels of pairs mean, where they are not A, B and tie.
    #[arg(long, value_name = "VALUE=A,VALUE=B,…")]
    labels: Option<LabelNames>,
    /// Draw so many items, of each set in proportion; a larger sample has all items of a smaller one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// Draw so many items of each set, so that small sets count as much as large ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "sample")]
    per_set: Option<u32>,
    /// Of the sample and of the intervals: equal seeds give equal reports.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Take one half of the instructions; which half one belongs to depends on its text alone.
    #[arg(long)]
    split: Option<Split>,
    /// How often instructions are drawn anew for the intervals.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    resamples: u32,
    /// A running server; without one, this command hosts each judge itself, one after the other.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The rubric of items that have none.
    #[arg(long, default_value = "helpfulness", value_name = "NAME")]
    rubric: String,
    /// Feedback and verdict, or the verdict alone.
    #[arg(long)]
    mode: Option<ModeArg>,
    /// How pairs are compared: both responses in one prompt, in both orders, or each graded alone.
    #[arg(long)]
    method: Option<MethodArg>,
    /// The prompt set, where it is not the judge's own.
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// How many requests are in flight.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Where verdicts are kept, so that a run which was stopped goes on; `agree` in the cache folder by default.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the report as a page for a browser, with plots; one file, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A configuration of this process, with a model in place of its own.
type Configure<'a> = dyn Fn(Option<&str>) -> Result<Config, CliError> + 'a;

impl AgreeArgs {
    /// The server that is asked, where it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    fn mapping(&self) -> Mapping {
        let mut mapping = self.map.clone().unwrap_or_default();
        mapping.labels.clone_from(&self.labels);
        mapping
    }
}

pub(super) async fn run(args: AgreeArgs, model: Option<String>, config: &Configure<'_>) -> Result<(), CliError> {
    if model.is_some() && !args.judge.is_empty() {
        return Err(CliError::Failed("--model and --judge both name a judge; use one of them".into()));
    }
    args.html.as_deref().map_or(Ok(()), |page| check_folder("--html", page))?;
    let files = labelled::read(&args.data, &args.mapping())?;
    let draw = args.sample.map(|size| Draw::All(size as usize));
    let draw = draw.or(args.per_set.map(|size| Draw::EachSet(size as usize)));
    let selection = selection::select(files, args.split, draw, args.seed)?;
    // Read before a model is loaded: a slip in a file should not cost a minute.
    let mut judges: Vec<Answers> = args.verdicts.iter().map(|given| stored(given)).collect::<Result<_, _>>()?;
    judges.iter().for_each(|judge| note_strangers(judge, &selection));
    let asked: Vec<Option<String>> = match (&args.judge[..], model) {
        ([], None) if !judges.is_empty() => Vec::new(),
        ([], model) => vec![model],
        (names, _) => names.iter().cloned().map(Some).collect(),
    };
    let mut failures = Failures::default();
    if !asked.is_empty() {
        let stored = std::mem::replace(&mut judges, graded(&args, &asked, &selection, config, &mut failures).await?);
        judges.extend(stored);
    }
    let mut names = HashSet::new();
    if let Some(twice) = judges.iter().find(|judge| !names.insert(&judge.name)) {
        let what = format!("two judges are called `{}`; name one with --verdicts NAME=FILE", twice.name);
        return Err(CliError::Failed(what));
    }
    let settings = Settings {
        bootstrap: Bootstrap { seed: args.seed, resamples: args.resamples as usize },
        sample: draw.map(|_| selection.items.len()),
        split: args.split.map(Split::name),
    };
    // Those that were graded here come first.
    let report = measuring::report(selection, judges, &settings)?;
    if let Some(path) = &args.html {
        std::fs::write(path, html::page(&report)?).map_err(|error| CliError::because(path.display(), error))?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| CliError::because("the report", error))?;
        outln!("{text}");
    } else {
        out!("{}", table::show(&report));
    }
    failures.message().map_or(Ok(()), |message| Err(CliError::Failed(message)))
}

/// The judge behind `FILE` or `NAME=FILE`.
fn stored(given: &str) -> Result<Answers, CliError> {
    let (name, path) = match given.split_once('=') {
        Some((name, path)) if !Path::new(given).exists() => (Some(name.to_owned()), Path::new(path)),
        _ => (None, Path::new(given)),
    };
    let stem = || path.file_stem().map_or_else(|| given.to_owned(), |stem| stem.to_string_lossy().into_owned());
    verdicts::read(path, name.unwrap_or_else(stem))
}

/// Says how many verdicts are on items that are not there.
#[allow(clippy::print_stderr, reason = "a note beside the report")]
fn note_strangers(judge: &Answers, selection: &Selection) {
    let known: HashSet<&str> = selection.items.iter().map(|item| item.id.as_str()).collect();
    let strangers = judge.by_id.keys().filter(|id| !known.contains(id.as_str())).count();
    if strangers > 0 {
        eprintln!(
            "{}: {strangers} of {} verdicts are for items that are not in the data (or not in the sample)",
            judge.name,
            judge.by_id.len()
        );
    }
}

/// What each judge says, graded on a server or in this process.
async fn graded(
    args: &AgreeArgs,
    judges: &[Option<String>],
    selection: &Selection,
    config: &Configure<'_>,
    failures: &mut Failures,
) -> Result<Vec<Answers>, CliError> {
    let folder = match &args.keep {
        Some(folder) => folder.clone(),
        None => config(None)?.cache_dir.join("agree"),
    };
    let mut hosted: Option<InProcessJudge> = None;
    let mut all = Vec::with_capacity(judges.len());
    let mut outcome = Ok(());
    for judge in judges {
        let grader = match &args.server {
            Some(url) => Grader::of_server(url, ANSWER_TIMEOUT).await?,
            None => {
                let config = config(judge.as_deref())?;
                let now = match hosted.take() {
                    Some(before) => before.replaced(config).await?,
                    None => InProcessJudge::start(config).await?,
                };
                Grader::InProcess(hosted.insert(now).gavel.clone())
            }
        };
        let asked = Asked {
            model: None,
            rubric: &args.rubric,
            mode: args.mode,
            method: args.method,
            prompt: args.prompt.as_deref(),
            concurrency: usize::from(args.concurrency),
        };
        match answers(&grader, judge.as_deref(), selection, asked, &folder).await {
            Ok((answers, failed)) => {
                all.push(answers);
                failures.extend(failed);
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    if let Some(hosted) = hosted {
        hosted.stop().await;
    }
    outcome.map(|()| all)
}

async fn answers(
    grader: &Grader,
    judge: Option<&str>,
    selection: &Selection,
    asked: Asked<'_>,
    folder: &Path,
) -> Result<(Answers, Failures), CliError> {
    let name = match judge {
        Some(name) => name.to_owned(),
        // Without a name it is the default model, which is the first.
        None => grader.models().await.into_iter().next().map_or_else(|| "judge".to_owned(), |(name, _)| name),
    };
    // A model that this command hosts is the one that answers; a server may have several.
    let asked = Asked { model: matches!(grader, Grader::Server(_)).then_some(name.as_str()), ..asked };
    let (path, failures) = grading::grade(grader, &name, &selection.items, &asked, folder).await?;
    Ok((verdicts::read(&path, name)?, failures))
}
