//! `gavel calibrate` and `gavel fit`: maps from what a judge says to what people say, made from labelled verdicts.

pub(super) mod examples;
pub(super) mod report;
pub(super) mod verdicts;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use self::examples::{Gathered, Labels};
use super::CliError;
use super::asking::{Asking, Configure};
use super::items::{KindArg, MethodArg};
use crate::domain::calibration::{
    CalibrationFile, CalibrationObject, Content, HeldOut, MapMethod, Parameters, calibrated, fitted,
};
use crate::labelled::{LabelNames, Mapping};

/// Make a calibration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel calibrate --data labels.jsonl --mode score --method isotonic \\
      --out calibration.json
  gavel calibrate --data labels.jsonl --verdicts verdicts.jsonl \\
      --method temperature --out calibration.json")]
pub(super) struct CalibrateArgs {
    #[command(flatten)]
    source: Source,
    /// What is fitted. `ordinal` is for scores alone.
    #[arg(long, value_enum)]
    method: MapArg,
}

/// Make a fit.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gavel fit --data labels.jsonl --mode score --out fit.json
  gavel fit --data labels.jsonl --verdicts verdicts.jsonl --out fit.json")]
pub(super) struct FitArgs {
    #[command(flatten)]
    source: Source,
    /// How pairs are compared: both responses in one prompt, in both orders, or each graded alone, which makes a reward
    /// model; by default the judge's own way.
    #[arg(long)]
    method: Option<MethodArg>,
}

/// What a map is made from, and where it goes.
#[derive(Debug, Args)]
pub(super) struct Source {
    #[command(flatten)]
    pub(super) graded: GradedItems,
    /// Make it for any rubric, and not only for those that the verdicts were given by.
    #[arg(long)]
    pub(super) any_rubric: bool,
    /// Decides which instructions are held out.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Where the file goes.
    #[arg(long, value_name = "FILE.json")]
    pub(super) out: PathBuf,
    /// Print JSON: the file that is written, with its digest.
    #[arg(long)]
    pub(super) json: bool,
}

/// Labelled items, and a judge's verdicts on them.
#[derive(Debug, Args)]
pub(super) struct GradedItems {
    /// Labelled items; docs/agreement.md describes the formats.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Which column or path is which field, such as response=answer,label=meta.stars.
    #[arg(long, value_name = "FIELD=COLUMN,…")]
    map: Option<Mapping>,
    /// What labels of pairs mean, where they are not A, B and tie.
    #[arg(long, value_name = "VALUE=A,VALUE=B,…")]
    labels: Option<LabelNames>,
    /// The judge's verdicts on them, as `gavel grade` wrote them; without any, the items are graded first.
    #[arg(long, value_name = "FILE.jsonl", num_args = 1.., conflicts_with_all = ["judge", "server", "mode", "keep"])]
    verdicts: Vec<PathBuf>,
    #[command(flatten)]
    asking: Asking,
    /// The kind of verdict, where the files have both.
    #[arg(long)]
    kind: Option<KindArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MapArg {
    Temperature,
    Isotonic,
    Ordinal,
}

impl From<MapArg> for MapMethod {
    fn from(method: MapArg) -> Self {
        match method {
            MapArg::Temperature => Self::Temperature,
            MapArg::Isotonic => Self::Isotonic,
            MapArg::Ordinal => Self::Ordinal,
        }
    }
}

pub(super) async fn calibrate(
    args: &CalibrateArgs,
    model: Option<&str>,
    config: &Configure<'_>,
) -> Result<(), CliError> {
    let CalibrateArgs { source, method } = args;
    // Of pairs, the maps are of verdicts on both in one prompt.
    let gathered = source.gather(Some(MethodArg::Pairwise), model, config).await?;
    let (map, held_out) = calibrated(&gathered.examples, (*method).into(), source.seed).map_err(failed)?;
    source.write(gathered, CalibrationObject::Calibration, map, held_out)
}

pub(super) async fn fit(
    FitArgs { source, method }: &FitArgs,
    model: Option<&str>,
    config: &Configure<'_>,
) -> Result<(), CliError> {
    let gathered = source.gather(*method, model, config).await?;
    let (map, held_out) = fitted(&gathered.examples, &gathered.joined.sets, source.seed).map_err(failed)?;
    source.write(gathered, CalibrationObject::Fit, map, held_out)
}

impl CalibrateArgs {
    /// The server that is asked, where it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        self.source.graded.server()
    }
}

impl FitArgs {
    /// The server that is asked, where it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        self.source.graded.server()
    }
}

impl GradedItems {
    /// The server that is asked, where it is another process.
    pub(super) fn server(&self) -> Option<&str> {
        self.asking.server()
    }

    /// The items, and the files of the verdicts on them: those that were given, or the judge's, which grades them now,
    /// pairs by the method or else by its own.
    ///
    /// # Errors
    /// With the line that is wrong; when the judge cannot be loaded, or fails on all of the first items.
    pub(super) async fn graded(
        &self,
        method: Option<MethodArg>,
        model: Option<&str>,
        config: &Configure<'_>,
    ) -> Result<(Labels, Vec<PathBuf>), CliError> {
        let mut mapping = self.map.clone().unwrap_or_default();
        mapping.labels.clone_from(&self.labels);
        let labels = Labels::read(&self.data, &mapping, self.kind.map(Into::into))?;
        let mut verdicts = self.verdicts.clone();
        if verdicts.is_empty() {
            let (graded, failures) = self.asking.grade(labels.items(), method, "agree", model, config).await?;
            // What is made then is made of the others; it says how many.
            failures.print();
            verdicts.push(graded);
        }
        Ok((labels, verdicts))
    }
}

/// An error that says what is wrong by itself.
pub(super) fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}

impl Source {
    async fn gather(
        &self,
        method: Option<MethodArg>,
        model: Option<&str>,
        config: &Configure<'_>,
    ) -> Result<Gathered, CliError> {
        let (labels, verdicts) = self.graded.graded(method, model, config).await?;
        let mut gathered = Gathered::of(labels, &verdicts)?;
        if self.any_rubric {
            gathered.joined.made_for.rubrics = None;
        }
        Ok(gathered)
    }

    fn write(
        &self,
        gathered: Gathered,
        object: CalibrationObject,
        parameters: Parameters,
        held_out: HeldOut,
    ) -> Result<(), CliError> {
        let kind = gathered.examples.kind();
        let report = report::text(&gathered, &parameters, &held_out);
        let content = Content {
            object,
            version: 1,
            kind,
            made_for: gathered.joined.made_for,
            parameters,
            data: gathered.joined.data,
            held_out,
            created: report::now(),
        };
        let file = CalibrationFile::new(content).map_err(failed)?;
        self.save(&report, file.to_json(), file.digest())
    }

    /// Writes the file, and says what it is.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn save(&self, report: &str, content: String, digest: &str) -> Result<(), CliError> {
        std::fs::write(&self.out, &content).map_err(|error| CliError::because(self.out.display(), error))?;
        if self.json {
            let content: serde_json::Value = serde_json::from_str(&content).map_err(failed)?;
            outln!("{:#}", serde_json::json!({"file": self.out, "digest": digest, "content": content}));
        } else {
            out!("{report}");
            outln!("{} {digest}", self.out.display());
        }
        Ok(())
    }
}
