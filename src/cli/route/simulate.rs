//! `gavel route simulate`: accuracy by the share that goes to people.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::CliError;
use super::super::asking::Configure;
use super::super::calibrate::{GradedItems, failed};
use super::super::tables::{check_folder, replace};
use super::examples::Gathered;
use super::html;
use super::report::{Report, RouterName, table};
use crate::domain::Kind;
use crate::domain::agreement::{Bootstrap, instruction_key};
use crate::domain::routing::{RouteExample, Routed, RouterFile, simulate};
use crate::routers;

/// Show how accurate judge and people are together, by the share that goes to people.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel route simulate --data other-labels.jsonl --router router.json \\
      --verdicts verdicts.jsonl --html routing.html
  gavel route simulate --data labels.jsonl --mode score

People's labels count as right. Without --router, items are routed by the
judge's own uncertainty.")]
pub(in super::super) struct SimulateArgs {
    #[command(flatten)]
    graded: GradedItems,
    /// A file of `gavel route fit`, which must not have been fitted to these items.
    #[arg(long, value_name = "FILE.json")]
    router: Option<PathBuf>,
    /// Of the intervals: equal seeds give equal reports.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// How often instructions are drawn anew for the intervals.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    resamples: u32,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the report as a page for a browser, with a plot; one file, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl SimulateArgs {
    /// The server that is asked, where it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        self.graded.server()
    }
}

pub(super) async fn run(args: &SimulateArgs, model: Option<&str>, config: &Configure<'_>) -> Result<(), CliError> {
    args.html.as_deref().map_or(Ok(()), |page| check_folder("--html", page))?;
    // Read before a model is loaded: a slip in a file should not cost a minute.
    let router = args.router.as_deref().map(|path| routers::read(path).map(|file| (path, file)));
    let router = router.transpose().map_err(failed)?;
    let (labels, verdicts) = args.graded.graded(None, model, config).await?;
    let gathered = Gathered::of(labels, &verdicts)?;
    if let Some((path, file)) = &router {
        check(path, file, &gathered)?;
    }
    let router = router.as_ref();
    let bootstrap = Bootstrap { seed: args.seed, resamples: args.resamples as usize };
    let routed: Vec<Routed> =
        gathered.examples.iter().map(|example| routed(example, gathered.kind, router.map(|(_, file)| file))).collect();
    let simulation = simulate(&routed, bootstrap).ok_or_else(|| failed("there are no items"))?;
    let summary = gathered.summary();
    let report = Report {
        kind: gathered.kind,
        router: router
            .map(|(path, file)| RouterName { path: path.display().to_string(), digest: file.digest().to_owned() }),
        judged_with: gathered.joined.made_for,
        data: gathered.joined.data,
        seed: args.seed,
        resamples: args.resamples,
        simulation,
    };
    if let Some(path) = &args.html {
        replace(path, html::page(&report)?.as_bytes())?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| CliError::because("the report", error))?;
        outln!("{text}");
    } else {
        out!("{summary}{}", table(&report));
    }
    Ok(())
}

/// Checks that a router is for these verdicts, and was not fitted to these items.
fn check(path: &Path, file: &RouterFile, gathered: &Gathered) -> Result<(), CliError> {
    let content = file.content();
    let refused = |what: String| CliError::Failed(format!("{} {what}", path.display()));
    let fitted_to =
        gathered.joined.data.iter().find(|source| content.data.iter().any(|own| own.sha256 == source.sha256));
    if let Some(source) = fitted_to {
        let what = "what a router was fitted to says too much good of it; take other items";
        return Err(refused(format!("was fitted to {}: {what}", source.name)));
    }
    if content.kind != gathered.kind || content.jury != gathered.jury {
        return Err(refused("was made for other verdicts: scores or pairs, of one judge or of a jury".into()));
    }
    let made_for = &gathered.joined.made_for;
    let checked = content.made_for.check(&made_for.model, ("the verdicts", &made_for.prompt));
    checked.map_err(|error| refused(error.to_string()))?;
    let mut rubrics = made_for.rubrics.iter().flatten();
    let checked = rubrics.try_for_each(|rubric| content.made_for.check_rubric(rubric));
    checked.map_err(|error| refused(error.to_string()))?;
    match (content.made_for.mode, made_for.mode) {
        (Some(own), Some(other)) if own != other => {
            Err(refused("was made for verdicts of the other mode (feedback or score)".into()))
        }
        _ => Ok(()),
    }
}

fn routed(example: &RouteExample, kind: Kind, router: Option<&RouterFile>) -> Routed {
    let doubt = || example.observed.signals.doubt(kind == Kind::Relative);
    Routed {
        instruction: instruction_key(&example.instruction),
        score: router.map_or_else(doubt, |file| file.score(&example.observed)),
        right: example.right,
    }
}
