//! What a key has used, and its limits.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When to try again while too many requests are in progress: nobody knows when one ends.
const SOON: Duration = Duration::from_secs(1);

/// What a key has used, in this process.
#[derive(Debug, Default)]
pub struct Account(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    usage: KeyUsage,
    in_progress: u32,
    /// Requests that may be made at once, and the time of the last one.
    bucket: Option<(f64, Instant)>,
}

/// What a key has used since the start.
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

/// A request is over a limit of its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct OverLimit {
    what: String,
    /// How long until it is not.
    pub wait: Duration,
}

impl Account {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was used so far.
    #[must_use]
    pub fn usage(&self) -> KeyUsage {
        self.state().usage
    }

    /// Counts a request, which [`Account::end`] ends, if it is within the limits.
    pub(super) fn admit(
        &self,
        per_minute: Option<NonZeroU32>,
        concurrent: Option<NonZeroU32>,
        now: Instant,
    ) -> Result<(), OverLimit> {
        let mut state = self.state();
        if let Some(most) = concurrent.filter(|most| state.in_progress >= most.get()) {
            let what = format!("this API key may have {most} requests in progress at once");
            return Err(OverLimit { what, wait: SOON });
        }
        if let Some(limit) = per_minute {
            let most = f64::from(limit.get());
            // A bucket of a minute's requests that fills steadily.
            let (left, at) = state.bucket.unwrap_or((most, now));
            let filled = most.min(left + now.saturating_duration_since(at).as_secs_f64() * most / 60.0);
            if filled < 1.0 {
                let what = format!("this API key may make {limit} requests a minute");
                return Err(OverLimit { what, wait: Duration::from_secs_f64((1.0 - filled) * 60.0 / most) });
            }
            state.bucket = Some((filled - 1.0, now));
        }
        state.in_progress += 1;
        state.usage.requests += 1;
        Ok(())
    }

    pub(super) fn end(&self, judgements: u64, prompt_tokens: u64, completion_tokens: u64) {
        let mut state = self.state();
        state.in_progress = state.in_progress.saturating_sub(1);
        state.usage.judgements += judgements;
        state.usage.prompt_tokens += prompt_tokens;
        state.usage.completion_tokens += completion_tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_bucket_that_fills_steadily() {
        let (account, start) = (Account::default(), Instant::now());
        let at = |seconds: u64| account.admit(NonZeroU32::new(2), None, start + Duration::from_secs(seconds));
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
    fn requests_in_progress_are_counted_until_they_end() {
        let (account, now) = (Account::default(), Instant::now());
        let admit = || account.admit(None, NonZeroU32::new(1), now);
        assert_eq!(admit(), Ok(()));
        assert_eq!(admit().unwrap_err().wait, SOON);
        account.end(2, 30, 4);
        assert_eq!(admit(), Ok(()));
        let expected = KeyUsage { requests: 2, judgements: 2, prompt_tokens: 30, completion_tokens: 4 };
        assert_eq!(account.usage(), expected);
    }
}
