//! A list of items, graded into results; a run that was stopped goes on.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::Value;

use super::CliError;
use super::failures::Failures;
use super::grader::{Grader, Reply};
use super::host;
use super::items::{Item, Skipped};
use super::progress::Progress;
use super::results::Results;

/// The number of items without an answer, one after the other, after which the server is taken to have ended. Each was
/// tried for some seconds.
const MOST_UNANSWERED: usize = 3;

/// What a run has done.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Items that earlier runs have graded.
    pub(super) earlier: usize,
    /// Items that this run has graded.
    pub(super) fresh: usize,
    pub(super) failures: Failures,
    /// Failed items of this run by the code of their errors.
    pub(super) failed: BTreeMap<String, usize>,
    /// Whether a signal ended it.
    pub(super) interrupted: bool,
    /// Of the verdicts of this run.
    pub(super) tokens: Tokens,
    /// Time of this run.
    pub(super) elapsed: Duration,
}

/// Tokens of prompts, of those that were cached, and of answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tokens {
    pub(super) prompt: u64,
    pub(super) cached: u64,
    pub(super) completion: u64,
}

impl Tokens {
    fn add(&mut self, verdict: &Value) {
        let count = |name: &str| verdict["usage"][name].as_u64().unwrap_or_default();
        self.prompt += count("prompt_tokens");
        self.cached += count("cached_tokens");
        self.completion += count("completion_tokens");
    }
}

impl Work {
    /// Items with a verdict, of earlier runs as well.
    pub(super) fn graded(&self) -> usize {
        self.earlier + self.fresh
    }
}

/// How a run over a file ends.
///
/// # Errors
/// If rows were skipped, or items failed.
pub(super) fn end(skipped: &Skipped, failures: &Failures) -> Result<(), CliError> {
    let messages: Vec<String> = skipped.message().into_iter().chain(failures.message()).collect();
    if messages.is_empty() { Ok(()) } else { Err(CliError::ItemsFailed(messages.join("\n"))) }
}

/// Grades what the results do not hold yet, so many at a time. It ends early if the server has, or at a signal.
///
/// # Errors
/// When the results hold what was graded otherwise, or cannot be written.
pub(super) async fn grade(
    grader: &Grader,
    items: &[Item],
    results: &mut Results,
    concurrency: usize,
) -> Result<Work, CliError> {
    results.check_with(grader, items).await?;
    let pending: Vec<&Item> = items.iter().filter(|item| !results.holds(item)).collect();
    let mut work = Work { earlier: items.len() - pending.len(), ..Work::default() };
    if pending.is_empty() {
        return Ok(work);
    }
    let (count, mut done, mut unanswered) = (pending.len(), 0, 0);
    let mut progress = Progress::start(items.len(), work.earlier);
    let mut replies = stream::iter(pending)
        .map(|item| async move { (grader.grade(item.route, &item.body).await, item) })
        .buffer_unordered(concurrency);
    let mut stopped = pin!(host::signal());
    loop {
        let (reply, item) = tokio::select! {
            reply = replies.next() => match reply {
                Some(reply) => reply,
                None => break,
            },
            _ = &mut stopped => {
                work.interrupted = true;
                break;
            }
        };
        done += 1;
        match reply {
            Reply::Verdict(verdict) => {
                (unanswered, work.fresh) = (0, work.fresh + 1);
                work.tokens.add(&verdict);
                results.add_verdict(item, verdict)?;
                progress.add(false);
            }
            Reply::Problem(problem, kind) => {
                unanswered = if kind.is_unanswered() { unanswered + 1 } else { 0 };
                work.failures.add(&item.id, &problem, kind);
                let code = problem["code"].as_str().unwrap_or("unknown").to_owned();
                *work.failed.entry(code).or_insert(0) += 1;
                results.add_error(item, problem)?;
                progress.add(true);
            }
        }
        if unanswered == MOST_UNANSWERED {
            work.failures.give_up(count - done);
            break;
        }
    }
    progress.end();
    work.elapsed = progress.elapsed();
    Ok(work)
}
