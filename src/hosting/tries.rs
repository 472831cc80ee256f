//! When a model may be loaded again that could not be, or whose engine has died.

use std::time::{Duration, Instant};

/// After the first attempt that came to nothing; each further one in a row waits twice as long.
const FIRST: Duration = Duration::from_secs(5);
/// The longest wait. What has served for longer than that has not failed in a row.
const LONGEST: Duration = Duration::from_secs(300);

/// The attempts to load a model.
#[derive(Debug, Default)]
pub(super) struct Tries {
    in_a_row: u32,
    /// When the last one ended, well or not.
    ended: Option<Instant>,
}

impl Tries {
    /// An attempt has ended. One that went well counts, too: an engine may die as soon as it is there.
    pub(super) fn end(&mut self, now: Instant) {
        let recent = self.ended.is_some_and(|ended| now.saturating_duration_since(ended) <= LONGEST);
        self.in_a_row = if recent { self.in_a_row.saturating_add(1) } else { 1 };
        self.ended = Some(now);
    }

    /// Nothing has failed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// How long until there may be another attempt.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let Some(ended) = self.ended else { return Duration::ZERO };
        let doubled = 2_u32.saturating_pow(self.in_a_row.saturating_sub(1));
        let pause = FIRST.saturating_mul(doubled).min(LONGEST);
        pause.saturating_sub(now.saturating_duration_since(ended))
    }
}

#[cfg(test)]
impl Tries {
    /// Has the last attempt be so much longer ago.
    pub(super) fn age(&mut self, by: Duration) {
        self.ended = self.ended.and_then(|ended| ended.checked_sub(by));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_waits_twice_as_long() {
        let (mut tries, mut now) = (Tries::default(), Instant::now());
        assert_eq!(tries.wait(now), Duration::ZERO, "nothing was tried yet");
        for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
            tries.end(now);
            assert_eq!(tries.wait(now), Duration::from_secs(pause));
            now += Duration::from_secs(pause - 1);
            assert_eq!(tries.wait(now), Duration::from_secs(1));
            now += Duration::from_secs(1);
            assert_eq!(tries.wait(now), Duration::ZERO);
        }
    }

    #[test]
    fn what_has_served_for_long_begins_anew() {
        let (mut tries, start) = (Tries::default(), Instant::now());
        tries.end(start);
        tries.end(start + Duration::from_secs(5));
        let later = start + Duration::from_secs(3600);
        assert_eq!(tries.wait(later), Duration::ZERO);
        tries.end(later);
        assert_eq!(tries.wait(later), Duration::from_secs(5));
        tries.forget();
        assert_eq!(tries.wait(later), Duration::ZERO);
    }
}
