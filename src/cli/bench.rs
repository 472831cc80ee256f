//! `gavel bench`: sends grading requests and measures throughput and latency.

mod load;
mod report;
mod requests;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use self::load::{Backend, Load, Pace};
use self::report::Report;
use self::requests::{Requests, Settings};
use super::CliError;
use super::client::{ANSWER_TIMEOUT, Client};
use super::connection::Target;
use super::host::InProcessJudge;
use super::items::{Asks, ItemOptions, ItemSettings, KindArg, Reader};
use crate::config::Config;

/// Measure the speed of a server.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel bench --server http://127.0.0.1:8080 --mode score --concurrency 32 \\
      --duration 10
  gavel bench --server http://127.0.0.1:8080 --data items.jsonl \\
      --mode feedback --json figures.json
  gavel bench --engine scripted --requests 20000 --mode score")]
pub(super) struct BenchArgs {
    /// URL of a running server. Default: load the model in this process.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Items to grade, in the format of `gavel grade`. Default: made-up items that are all different.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The grading kind. Default: each item's own, and absolute without a file.
    #[arg(long)]
    kind: Option<KindArg>,
    #[command(flatten)]
    item_options: ItemOptions,
    /// The prompt set. Default: the model's own.
    #[arg(long, value_name = "SET")]
    prompt: Option<String>,
    /// Maximum number of tokens of feedback.
    #[arg(long, value_name = "N")]
    max_feedback_tokens: Option<u32>,
    /// Do not use the verdict cache.
    #[arg(long)]
    no_cache: bool,
    /// Number of requests in flight; with --rate, the maximum.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Number of requests to send. Default: every item of the file once, or 64 made-up ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Send for this time, repeating the items; with --requests, whichever ends first.
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    duration: Option<f64>,
    /// Send at this fixed rate, whether or not earlier requests were answered; latency counts from the due time.
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    rate: Option<f64>,
    /// Number of warm-up requests, which do not count.
    #[arg(long, value_name = "N", default_value_t = 0)]
    warmup: u64,
    /// Seed of the made-up items. Default: different items in each run.
    #[arg(long, value_name = "N", conflicts_with = "data")]
    seed: Option<u64>,
    /// Write the results as JSON to this file.
    #[arg(long, alias = "out", value_name = "FILE.json")]
    json: Option<PathBuf>,
}

/// A number of an argument, above 0.
///
/// # Errors
/// If it is not one.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n: &f64| *n > 0.0 && n.is_finite()).ok_or_else(|| "must be a number above 0".to_owned())
}

pub(super) async fn run(
    args: BenchArgs,
    model: Option<String>,
    config: impl FnOnce() -> Result<Config, CliError>,
) -> Result<(), CliError> {
    // Only a server may have several models.
    let requests = args.requests(model.filter(|_| args.server.is_some()))?;
    let (backend, hosted) = match &args.server {
        Some(url) => {
            let target = Target::new(url)?;
            Client::new(url, ANSWER_TIMEOUT)?.check().await?;
            (Backend::Server(target), None)
        }
        None => {
            let hosted = InProcessJudge::start(config()?).await?;
            (Backend::InProcess(hosted.gavel.clone()), Some(hosted))
        }
    };
    let outcome = args.measure(backend, requests).await;
    if let Some(hosted) = hosted {
        hosted.stop().await;
    }
    let report = outcome?;
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| CliError::because("the figures", error))?;
        std::fs::write(path, text + "\n").map_err(|error| CliError::because(path.display(), error))?;
    }
    out!("{report}");
    if report.verdicts == 0 { Err(CliError::Failed("no request got a verdict".into())) } else { Ok(()) }
}

impl BenchArgs {
    /// The URL of the measured server, if it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    fn requests(&self, model: Option<String>) -> Result<Requests, CliError> {
        let settings = Settings {
            model,
            prompt: self.prompt.clone(),
            max_feedback_tokens: self.max_feedback_tokens,
            no_cache: self.no_cache,
        };
        match &self.data {
            Some(data) => {
                let (asks, kind, options) = (Asks::Grade, self.kind, &self.item_options);
                let as_they_are = ItemSettings::default();
                let reader = Reader { asks, kind, options, settings: &as_they_are, keep_input: false };
                let (items, _) = reader.read(data)?;
                if items.is_empty() {
                    return Err(CliError::Failed(format!("{} has no items", data.display())));
                }
                Ok(Requests::of_items(items, &settings))
            }
            None => {
                let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let seed = self.seed.unwrap_or_else(|| clock.map_or(0, |since| since.as_secs()));
                let kind = self.kind.unwrap_or(KindArg::Absolute);
                let rubric = self.item_options.rubric();
                Ok(Requests::synthetic(kind, &rubric, self.item_options.mode, seed, &settings))
            }
        }
    }

    async fn measure(&self, backend: Backend, requests: Requests) -> Result<Report, CliError> {
        let most = match (self.requests, self.duration) {
            (Some(requests), _) => requests,
            (None, Some(_)) => u64::MAX,
            (None, None) => requests.by_default(self.warmup),
        };
        let duration = self.duration.map(Duration::from_secs_f64);
        let (pace, callers) = (self.rate.map_or(Pace::ClosedLoop, Pace::FixedRate), usize::from(self.concurrency));
        let (warmup, server) = (self.warmup, matches!(backend, Backend::Server(_)));
        let load = Load::new(backend, requests, callers);
        let sent = async move {
            load.send(0..warmup, None, Pace::ClosedLoop).await;
            load.send(warmup..warmup.saturating_add(most), duration, pace).await
        };
        let tally = if server {
            // A single thread: if the server runs on the same machine, waking more threads costs more than it gains.
            let run = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                Ok(runtime.block_on(sent))
            };
            let ran: std::io::Result<_> =
                tokio::task::spawn_blocking(run).await.map_err(|panic| CliError::because("the load", panic))?;
            ran.map_err(|error| CliError::because("cannot start the async runtime", error))?
        } else {
            sent.await
        };
        let server = self.server.as_deref().unwrap_or("in process");
        Ok(Report::new(&tally, server, self.concurrency, self.rate))
    }
}
