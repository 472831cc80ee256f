//! `gavel batch`: durable jobs on a server.

mod follow;
mod merge;
mod upload;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::follow::{batch_path, follow};
use self::merge::Merged;
use super::CliError;
use super::client::{ANSWER_TIMEOUT, Client};

/// The server of commands that name none.
const SERVER: &str = "http://127.0.0.1:8080";

#[derive(Debug, Subcommand)]
pub(super) enum BatchCommand {
    /// Upload a file of requests, and begin to answer them.
    Submit(SubmitArgs),
    /// Show how far a batch is; without an id, list the batches.
    Status {
        /// The id of the batch.
        id: Option<String>,
        /// Show its progress until it ends.
        #[arg(long, requires = "id")]
        watch: bool,
        #[command(flatten)]
        to: ServerArgs,
    },
    /// Cancel a batch. What was answered stays.
    Cancel {
        /// The id of the batch.
        id: String,
        #[command(flatten)]
        to: ServerArgs,
    },
    /// Write the answers of a batch, errors among them, in the order of its input.
    Results {
        /// The id of the batch.
        id: String,
        /// The file to write; `-` is standard output.
        #[arg(long, default_value = "-", value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        to: ServerArgs,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example, and a line of its file:
  gavel batch submit requests.jsonl --wait --out answers.jsonl
  {\"custom_id\": \"a\", \"method\": \"POST\", \"url\": \"/v1/grade/absolute\", \"body\": {…}}")]
pub(super) struct SubmitArgs {
    /// JSON lines with `custom_id`, `method`, `url` and `body`.
    file: PathBuf,
    /// The route of all lines. Default: each line names its own.
    #[arg(long, value_name = "PATH")]
    endpoint: Option<String>,
    /// How long it may take: minutes, hours or days, such as 90m, 24h or 7d.
    #[arg(long, default_value = "24h", value_name = "TIME")]
    window: String,
    /// Wait until it ends, and show its progress.
    #[arg(long)]
    wait: bool,
    /// With --wait: the file to write the answers to; `-` is standard output.
    #[arg(long, requires = "wait", value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    to: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// URL of the server.
    #[arg(long, default_value = SERVER, value_name = "URL")]
    server: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ServerArgs {
    fn client(&self) -> Result<Client, CliError> {
        Client::new(&self.server, ANSWER_TIMEOUT)
    }
}

pub(super) async fn run(command: BatchCommand) -> Result<(), CliError> {
    match command {
        BatchCommand::Submit(args) => submit(&args).await,
        BatchCommand::Status { id: None, to, .. } => list(&to).await,
        BatchCommand::Status { id: Some(id), watch, to } => {
            let client = to.client()?;
            let batch = if watch { follow(&client, &id).await? } else { client.fetch(&batch_path(&id)).await? };
            show(&batch, to.json);
            Ok(())
        }
        BatchCommand::Cancel { id, to } => {
            let batch = to.client()?.send(&format!("{}/cancel", batch_path(&id)), &json!({})).await?;
            show(&batch, to.json);
            Ok(())
        }
        BatchCommand::Results { id, out, to } => {
            let client = to.client()?;
            let batch = client.fetch(&batch_path(&id)).await?;
            results(&client, &batch, &out).await
        }
    }
}

async fn submit(args: &SubmitArgs) -> Result<(), CliError> {
    let client = args.to.client()?;
    let file = upload::upload(&client, &args.file).await?;
    let request = json!({
        "input_file_id": file, "endpoint": args.endpoint, "completion_window": args.window,
    });
    let batch = client.send("/v1/batches", &request).await?;
    if !args.wait {
        show(&batch, args.to.json);
        return Ok(());
    }
    let id = batch["id"].as_str().unwrap_or_default();
    note(&format!(
        "{id} runs on the server; `gavel batch status {id} --watch` shows it again if this command is stopped"
    ));
    let batch = follow(&client, id).await?;
    match &args.out {
        Some(out) => results(&client, &batch, out).await,
        None => {
            show(&batch, args.to.json);
            ended_well(&batch)
        }
    }
}

/// Writes the answers of a batch.
async fn results(client: &Client, batch: &Value, out: &Path) -> Result<(), CliError> {
    let id = batch["id"].as_str().unwrap_or_default();
    let has_ended = ["completed", "expired", "cancelled"].contains(&batch["status"].as_str().unwrap_or_default());
    if !has_ended {
        show_faults(batch);
        return Err(CliError::Failed(format!("{id} is {}; there are results when it has ended", batch["status"])));
    }
    let mut merged = Merged::open(client, [&batch["output_file_id"], &batch["error_file_id"]]).await?;
    if out == Path::new("-") {
        while let Some(line) = merged.next().await? {
            outln!("{}", String::from_utf8_lossy(&line));
        }
    } else {
        let unwritable = |error| CliError::because(out.display().to_string(), error);
        let mut file = BufWriter::new(std::fs::File::create(out).map_err(unwritable)?);
        while let Some(line) = merged.next().await? {
            file.write_all(&line).and_then(|()| file.write_all(b"\n")).map_err(unwritable)?;
        }
        file.flush().map_err(unwritable)?;
    }
    ended_well(batch)
}

/// An error if a batch did not answer every line well.
fn ended_well(batch: &Value) -> Result<(), CliError> {
    show_faults(batch);
    let counts = &batch["request_counts"];
    let (total, completed) = (counts["total"].as_i64().unwrap_or(0), counts["completed"].as_i64().unwrap_or(0));
    if batch["status"] == "completed" && completed == total {
        return Ok(());
    }
    let status = batch["status"].as_str().unwrap_or_default();
    Err(CliError::ItemsFailed(format!("{completed} of {total} lines were answered well; the batch is {status}")))
}

/// Shows why an input was refused.
fn show_faults(batch: &Value) {
    for fault in batch["errors"]["data"].as_array().into_iter().flatten() {
        let at = fault["line"].as_i64().map(|line| format!("line {line}: ")).unwrap_or_default();
        note(&format!("{at}{}", fault["message"].as_str().unwrap_or_default()));
    }
}

async fn list(to: &ServerArgs) -> Result<(), CliError> {
    let listed = to.client()?.fetch("/v1/batches?limit=100").await?;
    if to.json {
        outln!("{:#}", listed["data"]);
        return Ok(());
    }
    let batches = listed["data"].as_array().cloned().unwrap_or_default();
    if batches.is_empty() {
        note("There are no batches. Make one: gavel batch submit requests.jsonl");
    }
    for batch in &batches {
        outln!("{}", row(batch));
    }
    if listed["has_more"] == true {
        note("There are more; these are the newest 100.");
    }
    Ok(())
}

fn show(batch: &Value, as_json: bool) {
    if as_json {
        outln!("{batch:#}");
        return;
    }
    outln!("{}", row(batch));
    let failures = batch["outcomes"].as_object().into_iter().flatten().filter(|(code, _)| *code != "ok");
    for (code, count) in failures {
        outln!("  {count} {code}");
    }
    show_faults(batch);
}

/// A batch in a line.
fn row(batch: &Value) -> String {
    let counts = &batch["request_counts"];
    let number = |name: &str| counts[name].as_i64().unwrap_or(0);
    let failed = match number("failed") {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    let left = batch["seconds_left"].as_i64().map(|left| format!(", about {left} s left")).unwrap_or_default();
    let done = number("completed") + number("failed");
    let (id, status) = (batch["id"].as_str().unwrap_or_default(), batch["status"].as_str().unwrap_or_default());
    format!("{id}  {status:<11}  {done}/{}{failed}{left}", number("total"))
}

#[allow(clippy::print_stderr, reason = "results alone go to standard output")]
fn note(line: &str) {
    eprintln!("{line}");
}
