//! Files of items of the commands that are no gradings: `gavel rank`, `gavel rewards`, `gavel preferences`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::CliError;
use super::asking::{Configure, judges};
use super::client::ANSWER_TIMEOUT;
use super::grader::Grader;
use super::host::InProcessJudge;
use super::items::{Asks, Item, ItemOptions, ItemSettings, Reader, Skipped};
use super::output::{Output, run_of};
use super::results::Results;
use super::tables::TableKind;
use super::work::{self, Work};

/// What to do if the file belongs to another run.
const REMEDY: &str = "use another file for --out";

/// Who is asked about the items of a file.
#[derive(Debug, Args)]
pub(super) struct BulkArgs {
    /// Items: JSON lines, a JSON array, CSV or Parquet, by the ending of its name.
    #[arg(long, value_name = "FILE", help_heading = "Items")]
    pub(super) data: PathBuf,
    /// URL of a running server. Default: load the model in this process.
    #[arg(long, value_name = "URL", help_heading = "Judging")]
    server: Option<String>,
    /// A model to judge with; with a server, one of its models.
    #[arg(long, value_name = "NAME", help_heading = "Judging")]
    judge: Option<String>,
    #[command(flatten)]
    options: ItemOptions,
    #[command(flatten)]
    settings: ItemSettings,
    /// Number of requests in flight.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Judging")]
    concurrency: u16,
    /// Maximum time for the answer to one request, with --server.
    #[arg(long, value_name = "SECONDS", requires = "server", value_parser = super::bench::positive, help_heading = "Judging")]
    timeout: Option<f64>,
}

/// What was asked, and what came of it.
pub(super) struct Asked {
    pub(super) items: Vec<Item>,
    skipped: Skipped,
    pub(super) results: Results,
    pub(super) work: Work,
}

impl BulkArgs {
    /// The URL of the server, if it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// Asks about every item that the lines do not hold yet; without a file of lines, they are printed. `more` are
    /// fields of every request.
    ///
    /// # Errors
    /// Those of the file, of the judge and of the results, and if a signal ended the run.
    pub(super) async fn ask(
        &self,
        asks: Asks,
        lines: Option<&Path>,
        more: &[(&str, Value)],
        (model, config): (Option<String>, &Configure<'_>),
    ) -> Result<Asked, CliError> {
        let judge = judges(self.judge.as_slice(), model)?.pop().flatten();
        let mut settings = self.settings.clone();
        // Only a server may have several models.
        settings.model = judge.clone().filter(|_| self.server.is_some());
        let reader =
            Reader { asks, kind: None, options: &self.options, settings: &settings, keep_input: asks == Asks::Reward };
        let (mut items, skipped) = reader.read(&self.data)?;
        for item in &mut items {
            more.iter().for_each(|(name, value)| item.body[*name] = value.clone());
        }
        let mut results = match lines {
            Some(path) => Results::open(path, REMEDY)?,
            None => Results::to_stdout(),
        };
        results.check(&items)?;
        let timeout = self.timeout.map_or(ANSWER_TIMEOUT, Duration::from_secs_f64);
        let (grader, hosted) = match &self.server {
            Some(url) => (Grader::of_server(url, timeout).await?, None),
            None => {
                let hosted = InProcessJudge::start(config(judge.as_deref())?).await?;
                (Grader::InProcess(hosted.gavel.clone()), Some(hosted))
            }
        };
        let work = work::grade(&grader, &items, &mut results, usize::from(self.concurrency)).await;
        drop(grader);
        if let Some(hosted) = hosted {
            hosted.stop().await;
        }
        let work = work?;
        if work.interrupted {
            let what = format!("{} of {} done; run the same command again to go on", work.graded(), items.len());
            return Err(CliError::Interrupted(what));
        }
        Ok(Asked { items, skipped, results, work })
    }

    /// The file that is made of a run, its kind, and the lines of the run beside it.
    ///
    /// # Errors
    /// If it is standard output, the file of items, or of a kind that cannot be written.
    pub(super) fn made_of_run(&self, out: &Path) -> Result<(PathBuf, TableKind, PathBuf), CliError> {
        let (path, kind) = match Output::of(out)? {
            Output::Stdout => {
                return Err(CliError::Usage("--out - cannot be gone on with; name a file".into()));
            }
            Output::Lines(path) => (path, TableKind::Lines),
            Output::Table(path, kind) => (path, kind),
        };
        self.check_other(&path)?;
        let run = run_of(&path);
        Ok((path, kind, run))
    }

    /// Checks that results do not go into the file of items.
    ///
    /// # Errors
    /// If they do.
    pub(super) fn check_other(&self, out: &Path) -> Result<(), CliError> {
        if out.canonicalize().is_ok_and(|out| self.data.canonicalize().is_ok_and(|data| data == out)) {
            return Err(CliError::Failed(format!("{} is both --data and --out; name another file", out.display())));
        }
        Ok(())
    }
}

impl Asked {
    /// How the command ends: with the reasons of what was skipped and what failed, if anything was.
    ///
    /// # Errors
    /// If rows were skipped, or items failed.
    pub(super) fn end(&self) -> Result<(), CliError> {
        work::end(&self.skipped, &self.work.failures)
    }

    /// What was done, on one line.
    pub(super) fn said(&self, out: &str) -> String {
        let (total, earlier) = (self.items.len(), self.work.earlier);
        if earlier == total && total > 0 {
            return format!("{total} of {total} already done: {out}");
        }
        let failed = self.work.failures.count();
        let before = if earlier > 0 { format!(" ({earlier} by earlier runs)") } else { String::new() };
        format!("{} of {total} done{before}, {failed} failed: {out}", self.work.graded())
    }
}

/// The instruction of an item as turns.
pub(super) fn turns(body: &Value) -> Value {
    match &body["messages"] {
        Value::Array(turns) => turns.iter().map(plain).collect(),
        _ => json!([{"role": "user", "content": body["instruction"]}]),
    }
}

/// A turn whose content is one text.
fn plain(turn: &Value) -> Value {
    let content = match &turn["content"] {
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            json!(texts.join("\n"))
        }
        text => text.clone(),
    };
    json!({"role": turn["role"], "content": content})
}
