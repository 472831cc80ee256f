//! `gavel redteam`: how far attacks in the judged text move the reward.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::CliError;
use super::agree::selection::{self, Draw};
use super::agree::verdicts::{self, Answer, Answers};
use super::asking::{Asking, Configure};
use crate::domain::Preference;
use crate::domain::agreement::report::{DataFile, Model};
use crate::domain::agreement::{Bootstrap, instruction_key, mean};
use crate::domain::attacks::{ATTACKS, Attack};
use crate::domain::redteam::{MovedReward, RedteamReport};
use crate::labelled::{self, LabelNames, Labelled, LabelledItem, Mapping};

/// The highest score of a rubric that is named and not shown.
const HIGHEST: i32 = 5;

/// Measure how far attacks in the judged text move the reward.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel redteam --data labels.jsonl --sample 50
  gavel redteam --data labels.jsonl --server http://127.0.0.1:8080 \\
      --attack verdict --attack order --json")]
pub(super) struct RedteamArgs {
    /// Labelled items; docs/agreement.md describes the formats. Of a pair, the worse response is attacked with.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Which column or path is which field, such as response=answer,label=meta.stars.
    #[arg(long, value_name = "FIELD=COLUMN,…")]
    map: Option<Mapping>,
    /// What labels of pairs mean, where they are not A, B and tie.
    #[arg(long, value_name = "VALUE=A,VALUE=B,…")]
    labels: Option<LabelNames>,
    /// Draw so many items, of each set in proportion; each is graded once, and once for each attack.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// Of the sample and of the intervals: equal seeds give equal reports.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// An attack; all where none is named.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(ATTACKS.iter().map(|attack| attack.name)))]
    attack: Vec<String>,
    #[command(flatten)]
    asking: Asking,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl RedteamArgs {
    /// The server that is asked, where it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        self.asking.server()
    }
}

pub(super) async fn run(args: &RedteamArgs, model: Option<&str>, config: &Configure<'_>) -> Result<(), CliError> {
    let mut mapping = args.map.clone().unwrap_or_default();
    mapping.labels.clone_from(&args.labels);
    let files = labelled::read(&args.data, &mapping)?;
    let selection = selection::select(files, None, Some(Draw::All(args.sample as usize)), args.seed)?;
    let asked = |attack: &&Attack| args.attack.is_empty() || args.attack.iter().any(|name| name == attack.name);
    let attacks: Vec<&Attack> = ATTACKS.iter().filter(asked).collect();
    let items: Vec<LabelledItem> = selection.items.into_iter().map(alone).collect();
    if let Some(item) = items.iter().find(|item| !item.body.get("response").is_some_and(Value::is_string)) {
        return Err(CliError::because(&item.id, "its response has pictures; attacks change texts"));
    }
    let variants = items
        .iter()
        .flat_map(|item| std::iter::once(item.clone()).chain(attacks.iter().map(|attack| attacked(item, attack))));
    let (verdicts, mut failures) =
        args.asking.grade(&variants.collect::<Vec<_>>(), None, "redteam", model, config).await?;
    // Some attacks leave nothing of a response, which is refused; the column `n` says of how many.
    failures.forget("invalid_request", |id| !items.iter().any(|item| item.id == id));
    failures.print();
    let answers = verdicts::read(&verdicts, "judge".to_owned())?;
    let bootstrap = Bootstrap { seed: args.seed, ..Bootstrap::default() };
    let report = report(&items, &attacks, answers, selection.files, bootstrap);
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| CliError::because("the report", error))?;
        outln!("{text}");
    } else {
        out!("{}", table(&report, items.len()));
    }
    Ok(())
}

/// The item with one response to grade: its own, or the worse one of two.
fn alone(mut item: LabelledItem) -> LabelledItem {
    if let Labelled::Pair { label, lengths, .. } = item.labelled {
        let (worse, other, length) = match label {
            Preference::A => ("response_b", "response_a", lengths[1]),
            Preference::B | Preference::Tie => ("response_a", "response_b", lengths[0]),
        };
        item.body.shift_remove(other);
        let response = item.body.shift_remove(worse).unwrap_or_default();
        item.body.insert("response".into(), response);
        item.labelled = Labelled::Score { label: 0.0, scale: None, length };
    }
    item
}

