//! A file of items, graded by one judge or by several, one after the other.

use std::path::PathBuf;

use super::super::CliError;
use super::super::agree::measuring::{self, Settings};
use super::super::agree::selection;
use super::super::agree::verdicts::{Answers, Stored};
use super::super::asking::Configure;
use super::super::grader::Grader;
use super::super::host::InProcessJudge;
use super::super::items::{Asks, Item, Reader, Skipped};
use super::super::outcomes::{self, Outcome};
use super::super::output::Output;
use super::super::results::Results;
use super::super::tables::{check_folder, replace};
use super::super::work::{self, Work};
use super::args::{GradeArgs, SummaryKind, of_judge, summary_kind};
use super::summary::{Agreement, Summary};
use crate::domain::runs::{RunSummary, RunVerdict};
use crate::labelled;

/// What one judge is asked, and where its results go.
struct Run<'a> {
    judge: Option<&'a str>,
    items: Vec<Item>,
    skipped: Skipped,
    output: Output,
    results: Results,
    summary: Option<(PathBuf, SummaryKind)>,
}

/// Grades the file of `--data`.
///
/// # Errors
/// Those of the file, of the judges and of the results; if items failed, or the mean is below the limit.
pub(super) async fn grade(args: &GradeArgs, judges: &[Option<String>], config: &Configure<'_>) -> Result<(), CliError> {
    // All is read before a model is loaded, so that an error in a file is found at once.
    let several = judges.len() > 1;
    let runs: Vec<Run<'_>> =
        judges.iter().map(|judge| Run::open(args, judge.as_deref(), several)).collect::<Result<_, _>>()?;
    let mut hosted: Option<InProcessJudge> = None;
    let mut ends = Vec::with_capacity(runs.len());
    for run in runs {
        let grader = match &args.server {
            Some(url) => Grader::of_server(url, args.timeout()).await,
            None => in_process(&mut hosted, run.judge, config).await,
        };
        let end = match grader {
            Ok(grader) => run.grade(args, &grader, several).await,
            Err(error) => Err(error),
        };
        let goes_on =
            !matches!(&end, Err(error) if !matches!(error, CliError::ItemsFailed(_) | CliError::BelowLimit(_)));
        ends.push(end);
        if !goes_on {
            break;
        }
    }
    if let Some(hosted) = hosted {
        hosted.stop().await;
    }
    worst(ends)
}

async fn in_process(
    hosted: &mut Option<InProcessJudge>,
    judge: Option<&str>,
    config: &Configure<'_>,
) -> Result<Grader, CliError> {
    let config = config(judge)?;
    let now = match hosted.take() {
        Some(before) => before.replaced(config).await?,
        None => InProcessJudge::start(config).await?,
    };
    Ok(Grader::InProcess(hosted.insert(now).gavel.clone()))
}

/// The error that decides the exit code: one that ended the run, before failed items, before a mean below the limit.
fn worst(ends: Vec<Result<(), CliError>>) -> Result<(), CliError> {
    let rank = |error: &CliError| match error {
        CliError::BelowLimit(_) => 2,
        CliError::ItemsFailed(_) => 1,
        _ => 0,
    };
    let mut errors: Vec<CliError> = ends.into_iter().filter_map(Result::err).collect();
    errors.sort_by_key(rank);
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else { return Ok(()) };
    let more: String = errors.map(|error| format!("\n{error}")).collect();
    Err(match first {
        CliError::ItemsFailed(text) => CliError::ItemsFailed(text + &more),
        CliError::BelowLimit(text) => CliError::BelowLimit(text + &more),
        other => other,
    })
}

impl<'a> Run<'a> {
    fn open(args: &GradeArgs, judge: Option<&'a str>, several: bool) -> Result<Self, CliError> {
        let (Some(data), Some(out)) = (&args.data, &args.out) else {
            return Err(CliError::Usage("--data and --out go together".into()));
        };
        let out = of_judge(out, "--out", judge, several)?;
        let output = Output::of(&out)?;
        if out.canonicalize().is_ok_and(|out| data.canonicalize().is_ok_and(|data| data == out)) {
            return Err(CliError::Failed(format!("{} is both --data and --out; name another file", out.display())));
        }
        if args.sort && output == Output::Stdout {
            return Err(CliError::Usage(
                "--sort has no effect with --out -, where lines come as they are graded".into(),
            ));
        }
        let summary = match &args.summary {
            Some(path) => {
                let path = of_judge(path, "--summary", judge, several)?;
                let kind = summary_kind(&path)?;
                check_folder("--summary", &path)?;
                Some((path, kind))
            }
            None => None,
        };
        let mut settings = args.settings.clone();
        // Only a server may have several models.
        settings.model = judge.filter(|_| args.server.is_some()).map(str::to_owned);
        settings.no_swap = args.no_swap;
        let (kind, options) = (args.kind, &args.options);
        let reader = Reader { asks: Asks::Grade, kind, options, settings: &settings, keep_input: args.with_input };
        let (items, skipped) = reader.read(data)?;
        let results = output.open()?;
        results.check(&items)?;
        Ok(Self { judge, items, skipped, output, results, summary })
    }

