//! The judge that a command asks to grade labelled items, and how.

use std::path::PathBuf;

use clap::Args;

use super::CliError;
use super::agree::grading::{self, Asked};
use super::client::ANSWER_TIMEOUT;
use super::failures::Failures;
use super::grader::Grader;
use super::host::InProcessJudge;
use super::items::{MethodArg, ModeArg};
use crate::config::Config;
use crate::labelled::LabelledItem;

/// A configuration of this process, with a model in place of its own.
pub(super) type Configure<'a> = dyn Fn(Option<&str>) -> Result<Config, CliError> + 'a;

/// Who is asked, and how.
#[derive(Debug, Args)]
pub(super) struct Asking {
    /// The model to ask; with a server, one of its models.
    #[arg(long, value_name = "NAME")]
    judge: Option<String>,
    /// A running server; without one, this command hosts the judge itself.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The rubric of items that have none.
    #[arg(long, default_value = "helpfulness", value_name = "NAME")]
    rubric: String,
    /// Feedback and verdict, or the verdict alone.
    #[arg(long)]
    mode: Option<ModeArg>,
    /// How many requests are in flight.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Where verdicts are kept, so that a run which was stopped goes on; by default in the cache folder: `redteam`, or
    /// `agree`, where `gavel agree` keeps its own.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Asking {
    /// The server that is asked, where it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// Has the judge grade the items, and gives the file of its verdicts, and what failed. Pairs are compared by the method,
    /// or else by the judge's own; `kept` is the folder of the verdicts in the cache folder.
    ///
    /// # Errors
    /// When it cannot be loaded, or fails on all of the first items.
    pub(super) async fn grade(
        &self,
        items: &[LabelledItem],
        method: Option<MethodArg>,
        kept: &str,
        model: Option<&str>,
        config: &Configure<'_>,
    ) -> Result<(PathBuf, Failures), CliError> {
        let judge = match (&self.judge, model) {
            (Some(_), Some(_)) => {
                return Err(CliError::Failed("--model and --judge both name a judge; use one of them".into()));
            }
            (judge, model) => judge.as_deref().or(model),
        };
        let settings = config(judge)?;
        let folder = self.keep.clone().unwrap_or_else(|| settings.cache_dir.join(kept));
        let (grader, hosted) = match &self.server {
            Some(url) => (Grader::of_server(url, ANSWER_TIMEOUT).await?, None),
            None => {
                let hosted = InProcessJudge::start(settings).await?;
                (Grader::InProcess(hosted.gavel.clone()), Some(hosted))
            }
        };
        let name = match judge {
            Some(name) => name.to_owned(),
            // Without a name it is the default model, which is the first.
            None => grader.models().await.into_iter().next().map_or_else(|| "judge".to_owned(), |(name, _)| name),
        };
        let asked = Asked {
            // A model that this command hosts is the one that answers; a server may have several.
            model: judge.filter(|_| self.server.is_some()),
            rubric: &self.rubric,
            mode: self.mode,
            method,
            prompt: None,
            concurrency: usize::from(self.concurrency),
        };
        let graded = grading::grade(&grader, &name, items, &asked, &folder).await;
        drop(grader);
        if let Some(hosted) = hosted {
            hosted.stop().await;
        }
        graded
    }
}

/// A share, 0 to 1.
///
/// # Errors
/// If it is none.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

/// The judges that are asked: those of `--judge`, or the one of `--model`, or the default one.
///
/// # Errors
/// If both are given.
pub(super) fn judges(named: &[String], model: Option<String>) -> Result<Vec<Option<String>>, CliError> {
    match (named, model) {
        ([], model) => Ok(vec![model]),
        (_, Some(_)) => Err(CliError::Usage("--model and --judge both name a judge; use one of them".into())),
        (names, None) => Ok(names.iter().cloned().map(Some).collect()),
    }
}
