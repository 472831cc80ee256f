//! `gavel preferences`: preference pairs of the responses of a file, as trainers read them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::CliError;
use super::asking::{Configure, share};
use super::bulk::BulkArgs;
use super::items::{Asks, Item, MethodArg};
use super::outcomes;
use super::rewards::Format;
use super::tables::{Cells, Table};

/// Make preference pairs of the responses of each item, in the format that TRL's DPOTrainer reads.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel preferences --data candidates.jsonl --rubric helpfulness \\
      --out pairs.jsonl
  gavel preferences --data candidates.jsonl --rubric honesty --pairs all \\
      --min-margin 0.1 --out pairs.parquet

An item has an `instruction` and a list of `responses`, 2 to 64. A row is `id`,
`prompt`, `chosen`, `rejected`, `score_chosen`, `score_rejected`, `margin`.
Uncertain pairs are left out, and counted by reason (docs/ranking.md).
Exit codes: 0 all items judged, 1 an error, 2 wrong use, 4 some items failed or
rows were skipped, 130 Ctrl-C.")]
pub(super) struct PreferencesArgs {
    #[command(flatten)]
    pub(super) bulk: BulkArgs,
    /// Write pairs here: .jsonl, .parquet or .csv. The answers are kept beside it (FILE.run.jsonl), so that a run which was
    /// stopped goes on.
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    out: PathBuf,
    /// Prompts and responses as lists of messages, or as texts.
    #[arg(long, default_value = "conversational", help_heading = "Results")]
    format: Format,
    /// The best response and the worst, or every pair that was judged. Default: each item's own, or the best and the
    /// worst.
    #[arg(long, help_heading = "Judging")]
    pairs: Option<PairsArg>,
    /// Minimum margin of a pair, 0 to 1. Default: each item's own, or 0.2.
    #[arg(long, value_name = "MARGIN", value_parser = share, help_heading = "Judging")]
    min_margin: Option<f64>,
    /// Label mass below which a pair is left out, 0 to 1. Default: the server's, `grading.min_label_mass`.
    #[arg(long, value_name = "MASS", value_parser = share, help_heading = "Judging")]
    min_label_mass: Option<f64>,
    /// Compare responses in pairs, or grade each alone. Default: the model's own.
    #[arg(long, help_heading = "Judging")]
    method: Option<MethodArg>,
    /// Compare pairs in one order only: half of the time, but a judge may favour a position.
    #[arg(long, help_heading = "Judging")]
    no_swap: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PairsArg {
    BestWorst,
    All,
}

impl PreferencesArgs {
    fn more(&self) -> Vec<(&'static str, Value)> {
        let pairs = self.pairs.map(|pairs| match pairs {
            PairsArg::BestWorst => ("pairs", json!("best_worst")),
            PairsArg::All => ("pairs", json!("all")),
        });
        let margin = self.min_margin.map(|margin| ("min_margin", json!(margin)));
        let mass = self.min_label_mass.map(|mass| ("min_label_mass", json!(mass)));
        let method = self.method.map(|method| ("method", json!(method.name())));
        let swap = self.no_swap.then(|| ("swap", json!(false)));
        [pairs, margin, mass, method, swap].into_iter().flatten().collect()
    }
}

#[allow(clippy::print_stderr, reason = "notes beside the result")]
pub(super) async fn run(args: &PreferencesArgs, asked_of: (Option<String>, &Configure<'_>)) -> Result<(), CliError> {
    let (path, kind, run) = args.bulk.made_of_run(&args.out)?;
    let asked = args.bulk.ask(Asks::Preferences, Some(&run), &args.more(), asked_of).await?;
    args.format.check(&asked.items)?;
    let answered = outcomes::read(&run)?.into_iter().filter_map(|stored| Some((stored.id, stored.value.ok()?)));
    let answers: HashMap<String, Value> = answered.collect();
    let table = table(args.format, &asked.items, &answers);
    table.write(&path, kind)?;
    outln!("{}", asked.said(&path.display().to_string()));
    let pairs = if table.rows.len() == 1 { "pair" } else { "pairs" };
    eprintln!("{} {pairs}{}", table.rows.len(), left_out(&asked.items, &answers));
    asked.end()
}

fn table(format: Format, items: &[Item], answers: &HashMap<String, Value>) -> Table {
    let text = format.cells();
    let columns = [
        ("id", Cells::Text),
        ("prompt", text),
        ("chosen", text),
        ("rejected", text),
        ("score_chosen", Cells::Number),
        ("score_rejected", Cells::Number),
        ("margin", Cells::Number),
    ];
    let said = |turns: &Value| match format {
        Format::Standard => turns[0]["content"].clone(),
        Format::Conversational => turns.clone(),
    };
    let mut rows = Vec::new();
    for item in items {
        let pairs = answers.get(&item.id).and_then(|answer| answer["pairs"].as_array());
        for pair in pairs.into_iter().flatten() {
            let (chosen, rejected) = (said(&pair["chosen"]), said(&pair["rejected"]));
            let mut row = vec![json!(item.id), format.prompt(item), chosen, rejected];
            row.extend(["score_chosen", "score_rejected", "margin"].map(|name| pair[name].clone()));
            rows.push(row);
        }
    }
    Table { columns: columns.map(|(name, cells)| (name.to_owned(), cells)).to_vec(), rows }
}

/// How many pairs and responses were left out, by reason.
fn left_out(items: &[Item], answers: &HashMap<String, Value>) -> String {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let answers = items.iter().filter_map(|item| answers.get(&item.id));
    for left in answers.flat_map(|answer| answer["left_out"].as_array().into_iter().flatten()) {
        *reasons.entry(left["reason"].as_str().unwrap_or("unknown")).or_insert(0) += 1;
    }
    if reasons.is_empty() {
        return String::new();
    }
    let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    format!("; left out: {}", reasons.join(", "))
}
