//! What a key has used, and its limits.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Key;

/// When to try again while too many requests are in progress: nobody knows when one ends.
const SOON: Duration = Duration::from_secs(1);

/// What a key has used, in this process.
#[derive(Debug, Default)]
pub struct Account(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Since the start of the process, and how much of it the database has.
    usage: KeyUsage,
    stored: KeyUsage,
    in_progress: u32,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// What a key has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyUsage {
    /// Requests that were not refused for a limit or a scope.
    pub requests: u64,
    /// Judgements, including cached ones.
    pub judgements: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
}

impl KeyUsage {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// What is left without `other`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.each(other, u64::saturating_sub)
    }

    fn each(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            requests: of(self.requests, other.requests),
            judgements: of(self.judgements, other.judgements),
            prompt_tokens: of(self.prompt_tokens, other.prompt_tokens),
            completion_tokens: of(self.completion_tokens, other.completion_tokens),
        }
    }
}

/// An allowance of a minute that fills steadily. It is below zero if what was used was known only afterwards.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    /// What is in a bucket now, of at most `most`. A new one is full.
    fn now(bucket: Option<Self>, most: f64, now: Instant) -> Self {
        let filled = bucket.map_or(most, |Self { left, at }| {
            most.min(left + now.saturating_duration_since(at).as_secs_f64() * most / 60.0)
        });
        Self { left: filled, at: now }
    }

    /// How long until it has one; `None` if it has.
    fn wait(self, most: f64) -> Option<Duration> {
        (self.left < 1.0).then(|| Duration::from_secs_f64((1.0 - self.left) * 60.0 / most))
    }

    fn without(self, used: f64) -> Self {
        Self { left: self.left - used, ..self }
    }
}

/// A request is over a limit of its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct OverLimit {
    what: String,
    /// How long until it is not.
    pub wait: Duration,
}

/// The limits that apply to a request; `None`: no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    pub(super) requests_per_minute: Option<NonZeroU32>,
    pub(super) tokens_per_minute: Option<NonZeroU32>,
    pub(super) concurrent: Option<NonZeroU32>,
}

impl Limits {
    /// Those of a key. Only requests that `judge` need tokens.
    pub(super) fn of(key: &Key, judge: bool) -> Self {
        Self {
            requests_per_minute: key.requests_per_minute,
            tokens_per_minute: key.tokens_per_minute.filter(|_| judge),
            concurrent: key.concurrent,
        }
    }
}

impl Account {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was used in this process and is not in the database yet.
    #[must_use]
    pub fn unstored(&self) -> KeyUsage {
        let state = self.state();
        state.usage.minus(state.stored)
    }

    /// Notes that the database has so much more.
    pub(super) fn stored(&self, more: KeyUsage) {
        let mut state = self.state();
        state.stored = state.stored.plus(more);
    }

    /// Checks that tokens are left of a limit.
    pub(super) fn has_tokens(&self, per_minute: Option<NonZeroU32>, now: Instant) -> Result<(), OverLimit> {
        let Some(limit) = per_minute else { return Ok(()) };
        let most = f64::from(limit.get());
        let Some(wait) = Bucket::now(self.state().tokens, most, now).wait(most) else { return Ok(()) };
        Err(OverLimit { what: format!("this API key may use {limit} tokens a minute, and has used them"), wait })
    }

    /// Counts a request, which [`Account::end`] ends, if it is within the limits.
    pub(super) fn admit(&self, limits: Limits, now: Instant) -> Result<(), OverLimit> {
        self.has_tokens(limits.tokens_per_minute, now)?;
        let mut state = self.state();
        if let Some(most) = limits.concurrent.filter(|most| state.in_progress >= most.get()) {
            let what = format!("this API key may have {most} requests in progress at once");
            return Err(OverLimit { what, wait: SOON });
        }
        if let Some(limit) = limits.requests_per_minute {
            let most = f64::from(limit.get());
            let bucket = Bucket::now(state.requests, most, now);
            if let Some(wait) = bucket.wait(most) {
                return Err(OverLimit { what: format!("this API key may make {limit} requests a minute"), wait });
            }
            state.requests = Some(bucket.without(1.0));
        }
        state.in_progress += 1;
        state.usage.requests += 1;
        Ok(())
    }

