//! `gavel grade`: one request from flags, or a JSONL file in and a JSONL file out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::client::ANSWER_TIMEOUT;
use super::grader::{Grader, Reply};
use super::host::InProcessJudge;
use super::items::{self, Item, ItemOptions, KindArg, ModeArg};
use super::results::Results;
use super::{CliError, show, work};
use crate::config::Config;

/// Grade one response, or a whole file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel grade --instruction 'Why is the sky blue?' --response 'Because the sea is.' --rubric factual_validity
  gavel grade --server http://127.0.0.1:8080 --data items.jsonl --out verdicts.jsonl --mode score")]
pub(super) struct GradeArgs {
    /// URL of a running server. Default: load the model in this process.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Items to grade, one JSON object per line: request bodies, or labelled items.
    #[arg(long, value_name = "FILE.jsonl", requires = "out", conflicts_with = "instruction")]
    data: Option<PathBuf>,
    /// Write verdicts to this file, one JSON object per line. Items that already have a verdict in it are not graded
    /// again.
    #[arg(long, value_name = "FILE.jsonl")]
    out: Option<PathBuf>,
    #[command(flatten)]
    item_options: ItemOptions,
    /// Number of requests in flight.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Maximum time for the answer to one request, with --server. Longer than the server's own limit (`limits.deadline_ms`,
    /// ten minutes by default), so that the server can say what happened. A server that does not accept the connection,
    /// or says nothing at all, is given up after 10 s.
    #[arg(long, value_name = "SECONDS", requires = "server", value_parser = super::bench::positive)]
    timeout: Option<f64>,
    /// The instruction of one request.
    #[arg(long, required_unless_present = "data")]
    instruction: Option<String>,
    /// Its response; for relative grading, response A.
    #[arg(long, requires = "instruction", required_unless_present = "data")]
    response: Option<String>,
    /// Response B, to compare the two.
    #[arg(long, requires = "instruction")]
    response_b: Option<String>,
    /// A reference answer.
    #[arg(long, requires = "instruction")]
    reference: Option<String>,
    /// Print the verdict as JSON.
    #[arg(long, requires = "instruction")]
    json: bool,
}

impl GradeArgs {
    /// The URL of the server, if it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    fn timeout(&self) -> Duration {
        self.timeout.map_or(ANSWER_TIMEOUT, Duration::from_secs_f64)
    }
}

pub(super) async fn run(
    args: GradeArgs,
    model: Option<String>,
    config: impl FnOnce() -> Result<Config, CliError>,
) -> Result<(), CliError> {
    // Only a server may have several models.
    let model = model.filter(|_| args.server.is_some());
    // Read before a model is loaded, so that an error in the file is found at once.
    let work = match (&args.data, &args.out) {
        (Some(data), Some(out)) => Some(Work::read(data, out, &args, model.as_deref())?),
        _ => None,
    };
    let (grader, hosted) = match &args.server {
        Some(url) => (Grader::of_server(url, args.timeout()).await?, None),
        None => {
            let hosted = InProcessJudge::start(config()?).await?;
            (Grader::InProcess(hosted.gavel.clone()), Some(hosted))
        }
    };
    let outcome = match work {
        Some(work) => work.grade(&grader, usize::from(args.concurrency)).await,
        None => one(&grader, args, model).await,
    };
    drop(grader);
    if let Some(hosted) = hosted {
        hosted.stop().await;
    }
    outcome
}

async fn one(grader: &Grader, args: GradeArgs, model: Option<String>) -> Result<(), CliError> {
    let mut body = json!({
        "instruction": args.instruction,
        "rubric": args.item_options.rubric(),
        "reference_answer": args.reference,
        "model": model,
    });
    body["mode"] = json!(args.item_options.mode.map(ModeArg::name));
    let kind = match args.response_b {
        Some(b) => {
            (body["response_a"], body["response_b"]) = (json!(args.response), json!(b));
            KindArg::Relative
        }
        None => {
            body["response"] = json!(args.response);
            KindArg::Absolute
        }
    };
    match grader.grade(kind, &body).await {
        Reply::Verdict(verdict) if args.json => println!("{verdict:#}"),
        Reply::Verdict(verdict) => print!("{}", show::verdict(&verdict)),
        Reply::Problem(problem, _) => return Err(CliError::Failed(show::problem(&problem))),
    }
    Ok(())
}

/// The grading of a file.
struct Work {
    items: Vec<Item>,
    out: PathBuf,
    results: Results,
}

impl Work {
    fn read(data: &Path, out: &Path, args: &GradeArgs, model: Option<&str>) -> Result<Self, CliError> {
        if out.canonicalize().is_ok_and(|out| data.canonicalize().is_ok_and(|data| data == out)) {
            return Err(CliError::Failed(format!("{} is both --data and --out; name another file", out.display())));
        }
        let mut items = items::read(data, &args.item_options)?;
        if let Some(model) = model {
            items.iter_mut().for_each(|item| item.body["model"] = json!(model));
        }
        let results = Results::open(out, "use another file for --out")?;
        results.check(&items)?;
        Ok(Self { items, out: out.to_owned(), results })
    }

    async fn grade(self, grader: &Grader, concurrency: usize) -> Result<(), CliError> {
        let Self { items, out, results } = self;
        let total = items.len();
        let failures = work::grade(grader, items, results, concurrency).await?;
        let (failed, untried) = (failures.count(), failures.untried());
        println!("{} of {total} graded, {failed} failed: {}", total - failed - untried, out.display());
        failures.message().map_or(Ok(()), |message| Err(CliError::Failed(message)))
    }
}
