//! `gavel grade`: one request from flags, or a JSONL file in and a JSONL file out.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use futures::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::client::{Client, Reply};
use super::host::Hosted;
use super::{CliError, show};
use crate::config::Config;

/// Grade one response, or a whole file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel grade --instruction 'Why is the sky blue?' --response 'Because the sea is.' --rubric factual_validity
  gavel grade --server http://127.0.0.1:8080 --data items.jsonl --out verdicts.jsonl --mode score")]
pub(super) struct GradeArgs {
    /// A running server; without one, this command hosts the model itself.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Items to grade, one JSON object a line: request bodies, or labelled items.
    #[arg(long, value_name = "FILE.jsonl", requires = "out", conflicts_with = "instruction")]
    data: Option<PathBuf>,
    /// Where verdicts go, one JSON object a line. Lines that hold a verdict already are not graded again.
    #[arg(long, value_name = "FILE.jsonl")]
    out: Option<PathBuf>,
    /// The grading kind; without it, each item's own.
    #[arg(long)]
    kind: Option<KindArg>,
    /// A rubric's name, for items that have none or instead of theirs.
    #[arg(long, value_name = "NAME")]
    rubric: Option<String>,
    /// Feedback and verdict, or the verdict alone.
    #[arg(long)]
    mode: Option<ModeArg>,
    /// How many requests are in flight.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindArg {
    Absolute,
    Relative,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeArg {
    Feedback,
    Score,
}

pub(super) async fn run(args: GradeArgs, config: impl FnOnce() -> Result<Config, CliError>) -> Result<(), CliError> {
    // Read before a model is loaded: a slip in the file should not cost a minute.
    let work = match (&args.data, &args.out) {
        (Some(data), Some(out)) => Some(Work::read(data, out, &args)?),
        _ => None,
    };
    let hosted = match &args.server {
        Some(_) => None,
        None => Some(Hosted::start(config()?).await?),
    };
    let url = args.server.as_deref().or(hosted.as_ref().map(|hosted| hosted.url.as_str())).unwrap_or_default();
    let client = Client::new(url)?;
    let outcome = match work {
        Some(work) => work.grade(&client, usize::from(args.concurrency)).await,
        None => one(&client, args).await,
    };
    if let Some(hosted) = hosted {
        hosted.stop().await;
    }
    outcome
}

async fn one(client: &Client, args: GradeArgs) -> Result<(), CliError> {
    let mut body = json!({
        "instruction": args.instruction,
        "rubric": args.rubric.as_deref().unwrap_or("helpfulness"),
        "reference_answer": args.reference,
    });
    body["mode"] = mode(args.mode);
    let path = match args.response_b {
        Some(b) => {
            (body["response_a"], body["response_b"]) = (json!(args.response), json!(b));
            KindArg::Relative.path()
        }
        None => {
            body["response"] = json!(args.response);
            KindArg::Absolute.path()
        }
    };
    match client.post(path, &body).await {
        Reply::Verdict(verdict) if args.json => println!("{verdict:#}"),
        Reply::Verdict(verdict) => print!("{}", show::verdict(&verdict)),
        Reply::Problem(problem) => return Err(CliError::Failed(show::problem(&problem))),
    }
    Ok(())
}

fn mode(mode: Option<ModeArg>) -> Value {
    match mode {
        None => Value::Null,
        Some(ModeArg::Feedback) => json!("feedback"),
        Some(ModeArg::Score) => json!("score"),
    }
}

impl KindArg {
    fn path(self) -> &'static str {
        match self {
            Self::Absolute => "/v1/grade/absolute",
            Self::Relative => "/v1/grade/relative",
        }
    }
}

/// A line to grade.
struct Item {
    id: String,
    kind: KindArg,
    body: Value,
}

/// What is left to do of a file.
struct Work {
    items: Vec<Item>,
    out: PathBuf,
    done: usize,
}

impl Work {
    fn read(data: &Path, out: &Path, args: &GradeArgs) -> Result<Self, CliError> {
        if out.canonicalize().is_ok_and(|out| data.canonicalize().is_ok_and(|data| data == out)) {
            return Err(CliError::Failed(format!("{} is both --data and --out; name another file", out.display())));
        }
        let items = read_items(data, args)?;
        let done = keep_verdicts(out)?;
        let total = items.len();
        let items: Vec<Item> = items.into_iter().filter(|item| !done.contains(&item.id)).collect();
        Ok(Self { done: total - items.len(), items, out: out.to_owned() })
    }