    /// Ends a request, which has used this beside itself; its tokens count for the limit, which they may exceed.
    pub(super) fn end(&self, used: KeyUsage, tokens_per_minute: Option<NonZeroU32>, now: Instant) {
        let mut state = self.state();
        state.in_progress = state.in_progress.saturating_sub(1);
        state.usage = state.usage.plus(used);
        if let Some(limit) = tokens_per_minute {
            let tokens = used.prompt_tokens.saturating_add(used.completion_tokens);
            state.tokens = Some(Bucket::now(state.tokens, f64::from(limit.get()), now).without(tokens as f64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(prompt_tokens: u64, completion_tokens: u64) -> KeyUsage {
        KeyUsage { requests: 0, judgements: 1, prompt_tokens, completion_tokens }
    }

    #[test]
    fn a_rate_is_a_bucket_that_fills_steadily() {
        let (account, start) = (Account::default(), Instant::now());
        let limits = Limits { requests_per_minute: NonZeroU32::new(2), ..Limits::default() };
        let at = |seconds: u64| account.admit(limits, start + Duration::from_secs(seconds));
        assert_eq!((at(0), at(0)), (Ok(()), Ok(())));
        assert_eq!(at(0).unwrap_err().wait, Duration::from_secs(30));
        let refused = at(20).unwrap_err();
        assert!((refused.wait.as_secs_f64() - 10.0).abs() < 1e-6, "{refused:?}");
        assert_eq!(refused.to_string(), "this API key may make 2 requests a minute");
        assert_eq!(at(30), Ok(()));
        assert!(at(31).is_err());
        // Unused requests of an hour are not saved up.
        assert_eq!((at(3600), at(3600)), (Ok(()), Ok(())));
        assert!(at(3600).is_err());
    }

    #[test]
    fn tokens_are_paid_when_they_are_known() {
        let (account, start) = (Account::default(), Instant::now());
        let limit = NonZeroU32::new(600);
        let limits = Limits { tokens_per_minute: limit, ..Limits::default() };
        let later = |seconds: u64| start + Duration::from_secs(seconds);
        // Both are let in, because nobody knows yet what they need: 1,000 of 600 tokens.
        assert_eq!((account.admit(limits, start), account.admit(limits, start)), (Ok(()), Ok(())));
        account.end(used(400, 50), limit, start);
        account.end(used(540, 10), limit, start);
        let refused = account.admit(limits, start).unwrap_err();
        // 400 too many and the first of the next, at 10 a second.
        assert!((refused.wait.as_secs_f64() - 40.1).abs() < 1e-6, "{refused:?}");
        assert_eq!(refused.to_string(), "this API key may use 600 tokens a minute, and has used them");
        assert!(account.has_tokens(limit, later(40)).is_err());
        assert_eq!(account.has_tokens(limit, later(41)), Ok(()));
        // What needs no tokens is not refused.
        assert_eq!(account.admit(Limits::default(), start), Ok(()));
        // An answer out of the cache costs nothing, and an hour saves up a minute's tokens.
        account.end(used(0, 0), limit, later(3600));
        account.end(used(600, 0), limit, later(3600));
        assert!(account.has_tokens(limit, later(3600)).is_err());
    }

    #[test]
    fn requests_in_progress_are_counted_until_they_end() {
        let (account, now) = (Account::default(), Instant::now());
        let limits = Limits { concurrent: NonZeroU32::new(1), ..Limits::default() };
        let admit = || account.admit(limits, now);
        assert_eq!(admit(), Ok(()));
        assert_eq!(admit().unwrap_err().wait, SOON);
        account.end(used(30, 4), None, now);
        assert_eq!(admit(), Ok(()));
        let expected = KeyUsage { requests: 2, judgements: 1, prompt_tokens: 30, completion_tokens: 4 };
        assert_eq!(account.unstored(), expected);
    }

    #[test]
    fn what_is_stored_is_not_told_again() {
        let (account, now) = (Account::default(), Instant::now());
        account.admit(Limits::default(), now).unwrap();
        let first = account.unstored();
        // Counted while the first is written.
        account.end(used(30, 4), None, now);
        account.stored(first);
        assert_eq!(account.unstored(), used(30, 4));
        account.stored(used(30, 4));
        assert_eq!(account.unstored(), KeyUsage::default());
    }
}
