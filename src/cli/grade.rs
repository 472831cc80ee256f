//! `gavel grade`: one request from flags, or a file of items in and a file of verdicts out.

mod args;
mod run;
mod summary;

use serde_json::json;

pub(super) use self::args::GradeArgs;
use super::asking::{Configure, judges};
use super::grader::{Grader, Reply};
use super::host::InProcessJudge;
use super::items::{KindArg, ModeArg, Route};
use super::{CliError, show};

pub(super) async fn run(mut args: GradeArgs, model: Option<String>, config: &Configure<'_>) -> Result<(), CliError> {
    let judges = judges(&args.judge, model)?;
    if args.data.is_some() {
        return run::grade(&args, &judges, config).await;
    }
    let [judge] = &judges[..] else {
        return Err(CliError::Usage("several --judge need a file of items; see --data".into()));
    };
    let (grader, hosted) = match &args.server {
        Some(url) => (Grader::of_server(url, args.timeout()).await?, None),
        None => {
            let hosted = InProcessJudge::start(config(judge.as_deref())?).await?;
            (Grader::InProcess(hosted.gavel.clone()), Some(hosted))
        }
    };
    // Only a server may have several models.
    args.settings.model = judge.clone().filter(|_| args.server.is_some());
    let outcome = one(&grader, args).await;
    drop(grader);
    if let Some(hosted) = hosted {
        hosted.stop().await;
    }
    outcome
}

async fn one(grader: &Grader, args: GradeArgs) -> Result<(), CliError> {
    let mut body = json!({
        "instruction": args.instruction,
        "rubric": args.options.rubric(),
        "reference_answer": args.reference,
    });
    body["mode"] = json!(args.options.mode.map(ModeArg::name));
    args.settings.put_on(&mut body)?;
    let kind = match (args.kind, args.response_b) {
        (Some(KindArg::Absolute), Some(_)) => {
            return Err(CliError::Usage("there is a --response-b, but --kind is absolute".into()));
        }
        (Some(KindArg::Relative), None) => {
            return Err(CliError::Usage("--kind is relative, but there is no --response-b".into()));
        }
        (_, Some(b)) => {
            (body["response_a"], body["response_b"]) = (json!(args.response), json!(b));
            if args.no_swap {
                body["swap"] = json!(false);
            }
            KindArg::Relative
        }
        (_, None) if args.no_swap => {
            return Err(CliError::Usage("--no-swap is for two responses, but there is no --response-b".into()));
        }
        (_, None) => {
            body["response"] = json!(args.response);
            KindArg::Absolute
        }
    };
    match grader.grade(Route::Grade(kind), &body).await {
        Reply::Verdict(verdict) if args.json => outln!("{verdict:#}"),
        Reply::Verdict(verdict) => out!("{}", show::verdict(&verdict)),
        Reply::Problem(problem, _) => return Err(CliError::Failed(show::problem(&problem))),
    }
    Ok(())
}
