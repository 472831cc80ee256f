//! A list of items, graded into a file of results; a run that was stopped goes on.

use futures::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::CliError;
use super::failures::Failures;
use super::grader::{Grader, Reply};
use super::items::Item;
use super::results::{Results, request_digest};

/// The number of items without an answer, one after the other, after which the server is taken to have ended. Each was
/// tried for some seconds.
const MOST_UNANSWERED: usize = 3;

/// Grades what the file does not hold yet, so many at a time, and gives what failed. It ends early if the server has.
///
/// # Errors
/// When the file holds what was graded otherwise, or cannot be written.
pub(super) async fn grade(
    grader: &Grader,
    items: Vec<Item>,
    mut results: Results,
    concurrency: usize,
) -> Result<Failures, CliError> {
    results.check_with(grader, &items).await?;
    let total = items.len();
    let items: Vec<Item> = items.into_iter().filter(|item| !results.holds(item)).collect();
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta} left, {msg} failed");
    let bar = ProgressBar::new(total as u64).with_style(style.expect("a fixed template")).with_message("0");
    bar.set_position((total - items.len()) as u64);
    bar.reset_eta();
    let pending = items.len();
    let mut replies = stream::iter(items)
        .map(|item| async move { (grader.grade(item.kind, &item.body).await, item) })
        .buffer_unordered(concurrency);
    let (mut failures, mut done, mut unanswered) = (Failures::default(), 0, 0);
    while let Some((reply, item)) = replies.next().await {
        let id = &item.id;
        let line = match reply {
            Reply::Verdict(verdict) => {
                unanswered = 0;
                json!({"id": id, "request": request_digest(&item), "verdict": verdict})
            }
            Reply::Problem(problem, kind) => {
                unanswered = if kind.is_unanswered() { unanswered + 1 } else { 0 };
                failures.add(id, &problem, kind);
                bar.set_message(failures.count().to_string());
                json!({"id": id, "error": problem})
            }
        };
        results.add(&line)?;
        bar.inc(1);
        done += 1;
        if unanswered == MOST_UNANSWERED {
            failures.give_up(pending - done);
            break;
        }
    }
    bar.finish_and_clear();
    Ok(failures)
}
