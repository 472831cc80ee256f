//! `gavel verdicts`: the log of verdicts of a server.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::CliError;
use super::client::{ANSWER_TIMEOUT, Client};
use super::output::Output;
use super::tables::{Cells, Table};

#[derive(Debug, Subcommand)]
pub(super) enum VerdictsCommand {
    /// Write verdicts with their requests into a file, the oldest first.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  gavel verdicts export --from 2030-01-01T00:00:00Z --out verdicts.parquet")]
pub(super) struct ExportArgs {
    /// The file to write, by its ending: .jsonl, .csv or .parquet; `-` is JSON lines on standard output.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only those by this rubric.
    #[arg(long, value_name = "NAME")]
    rubric: Option<String>,
    /// Only those of this model.
    #[arg(long = "of-model", value_name = "NAME")]
    of_model: Option<String>,
    /// Only those given at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only those given before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// URL of the server.
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    server: String,
}

/// Verdicts of a page.
const PAGE: &str = "200";
/// The columns of a table, and the pointers of their values.
const COLUMNS: [(&str, &str, Cells); 13] = [
    ("id", "/id", Cells::Text),
    ("created_at", "/created_at", Cells::Number),
    ("route", "/route", Cells::Text),
    ("score", "/verdict/score", Cells::Number),
    ("reward", "/verdict/reward", Cells::Number),
    ("preference", "/verdict/preference", Cells::Text),
    ("probability_a", "/verdict/probability_a", Cells::Number),
    ("label_mass", "/verdict/label_mass", Cells::Number),
    ("feedback", "/verdict/feedback", Cells::Text),
    ("rubric", "/verdict/rubric/name", Cells::Text),
    ("model", "/verdict/model/name", Cells::Text),
    ("request", "/request", Cells::Text),
    ("verdict", "/verdict", Cells::Text),
];

pub(super) async fn run(command: VerdictsCommand) -> Result<(), CliError> {
    let VerdictsCommand::Export(args) = command;
    let client = Client::new(&args.server, ANSWER_TIMEOUT)?;
    let mut pages = Pages { client, filter: filter(&args), after: None, ended: false };
    match Output::of(&args.out)? {
        Output::Stdout => {
            while let Some(page) = pages.next().await? {
                page.iter().for_each(|verdict| outln!("{verdict}"));
            }
        }
        Output::Lines(path) => write_lines(&mut pages, &path).await?,
        Output::Table(path, kind) => {
            let columns = COLUMNS.map(|(name, _, cells)| (name.to_owned(), cells)).to_vec();
            let mut table = Table { columns, rows: Vec::new() };
            while let Some(page) = pages.next().await? {
                table.rows.extend(page.iter().map(row));
            }
            table.write(&path, kind)?;
        }
    }
    Ok(())
}

fn filter(args: &ExportArgs) -> Vec<(&'static str, String)> {
    let named = [("rubric", &args.rubric), ("model", &args.of_model), ("from", &args.from), ("to", &args.to)];
    named.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
}

/// The cells of a verdict; objects are their JSON.
fn row(verdict: &Value) -> Vec<Value> {
    let cell = |(_, pointer, cells): &(&str, &str, Cells)| match verdict.pointer(pointer) {
        Some(value @ (Value::Object(_) | Value::Array(_))) if matches!(cells, Cells::Text) => value.to_string().into(),
        value => value.cloned().unwrap_or_default(),
    };
    COLUMNS.iter().map(cell).collect()
}

async fn write_lines(pages: &mut Pages, path: &Path) -> Result<(), CliError> {
    let unwritable = |error| CliError::because(path.display().to_string(), error);
    let mut file = BufWriter::new(std::fs::File::create(path).map_err(unwritable)?);
    while let Some(page) = pages.next().await? {
        page.iter().try_for_each(|verdict| writeln!(file, "{verdict}")).map_err(unwritable)?;
    }
    file.flush().map_err(unwritable)
}

/// The pages of a list of verdicts.
struct Pages {
    client: Client,
    filter: Vec<(&'static str, String)>,
    after: Option<String>,
    ended: bool,
}

impl Pages {
    async fn next(&mut self) -> Result<Option<Vec<Value>>, CliError> {
        if self.ended {
            return Ok(None);
        }
        let mut query = vec![("order", "asc".to_owned()), ("limit", PAGE.to_owned())];
        query.extend(self.filter.iter().cloned());
        query.extend(self.after.clone().map(|after| ("after", after)));
        let mut page = self.client.fetch_with("/v1/verdicts", &query).await?;
        self.after = page["last_id"].as_str().map(str::to_owned);
        self.ended = page["has_more"] != true;
        Ok(page["data"].as_array_mut().map(std::mem::take))
    }
}
