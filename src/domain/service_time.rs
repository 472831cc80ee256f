//! How long judgements take, and which can still end before their deadline.

use std::time::{Duration, Instant};

/// The weight of the latest in the moving averages.
const LATEST: f64 = 0.1;
/// A judgement begins if it has this many times the typical time left. More than 1, because under load that time scatters,
/// and what is begun and not finished in time costs others theirs.
const MARGIN: f64 = 1.25;

/// The moving averages of how long judgements took lately: those that only choose, and those that write text.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServiceTime([Option<Duration>; 2]);

/// When a judgement has to end, and what kind of work it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Due {
    /// When its caller stops waiting; `None` is never.
    pub at: Option<Instant>,
    /// Whether it writes text, which takes far longer than a choice.
    pub writes: bool,
}

impl ServiceTime {
    /// Takes a judgement into account that has ended.
    pub fn ended(&mut self, writes: bool, took: Duration) {
        let typical = &mut self.0[usize::from(writes)];
        *typical = Some(typical.map_or(took, |typical| typical.mul_f64(1.0 - LATEST) + took.mul_f64(LATEST)));
    }

    /// Takes a judgement into account that was given up before its end: it would have taken longer than that. Without it,
    /// only the fast ones would count under overload.
    pub fn given_up(&mut self, writes: bool, after: Duration) {
        if self.0[usize::from(writes)].is_none_or(|typical| after > typical) {
            self.ended(writes, after);
        }
    }

    /// Whether a judgement that begins now would probably not end in time.
    #[must_use]
    pub fn is_late(&self, due: Due, now: Instant) -> bool {
        let needed = self.0[usize::from(due.writes)].unwrap_or_default().mul_f64(MARGIN);
        due.at.is_some_and(|at| at.saturating_duration_since(now) <= needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_less_left_than_others_took_is_late() {
        let (now, seconds) = (Instant::now(), Duration::from_secs);
        let late =
            |time: &ServiceTime, left: u64, writes| time.is_late(Due { at: Some(now + seconds(left)), writes }, now);
        let mut time = ServiceTime::default();
        assert!(!late(&time, 1, true) && late(&time, 0, true), "nothing is known yet");
        time.ended(true, seconds(4));
        assert!(late(&time, 5, true) && !late(&time, 6, true) && !late(&time, 1, false));
        assert!(!time.is_late(Due { at: None, writes: true }, now));
        time.given_up(true, seconds(1));
        assert!(!late(&time, 6, true), "it may have taken long");
        (0..40).for_each(|_| time.given_up(true, seconds(8)));
        assert!(late(&time, 9, true), "all of them took longer than 8 s");
        (0..40).for_each(|_| time.ended(true, seconds(1)));
        assert!(!late(&time, 2, true), "what is over is forgotten");
    }
}
