//! `gavel route`: routers, which send verdicts to people where the judge is likely to disagree with them, and what they gain.

mod examples;
mod html;
mod report;
mod simulate;

use clap::{Args, Subcommand};

use self::examples::Gathered;
use self::simulate::SimulateArgs;
use super::CliError;
use super::asking::Configure;
use super::calibrate::report::now;
use super::calibrate::{Source, failed};
use super::page::units::Unit;
use crate::domain::agreement::Bootstrap;
use crate::domain::routing::{FittedRouter, RouteFeature, RouterContent, RouterFile, RouterObject, fit};

/// Send verdicts to people where the judge is likely to be wrong.
#[derive(Debug, Subcommand)]
pub(super) enum RouteCommand {
    /// Fit a router: the probability that the judge disagrees with people, from labelled verdicts.
    Fit(Box<RouteFitArgs>),
    /// Show how accurate judge and people are together, by the share that goes to people.
    Simulate(Box<SimulateArgs>),
}

/// Fit a router.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel route fit --data labels.jsonl --mode score --out router.json
  gavel route fit --data labels.jsonl --verdicts verdicts.jsonl \\
      --out router.json")]
pub(super) struct RouteFitArgs {
    #[command(flatten)]
    source: Source,
}

impl RouteCommand {
    /// The server that is asked, where it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        match self {
            Self::Fit(args) => args.source.graded.server(),
            Self::Simulate(args) => args.server(),
        }
    }
}

pub(super) async fn run(command: RouteCommand, model: Option<&str>, config: &Configure<'_>) -> Result<(), CliError> {
    match command {
        RouteCommand::Fit(args) => fitted(&args.source, model, config).await,
        RouteCommand::Simulate(args) => simulate::run(&args, model, config).await,
    }
}

async fn fitted(source: &Source, model: Option<&str>, config: &Configure<'_>) -> Result<(), CliError> {
    let (labels, verdicts) = source.graded.graded(None, model, config).await?;
    let kind = labels.kind();
    let gathered = Gathered::of(labels, &verdicts)?;
    let bootstrap = Bootstrap { seed: source.seed, ..Bootstrap::default() };
    let router = fit(kind, &gathered.examples, bootstrap).map_err(failed)?;
    let report = format!("{}{}", gathered.summary(), said(&router));
    let mut made_for = gathered.joined.made_for;
    if source.any_rubric {
        made_for.rubrics = None;
    }
    let FittedRouter { parameters, thresholds, held_out } = router;
    let content = RouterContent {
        object: RouterObject::Router,
        version: 1,
        kind,
        made_for,
        jury: gathered.jury,
        parameters,
        thresholds,
        data: gathered.joined.data,
        held_out,
        created: now(),
    };
    let file = RouterFile::new(&content).map_err(failed)?;
    source.save(&report, file.to_json(), file.digest())
}

/// The figures of a fit, by cross-validation, and its weights.
fn said(FittedRouter { parameters, thresholds, held_out }: &FittedRouter) -> String {
    let mut text = String::new();
    let mut line = |line: String| text.push_str(&(line + "\n"));
    line(format!("\nby cross-validation over instructions, n = {}", held_out.items));
    line(format!("{:<34} {}", "the judge disagrees with people on", Unit::Share.value(held_out.disagreement)));
    line(format!("{:<34} {:.3}", "area under the ROC curve", held_out.auc));
    line(format!("{:<34} {:.4}", "Brier", held_out.brier));
    line(format!("{:<34} {}", "area above random, the router", Unit::Points.sentence(&held_out.area)));
    line(format!("{:<34} {}", "area above random, uncertainty", Unit::Points.sentence(&held_out.area_of_doubt)));
    let shown = thresholds.iter().filter(|known| [0.1, 0.2, 0.5].iter().any(|one| (known.budget - one).abs() < 1e-9));
    let shown: Vec<String> =
        shown.map(|known| format!("{} from {:.3}", Unit::Share.value(known.budget), known.threshold)).collect();
    line(format!("{:<34} {}", "budgets, by score", shown.join(", ")));
    line(format!("\nridge {}, weights of standardised features", parameters.ridge));
    for (feature, of) in &parameters.features {
        line(format!("{:<20} {:>8.3}", name(*feature), of.weight));
    }
    text
}

/// The name of a feature in files.
fn name(feature: RouteFeature) -> String {
    serde_json::to_value(feature).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
