//! `gavel rewards`: a reward for each response of a file, as trainers read them.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::CliError;
use super::asking::{Configure, share};
use super::bulk::{BulkArgs, turns};
use super::items::{Asks, Item};
use super::outcomes;
use super::tables::{Cells, Table};
use crate::domain::normalized;

/// Give a reward to each response, in the format that TRL reads.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel rewards --data rollouts.jsonl --rubric helpfulness --mode score \\
      --out rewards.jsonl
  gavel rewards --data rollouts.parquet --rubric honesty --normalize group \\
      --map instruction=question,response=answer --out rewards.parquet

A row is `id`, `prompt`, `completion`, `reward`. Items without a reward are left
out, never 0.
Exit codes: 0 all rewarded, 1 an error, 2 wrong use, 4 some items have no reward
or rows were skipped, 130 Ctrl-C.")]
pub(super) struct RewardsArgs {
    #[command(flatten)]
    pub(super) bulk: BulkArgs,
    /// Write rewards here: .jsonl, .parquet or .csv. The verdicts are kept beside it (FILE.run.jsonl), so that a run which
    /// was stopped goes on.
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    out: PathBuf,
    /// Prompts and completions as texts, or as lists of messages. Default: texts, unless an item has messages.
    #[arg(long, help_heading = "Results")]
    format: Option<Format>,
    /// Rewards as they are, or (reward - mean) / standard deviation among the items of the same `group`.
    #[arg(long, default_value = "none", help_heading = "Results")]
    normalize: Normalize,
    /// Label mass below which an item has no reward, 0 to 1. Default: the server's, `grading.min_label_mass`.
    #[arg(long, value_name = "MASS", value_parser = share, help_heading = "Judging")]
    min_label_mass: Option<f64>,
}

/// How trainers read prompts and responses, in TRL's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Texts.
    Standard,
    /// Lists of messages with a role and a content.
    Conversational,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Normalize {
    None,
    Group,
}

impl Format {
    /// The cells of prompts and responses.
    pub(super) fn cells(self) -> Cells {
        match self {
            Self::Standard => Cells::Text,
            Self::Conversational => Cells::Messages,
        }
    }

    /// The prompt of an item.
    pub(super) fn prompt(self, item: &Item) -> Value {
        match self {
            Self::Standard => item.body["instruction"].clone(),
            Self::Conversational => turns(&item.body),
        }
    }

    /// Checks that items have what the format has: a text for a prompt.
    ///
    /// # Errors
    /// With the first item that has messages.
    pub(super) fn check(self, items: &[Item]) -> Result<(), CliError> {
        let chat = items.iter().find(|item| self == Self::Standard && !item.body["messages"].is_null());
        chat.map_or(Ok(()), |item| {
            let what = format!("`{}` has messages, which are no text; use --format conversational", item.id);
            Err(CliError::Failed(what))
        })
    }
}

#[allow(clippy::print_stderr, reason = "notes beside the result")]
pub(super) async fn run(args: &RewardsArgs, asked_of: (Option<String>, &Configure<'_>)) -> Result<(), CliError> {
    let (path, kind, run) = args.bulk.made_of_run(&args.out)?;
    let more: Vec<_> = args.min_label_mass.iter().map(|mass| ("min_label_mass", json!(mass))).collect();
    let asked = args.bulk.ask(Asks::Reward, Some(&run), &more, asked_of).await?;
    let items = &asked.items;
    let chat = items.iter().any(|item| !item.body["messages"].is_null());
    let format = args.format.unwrap_or(if chat { Format::Conversational } else { Format::Standard });
    format.check(items)?;
    let graded = outcomes::read(&run)?.into_iter().filter_map(|stored| Some((stored.id, stored.value.ok()?)));
    let verdicts: HashMap<String, Value> = graded.collect();
    let rewards: Vec<Option<f64>> = items.iter().map(|item| verdicts.get(&item.id)?["reward"].as_f64()).collect();
    let rewards = match args.normalize {
        Normalize::None => rewards,
        Normalize::Group => normalized(&rewards, &groups(items)?),
    };
    table(format, items, &rewards).write(&path, kind)?;
    outln!("{}", asked.said(&path.display().to_string()));
    let missing = rewards.iter().filter(|reward| reward.is_none()).count();
    if missing > 0 {
        eprintln!("{missing} of {} items have no reward and are left out", items.len());
    }
    asked.end()
}

/// The group of each item.
fn groups(items: &[Item]) -> Result<Vec<String>, CliError> {
    let group = |item: &Item| match item.input.as_ref().and_then(|input| input.get("group")) {
        Some(Value::String(name)) => Ok(name.clone()),
        Some(number @ Value::Number(_)) => Ok(number.to_string()),
        _ => Err(CliError::Failed(format!(
            "`{}` has no group, which --normalize group needs; map it with --map group=FIELD",
            item.id
        ))),
    };
    items.iter().map(group).collect()
}

fn table(format: Format, items: &[Item], rewards: &[Option<f64>]) -> Table {
    let columns =
        [("id", Cells::Text), ("prompt", format.cells()), ("completion", format.cells()), ("reward", Cells::Number)];
    let completion = |item: &Item| match format {
        Format::Standard => item.body["response"].clone(),
        Format::Conversational => json!([{"role": "assistant", "content": item.body["response"]}]),
    };
    let row = |(item, reward): (&Item, &Option<f64>)| {
        Some(vec![json!(item.id), format.prompt(item), completion(item), json!((*reward)?)])
    };
    Table {
        columns: columns.map(|(name, cells)| (name.to_owned(), cells)).to_vec(),
        rows: items.iter().zip(rewards).filter_map(row).collect(),
    }
}
