//! Why items have no verdict, as a command says it at its end.

use std::fmt::Write;

use serde_json::Value;

use super::show;

/// Maximum number of reasons to show.
const MOST_REASONS: usize = 8;
/// Maximum length of a shown reason, in characters.
const LONGEST_REASON: usize = 400;

/// What can be done about a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The same request fails again.
    Refused,
    /// A later run may get further; a retry at once would not.
    Unfinished,
    /// The server is at capacity, or something restarts: a retry in a moment may help.
    Passing,
    /// There was no answer: the server cannot be reached, or has ended.
    Unanswered,
    /// There was no answer in time, so that a retry takes as long again.
    TimedOut,
}

impl FailureKind {
    /// The kind of a problem with this HTTP status; `waits` if the server says when to retry.
    pub(super) fn of(status: u16, problem: &Value, waits: bool) -> Self {
        match status {
            // Such a model needs another configuration, unless the server says otherwise.
            503 if problem["code"] == "model_failed" && !waits => Self::Refused,
            429 | 502 | 503 => Self::Passing,
            408 | 500.. => Self::Unfinished,
            _ => Self::Refused,
        }
    }

    /// Whether the request is retried at once.
    pub(super) fn is_retried(self) -> bool {
        matches!(self, Self::Passing | Self::Unanswered)
    }

    /// Whether there was no answer.
    pub(super) fn is_unanswered(self) -> bool {
        matches!(self, Self::Unanswered | Self::TimedOut)
    }
}

/// The failed items of a run, by reason.
#[derive(Debug, Default)]
pub(super) struct Failures {
    reasons: Vec<Reason>,
    /// The number of items that were not tried, because the server had ended.
    untried: usize,
}

/// Code and detail, the number of items, and the first of them.
#[derive(Debug)]
struct Reason {
    code: String,
    text: String,
    kind: FailureKind,
    count: usize,
    first: String,
}

impl Failures {
    /// Counts a failed item.
    pub(super) fn add(&mut self, id: &str, problem: &Value, kind: FailureKind) {
        let code = problem["code"].as_str().unwrap_or_default();
        let text = show::problem(problem);
        let same = |reason: &&mut Reason| reason.code == code && reason.kind == kind && reason.text == text;
        match self.reasons.iter_mut().find(same) {
            Some(reason) => reason.count += 1,
            // Details with numbers of an item differ: those beyond the first ones are only counted.
            None => match self.reasons.iter_mut().filter(|reason| reason.code == code && reason.kind == kind).nth(2) {
                Some(reason) => reason.count += 1,
                None => {
                    let (code, first) = (code.to_owned(), id.to_owned());
                    self.reasons.push(Reason { code, text, kind, count: 1, first });
                }
            },
        }
    }

    /// Leaves out those with this code, which were to be expected where the first item is one of these.
    pub(super) fn forget(&mut self, code: &str, expected: impl Fn(&str) -> bool) {
        self.reasons.retain(|reason| reason.code != code || !expected(&reason.first));
    }

    /// Says on standard error what failed, if anything did.
    pub(super) fn print(&self) {
        if let Some(message) = self.message() {
            eprintln!("{message}");
        }
    }

    /// Notes the items that were not tried.
    pub(super) fn give_up(&mut self, untried: usize) {
        self.untried += untried;
    }

    /// The number of items that were not tried, because the server had ended.
    pub(super) fn untried(&self) -> usize {
        self.untried
    }

    /// Adds those of another run.
    pub(super) fn extend(&mut self, other: Self) {
        self.reasons.extend(other.reasons);
        self.untried += other.untried;
    }

    /// The number of failed items.
    pub(super) fn count(&self) -> usize {
        self.reasons.iter().map(|reason| reason.count).sum()
    }

    /// What failed, why, and whether another run may help; nothing if nothing failed.
    pub(super) fn message(&self) -> Option<String> {
        let failed = self.count();
        if failed == 0 && self.untried == 0 {
            return None;
        }
        let again: usize = self.reasons.iter().filter(|r| r.kind != FailureKind::Refused).map(|r| r.count).sum();
        let items = |count: usize| if count == 1 { "1 item".to_owned() } else { format!("{count} items") };
        let mut text = format!("{} failed; ", items(failed));
        match again {
            0 => text.push_str("a retry would fail again; fix the errors below"),
            _ if again == failed => text.push_str("run the same command again to retry them"),
            _ => write!(text, "running the same command again may help for {again} of them").expect("a string"),
        }
        if self.untried > 0 {
            let untried = items(self.untried);
            write!(text, ". The server no longer answers: {untried} more were not sent").expect("a string");
        }
        let mut reasons: Vec<&Reason> = self.reasons.iter().collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        for Reason { text: why, count, first, .. } in reasons.iter().take(MOST_REASONS) {
            let why = shortened(why);
            write!(text, "\n  {count} × {why} (first: `{first}`)").expect("a string");
        }
        if reasons.len() > MOST_REASONS {
            write!(text, "\n  and {} more reasons, in the file of verdicts", reasons.len() - MOST_REASONS)
                .expect("a string");
        }
        Some(text)
    }
}

fn shortened(text: &str) -> String {
    if text.chars().nth(LONGEST_REASON).is_none() {
        return text.to_owned();
    }
    text.chars().take(LONGEST_REASON - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_says_what_can_be_done() {
        let check = |status, code: &str, waits, expected| {
            assert_eq!(FailureKind::of(status, &json!({"code": code}), waits), expected, "{status} {code}");
        };
        check(404, "unknown_rubric", false, FailureKind::Refused);
        check(422, "context_overflow", false, FailureKind::Refused);
        check(429, "rate_limited", true, FailureKind::Passing);
        check(503, "saturated", true, FailureKind::Passing);
        check(503, "model_failed", false, FailureKind::Refused);
        check(503, "model_failed", true, FailureKind::Passing);
        check(504, "deadline_exceeded", false, FailureKind::Unfinished);
        check(500, "internal", false, FailureKind::Unfinished);
    }

    #[test]
    fn reasons_are_counted_and_what_helps_is_said() {
        let problem = |code: &str, detail: &str| json!({"code": code, "detail": detail});
        let mut failures = Failures::default();
        assert_eq!(failures.message(), None);
        for id in ["a", "b"] {
            failures.add(id, &problem("unknown_rubric", "there is no rubric `x`"), FailureKind::Refused);
        }
        let refused = "2 items failed; a retry would fail again; fix the errors below\n  \
                       2 × unknown_rubric: there is no rubric `x` (first: `a`)";
        assert_eq!(failures.message().as_deref(), Some(refused));
        failures.add("c", &problem("saturated", "full"), FailureKind::Passing);
        let message = failures.message().unwrap();
        assert!(message.starts_with("3 items failed; running the same command again may help for 1 of them\n"));
        assert!(message.ends_with("\n  1 × saturated: full (first: `c`)"), "{message}");
        let mut failures = Failures::default();
        for at in 0..20 {
            failures.add("d", &problem("deadline_exceeded", &format!("after {at} ms")), FailureKind::Unfinished);
        }
        failures.give_up(7);
        let message = failures.message().unwrap();
        let start = "20 items failed; run the same command again to retry them. The server no longer answers: 7 items \
                     more were not sent\n  18 × deadline_exceeded";
        assert!(message.starts_with(start) && message.lines().count() == 4, "{message}");
    }
}