    #[allow(clippy::print_stderr, reason = "standard output may be the verdicts")]
    async fn grade(mut self, args: &GradeArgs, grader: &Grader, several: bool) -> Result<(), CliError> {
        let work = work::grade(grader, &self.items, &mut self.results, usize::from(args.concurrency)).await?;
        if args.sort {
            self.results.sort(&self.items)?;
        }
        self.output.finish(&self.items)?;
        let said = self.said(&work);
        if self.output == Output::Stdout {
            eprintln!("{said}")
        } else {
            outln!("{said}")
        }
        let summary = self.summary(args, &work);
        if several {
            eprintln!("\n{}", self.judge.unwrap_or("the default judge"));
        }
        eprint!("{}", summary.text());
        if let Some((path, kind)) = &self.summary {
            let text = match kind {
                SummaryKind::Json => summary.json()?,
                SummaryKind::Markdown => summary.markdown(),
            };
            replace(path, text.as_bytes())?;
        }
        if work.interrupted {
            let again = match self.output {
                Output::Stdout => "with --out FILE, a run can go on",
                _ => "run the same command again to go on",
            };
            return Err(CliError::Interrupted(format!("{} of {} graded; {again}", work.graded(), self.items.len())));
        }
        work::end(&self.skipped, &work.failures)?;
        match (args.fail_below, summary.run.mean()) {
            (Some(limit), Some(mean)) if mean.value < limit => Err(CliError::BelowLimit(format!(
                "the mean is {:.3}, which is below {limit} (--fail-below)",
                mean.value
            ))),
            (Some(limit), None) => {
                Err(CliError::BelowLimit(format!("there is no verdict to hold against {limit} (--fail-below)")))
            }
            _ => Ok(()),
        }
    }

    /// What was done, on one line.
    fn said(&self, work: &Work) -> String {
        let (total, out) = (self.items.len(), self.output.shown());
        let failed = work.failures.count();
        match work.earlier {
            0 => format!("{} of {total} graded, {failed} failed: {out}", work.fresh),
            earlier if earlier == total => format!("{total} of {total} already graded, nothing to do: {out}"),
            earlier => {
                format!("{} of {total} graded ({earlier} by earlier runs), {failed} failed: {out}", work.graded())
            }
        }
    }

    fn summary(&self, args: &GradeArgs, work: &Work) -> Summary<'_> {
        let verdict = |item: &Item| match &self.results.kept(&item.id)?.outcome {
            Outcome::Verdict(verdict) => Some(RunVerdict { instruction: item.instruction(), ..*verdict }),
            Outcome::Unscored | Outcome::Failed => None,
        };
        let verdicts: Vec<RunVerdict> = self.items.iter().filter_map(verdict).collect();
        let bootstrap = outcomes::bootstrap(verdicts.len(), 0);
        Summary {
            judge: self.judge.map(str::to_owned),
            data: args.data.as_ref().map(|data| data.display().to_string()).unwrap_or_default(),
            out: self.output.shown(),
            items: self.items.len(),
            skipped: &self.skipped,
            failures: work.failed.clone(),
            untried: self.items.len() - work.graded() - work.failures.count(),
            run: RunSummary::of(&verdicts, args.min_label_mass, bootstrap),
            min_label_mass: args.min_label_mass,
            agreement: self.agreement(args),
            fresh: work.fresh,
            seconds: work.elapsed.as_secs_f64(),
            tokens: work.tokens,
        }
    }

    /// How far the verdicts agree with the labels of the items, where they have some.
    fn agreement(&self, args: &GradeArgs) -> Agreement {
        let measured = || -> Result<Agreement, CliError> {
            let mut mapping = args.settings.map.clone();
            mapping.labels.clone_from(&args.labels);
            let Some(data) = &args.data else { return Ok(Agreement::NoLabels) };
            let ids = self.items.iter().map(|item| item.id.as_str()).collect();
            let Some(file) = labelled::read_labelled(data, &mapping, ids)? else { return Ok(Agreement::NoLabels) };
            let bootstrap = outcomes::bootstrap(file.items.len() * MEMORY_OF_A_DRAW, 0);
            let selection = selection::select(vec![file], None, None, 0)?;
            let answer = |item: &labelled::LabelledItem| {
                let answer = self.results.kept(&item.id)?.answer?;
                Some((item.id.clone(), Stored { place: self.output.shown(), answer }))
            };
            let by_id = selection.items.iter().filter_map(answer).collect();
            let answers = Answers { name: "judge".to_owned(), model: None, prompt: None, by_id };
            let settings = Settings { bootstrap, sample: None, split: None };
            let mut report = measuring::report(selection, vec![answers], &settings)?;
            Ok(report.judges.pop().map_or(Agreement::NoLabels, |judge| Agreement::Measured(Box::new(judge))))
        };
        measured().unwrap_or_else(|error| Agreement::NotMeasured(error.to_string()))
    }
}

/// Figures of agreement keep their draws, so they take fewer of them where there are very many items.
const MEMORY_OF_A_DRAW: usize = 4;