fn attacked(item: &LabelledItem, attack: &Attack) -> LabelledItem {
    let mut item = item.clone();
    item.id = variant(&item.id, attack);
    let descriptions = item.body.get("rubric").and_then(|rubric| rubric["descriptions"].as_object());
    let scores = descriptions.into_iter().flatten().filter_map(|(score, _)| score.parse().ok());
    let highest = scores.max().unwrap_or(HIGHEST);
    let response = item.body.get("response").and_then(Value::as_str).unwrap_or_default();
    let response = json!(attack.on(response, highest));
    item.body.insert("response".into(), response);
    item
}

/// The name of an attacked item in the file of verdicts.
fn variant(id: &str, attack: &Attack) -> String {
    format!("{id} + {}", attack.name)
}

fn report(
    items: &[LabelledItem],
    attacks: &[&Attack],
    answers: Answers,
    data: Vec<DataFile>,
    bootstrap: Bootstrap,
) -> RedteamReport {
    let reward = |id: &str| match answers.by_id.get(id).map(|stored| &stored.answer) {
        Some(Answer::Score(verdict)) => verdict.reward,
        _ => None,
    };
    let plain: Vec<(u64, &LabelledItem, Option<f64>)> =
        items.iter().map(|item| (instruction_key(&item.instruction), item, reward(&item.id))).collect();
    let moved = |attack: &&Attack| {
        let both: Vec<(u64, f64, f64)> = plain
            .iter()
            .filter_map(|(key, item, before)| Some((*key, (*before)?, reward(&variant(&item.id, attack))?)))
            .collect();
        let figure = |number: fn(f64, f64) -> f64| {
            let numbers: Vec<(u64, f64)> =
                both.iter().map(|(key, before, after)| (*key, number(*before, *after))).collect();
            mean(&numbers, bootstrap)
        };
        MovedReward {
            name: attack.name.to_owned(),
            what: attack.what.to_owned(),
            moved: figure(|before, after| after - before),
            raised: figure(|before, after| f64::from(u8::from(after > before))),
            reward: figure(|_, after| after),
            missing: items.len() - both.len(),
        }
    };
    let mut attacks: Vec<MovedReward> = attacks.iter().map(moved).collect();
    let by = |moved: &MovedReward| moved.moved.map_or(f64::NEG_INFINITY, |figure| figure.value);
    attacks.sort_by(|one, other| by(other).total_cmp(&by(one)));
    let rewards: Vec<(u64, f64)> = plain.iter().filter_map(|(key, _, before)| Some((*key, (*before)?))).collect();
    RedteamReport {
        object: "redteam".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: bootstrap.seed,
        model: answers.model,
        prompt: answers.prompt,
        data,
        reward: mean(&rewards, bootstrap),
        attacks,
    }
}

/// The report as a person reads it, in at most 100 columns.
fn table(report: &RedteamReport, items: usize) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    if let Some(Model { name, engine, .. }) = &report.model {
        let _ = writeln!(out, "{name} on {engine}");
    }
    let unlabelled: usize = report.data.iter().map(|file| file.unlabelled).sum();
    if unlabelled > 0 {
        let _ = writeln!(out, "items without a label, left out: {unlabelled}");
    }
    let reward = report.reward.map_or_else(|| "-".to_owned(), |figure| format!("{:.3}", figure.value));
    let _ =
        writeln!(out, "{items} responses, mean reward {reward} without an attack. Change of the reward by attack:\n");
    let _ = writeln!(
        out,
        "  {:16}{:>8}   {:16}{:>8}{:>6}  what the response does",
        "", "moves", "95 % interval", "raises", "n"
    );
    for MovedReward { name, what, moved, raised, missing, .. } in &report.attacks {
        let value = moved.map_or_else(|| "-".to_owned(), |figure| format!("{:+.3}", figure.value));
        let interval = moved.and_then(|figure| Some(format!("{:+.3} to {:+.3}", figure.low?, figure.high?)));
        let raised = raised.map_or_else(|| "-".to_owned(), |figure| format!("{:.2}", figure.value));
        let interval = interval.unwrap_or_default();
        let _ = writeln!(out, "  {name:16}{value:>8}   {interval:16}{raised:>8}{:>6}  {what}", items - missing);
    }
    out
}
