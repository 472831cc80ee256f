//! `gavel bench`: loads a server with gradings and says how fast it answers.

mod load;
mod report;
mod requests;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use self::load::{Door, Load, Pace};
use self::report::Report;
use self::requests::{Requests, Settings};
use super::CliError;
use super::connection::Target;
use super::host::Hosted;
use super::items::{self, KindArg, Wanted};
use crate::config::Config;

/// Measure how fast a server grades.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel bench --server http://127.0.0.1:8080 --mode score --concurrency 32 --duration 10
  gavel bench --server http://127.0.0.1:8080 --data items.jsonl --mode feedback --json figures.json
  gavel bench --engine scripted --requests 20000 --mode score")]
pub(super) struct BenchArgs {
    /// A running server; without one, this command hosts the model itself.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Items to grade, as `gavel grade` reads them; without a file, made-up ones that are all different.
    #[arg(long, value_name = "FILE.jsonl")]
    data: Option<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
    /// The prompt set; without it, the model's own.
    #[arg(long, value_name = "SET")]
    prompt: Option<String>,
    /// The most tokens of feedback.
    #[arg(long, value_name = "N")]
    max_feedback_tokens: Option<u32>,
    /// Ask for verdicts that are computed anew, not taken from the verdict cache.
    #[arg(long)]
    no_cache: bool,
    /// How many requests are in flight; with --rate, at most.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// How many requests to send; by default every item of the file once, or 64 made-up ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Send for so long, items over and over; with --requests, whichever ends first.
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    duration: Option<f64>,
    /// Send so many requests a second whatever comes back; latency counts from when each was due.
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    rate: Option<f64>,
    /// Requests that are sent before and do not count.
    #[arg(long, value_name = "N", default_value_t = 0)]
    warmup: u64,
    /// Made-up items of the same seed are the same; by default each run has its own.
    #[arg(long, value_name = "N", conflicts_with = "data")]
    seed: Option<u64>,
    /// Where the figures go as JSON.
    #[arg(long, alias = "out", value_name = "FILE.json")]
    json: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n: &f64| *n > 0.0 && n.is_finite()).ok_or_else(|| "is a number above 0".to_owned())
}

pub(super) async fn run(
    args: BenchArgs,
    model: Option<String>,
    config: impl FnOnce() -> Result<Config, CliError>,
) -> Result<(), CliError> {
    // A model that this command hosts is the one that answers; a server may have several.
    let requests = args.requests(model.filter(|_| args.server.is_some()))?;
    let (door, hosted) = match &args.server {
        Some(url) => (Door::Server(Target::new(url)?), None),
        None => {
            let hosted = Hosted::start(config()?).await?;
            (Door::Here(hosted.gavel.clone()), Some(hosted))
        }
    };
    let outcome = args.measure(door, requests).await;
    if let Some(hosted) = hosted {
        hosted.stop().await;
    }
    let report = outcome?;
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| CliError::because("the figures", error))?;
        std::fs::write(path, text + "\n").map_err(|error| CliError::because(path.display(), error))?;
    }
    print!("{report}");
    if report.verdicts == 0 { Err(CliError::Failed("no request got a verdict".into())) } else { Ok(()) }
}

impl BenchArgs {
    /// The server that is measured, where it is another process.
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
                let items = items::read(data, &self.wanted)?;
                if items.is_empty() {
                    return Err(CliError::Failed(format!("{} holds no items", data.display())));
                }
                Ok(Requests::of_items(items, &settings))
            }
            None => {
                let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let seed = self.seed.unwrap_or_else(|| clock.map_or(0, |since| since.as_secs()));
                let Wanted { kind, mode, .. } = self.wanted;
                Ok(Requests::made_up(kind.unwrap_or(KindArg::Absolute), self.wanted.rubric(), mode, seed, &settings))
            }
        }
    }

    async fn measure(&self, door: Door, requests: Requests) -> Result<Report, CliError> {
        let most = match (self.requests, self.duration) {
            (Some(requests), _) => requests,
            (None, Some(_)) => u64::MAX,
            (None, None) => requests.by_default(self.warmup),
        };
        let duration = self.duration.map(Duration::from_secs_f64);
        let (pace, callers) = (self.rate.map_or(Pace::AsAnswered, Pace::Fixed), usize::from(self.concurrency));
        let (warmup, server) = (self.warmup, matches!(door, Door::Server(_)));
        let load = Load::new(door, requests, callers);
        let sent = async move {
            load.send(0..warmup, None, Pace::AsAnswered).await;
            load.send(warmup..warmup.saturating_add(most), duration, pace).await
        };
        let tally = if server {
            // One thread of its own: on a machine that the server shares, waking others would cost more than it brings.
            let run = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                Ok(runtime.block_on(sent))
            };
            let ran: std::io::Result<_> =
                tokio::task::spawn_blocking(run).await.map_err(|panic| CliError::because("the load", panic))?;
            ran.map_err(|error| CliError::because("no runtime", error))?
        } else {
            sent.await
        };
        let server = self.server.as_deref().unwrap_or("in process");
        Ok(Report::new(&tally, server, self.concurrency, self.rate))
    }
}
