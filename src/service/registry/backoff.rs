//! Exponential backoff between attempts to load a model.

use std::time::{Duration, Instant};

/// The pause after the first failed attempt; each further one in a row doubles it.
const FIRST: Duration = Duration::from_secs(5);
/// The longest pause. A model that has served for longer than that starts over.
const LONGEST: Duration = Duration::from_secs(300);

/// The recent attempts to load a model.
#[derive(Debug, Default)]
pub(super) struct RetryBackoff {
    in_a_row: u32,
    /// When the last one ended, successful or not.
    ended: Option<Instant>,
}

impl RetryBackoff {
    /// Records an attempt. A successful one counts, too: an engine may die as soon as it is loaded.
    pub(super) fn end(&mut self, now: Instant) {
        let recent = self.ended.is_some_and(|ended| now.saturating_duration_since(ended) <= LONGEST);
        self.in_a_row = if recent { self.in_a_row.saturating_add(1) } else { 1 };
        self.ended = Some(now);
    }

    /// Starts over.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// How long until the next attempt is allowed.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let Some(ended) = self.ended else { return Duration::ZERO };
        let doubled = 2_u32.saturating_pow(self.in_a_row.saturating_sub(1));
        let pause = FIRST.saturating_mul(doubled).min(LONGEST);
        pause.saturating_sub(now.saturating_duration_since(ended))
    }
}

#[cfg(test)]
impl RetryBackoff {
    /// Moves the last attempt that much into the past.
    pub(super) fn age(&mut self, by: Duration) {
        self.ended = self.ended.and_then(|ended| ended.checked_sub(by));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_waits_twice_as_long() {
        let (mut backoff, mut now) = (RetryBackoff::default(), Instant::now());
        assert_eq!(backoff.wait(now), Duration::ZERO, "nothing was tried yet");
        for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
            backoff.end(now);
            assert_eq!(backoff.wait(now), Duration::from_secs(pause));
            now += Duration::from_secs(pause - 1);
            assert_eq!(backoff.wait(now), Duration::from_secs(1));
            now += Duration::from_secs(1);
            assert_eq!(backoff.wait(now), Duration::ZERO);
        }
    }

    #[test]
    fn what_has_served_for_long_begins_anew() {
        let (mut backoff, start) = (RetryBackoff::default(), Instant::now());
        backoff.end(start);
        backoff.end(start + Duration::from_secs(5));
        let later = start + Duration::from_secs(3600);
        assert_eq!(backoff.wait(later), Duration::ZERO);
        backoff.end(later);
        assert_eq!(backoff.wait(later), Duration::from_secs(5));
        backoff.reset();
        assert_eq!(backoff.wait(later), Duration::ZERO);
    }
}