    async fn grade(self, client: &Client, concurrency: usize) -> Result<(), CliError> {
        let total = self.done + self.items.len();
        let fail = |error: std::io::Error| CliError::because(self.out.display(), error);
        let mut out = std::fs::OpenOptions::new().create(true).append(true).open(&self.out).map_err(fail)?;
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta} left, {msg} failed");
        let bar = ProgressBar::new(total as u64).with_style(style.expect("a fixed template")).with_message("0");
        bar.set_position(self.done as u64);
        bar.reset_eta();
        let mut replies = stream::iter(self.items)
            .map(|item| async move { (client.post(item.kind.path(), &item.body).await, item.id) })
            .buffer_unordered(concurrency);
        let mut failed = 0;
        while let Some((reply, id)) = replies.next().await {
            let line = match reply {
                Reply::Verdict(verdict) => json!({"id": id, "verdict": verdict}),
                Reply::Problem(problem) => {
                    failed += 1;
                    bar.set_message(failed.to_string());
                    json!({"id": id, "error": problem})
                }
            };
            writeln!(out, "{line}").and_then(|()| out.flush()).map_err(fail)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        println!("{} of {total} graded, {failed} failed: {}", total - failed, self.out.display());
        if failed > 0 {
            return Err(CliError::Failed(format!("{failed} items failed; run the same command again to retry them")));
        }
        Ok(())
    }
}

fn read_items(data: &Path, args: &GradeArgs) -> Result<Vec<Item>, CliError> {
    let file = std::fs::File::open(data).map_err(|error| CliError::because(data.display(), error))?;
    let (mut items, mut seen) = (Vec::new(), HashMap::new());
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let number = index + 1;
        let wrong = |what: String| CliError::Failed(format!("{}:{number}: {what}", data.display()));
        let line = line.map_err(|error| wrong(error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let item: Map<String, Value> = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        let item = as_item(item, number, args).map_err(wrong)?;
        if let Some(first) = seen.insert(item.id.clone(), number) {
            return Err(wrong(format!("has the id `{}` of line {first}; ids tell which lines are done", item.id)));
        }
        items.push(item);
    }
    Ok(items)
}

/// Makes a request of a line: a request body as it is, or a labelled item.
fn as_item(mut item: Map<String, Value>, number: usize, args: &GradeArgs) -> Result<Item, String> {
    let id = match item.remove("id") {
        Some(Value::String(id)) => id,
        Some(Value::Null) | None => format!("line-{number}"),
        Some(other) => other.to_string(),
    };
    let kind = match (args.kind, item.contains_key("response_a")) {
        (Some(KindArg::Absolute), true) => return Err("is a pair, and --kind is absolute".into()),
        (Some(KindArg::Relative), false) => return Err("has no response_a, and --kind is relative".into()),
        (_, true) => KindArg::Relative,
        (_, false) => KindArg::Absolute,
    };
    let mut body = item;
    from_labelled(&mut body);
    if let Some(rubric) = &args.rubric {
        body.insert("rubric".into(), json!(rubric));
    } else if body.get("rubric").is_none_or(Value::is_null) {
        return Err("has no rubric; name one with --rubric".into());
    }
    if args.mode.is_some() {
        body.insert("mode".into(), mode(args.mode));
    }
    Ok(Item { id, kind, body: Value::Object(body) })
}

/// Makes a request body of a labelled item: what is the label's goes, and two fields have other names. Everything
/// else stays, so that the server can refuse what it does not know.
fn from_labelled(item: &mut Map<String, Value>) {
    for key in ["label", "label_source", "labels", "scale", "set", "meta", "votes"] {
        item.remove(key);
    }
    if let Some(reference) = item.remove("reference") {
        item.insert("reference_answer".into(), reference);
    }
    if let Some(rubric) = item.get_mut("rubric").filter(|rubric| rubric["criteria"].is_string()) {
        *rubric = json!({"criterion": rubric["criteria"], "descriptions": rubric["scores"]});
    }
}

/// Keeps the verdicts of an earlier run, gives their ids, and drops what failed or was cut off.
fn keep_verdicts(out: &Path) -> Result<HashSet<String>, CliError> {
    let fail = |error: std::io::Error| CliError::because(out.display(), error);
    let text = match std::fs::read(out) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(fail(error)),
    };
    let (mut done, mut kept) = (HashSet::new(), Vec::new());
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    for (index, line) in lines.iter().enumerate() {
        let value: Value = serde_json::from_slice(line).unwrap_or_default();
        let ours = value["id"].is_string() && (value["verdict"].is_object() || value["error"].is_object());
        // The last line may be cut off; any other that is not ours means that the file is not.
        if !ours && !line.is_empty() && index + 1 < lines.len() {
            let what = format!("{}:{}: is not a verdict; name another file", out.display(), index + 1);
            return Err(CliError::Failed(what));
        }
        if let (Some(id), true) = (value["id"].as_str(), value["verdict"].is_object())
            && done.insert(id.to_owned())
        {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
    }
    if kept != text {
        let mut partial = out.as_os_str().to_owned();
        partial.push(".partial");
        std::fs::write(&partial, kept).and_then(|()| std::fs::rename(&partial, out)).map_err(fail)?;
    }
    Ok(done)
}
