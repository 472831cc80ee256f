//! `gavel rank`: responses in order, over a file.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::CliError;
use super::asking::Configure;
use super::bulk::BulkArgs;
use super::items::{Asks, MethodArg};
use super::output::Output;

/// Rank the responses of each item, best first.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  gavel rank --data candidates.jsonl --rubric helpfulness --method absolute \\
      --out ranked.jsonl

An item has an `instruction` and a list of `responses`, 2 to 64.
docs/ranking.md describes the verdicts.
Exit codes: 0 all ranked, 1 an error, 2 wrong use, 4 some items failed or rows
were skipped, 130 Ctrl-C.")]
pub(super) struct RankArgs {
    #[command(flatten)]
    pub(super) bulk: BulkArgs,
    /// Write rankings here, as JSON lines (.jsonl, or - for standard output). Items that already have one are not ranked
    /// again.
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    out: PathBuf,
    /// Compare responses in pairs, or grade each alone and rank by reward. Default: the model's own.
    #[arg(long, help_heading = "Judging")]
    method: Option<MethodArg>,
    /// Compare pairs in one order only: half of the time, but a judge may favour a position.
    #[arg(long, help_heading = "Judging")]
    no_swap: bool,
    /// Put the lines into the order of the items when the run ends. Default: as they were ranked.
    #[arg(long, help_heading = "Results")]
    sort: bool,
}

#[allow(clippy::print_stderr, reason = "standard output may be the rankings")]
pub(super) async fn run(args: &RankArgs, asked_of: (Option<String>, &Configure<'_>)) -> Result<(), CliError> {
    let lines = match Output::of(&args.out)? {
        Output::Stdout => None,
        Output::Lines(path) => Some(path),
        Output::Table(path, _) => {
            let what = format!(
                "--out {}: a ranking is no row of a table; use .jsonl, or - for standard output",
                path.display()
            );
            return Err(CliError::Usage(what));
        }
    };
    if args.sort && lines.is_none() {
        return Err(CliError::Usage("--sort has no effect with --out -, where lines come as they are ranked".into()));
    }
    lines.as_deref().map_or(Ok(()), |path| args.bulk.check_other(path))?;
    let method = args.method.map(|method| ("method", json!(method.name())));
    let more: Vec<_> = method.into_iter().chain(args.no_swap.then(|| ("swap", json!(false)))).collect();
    let mut asked = args.bulk.ask(Asks::Rank, lines.as_deref(), &more, asked_of).await?;
    if args.sort {
        asked.results.sort(&asked.items)?;
    }
    match &lines {
        Some(path) => outln!("{}", asked.said(&path.display().to_string())),
        None => eprintln!("{}", asked.said("standard output")),
    }
    asked.end()
}
