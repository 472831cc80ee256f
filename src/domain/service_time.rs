//! How long judgements take, and which can still end before their deadline.

use std::time::{Duration, Instant};

/// The weight of the latest in the moving averages.
const LATEST: f64 = 0.1;
/// A judgement begins if it has this many times the typical time left. More than 1, because under load that time scatters,
/// and what is begun and not finished in time costs others theirs.
const MARGIN: f64 = 1.25;

/// The moving averages of how long judgements took lately for each unit of their work: those that only choose, and those
/// that write text. In seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServiceTime([Option<f64>; 2]);

/// When a judgement has to end, and how much work it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When its caller stops waiting; `None` is never.
    pub at: Option<Instant>,
    /// The most tokens that it writes; 0 where it only chooses, which is far less work.
    pub written: usize,
}

impl Due {
    /// Its kind: 0 only chooses, 1 writes.
    #[must_use]
    pub fn kind(self) -> usize {
        usize::from(self.written > 0)
    }

    fn work(self) -> f64 {
        self.written.max(1) as f64
    }
}

impl ServiceTime {
    /// Takes a judgement into account that has ended.
    pub fn ended(&mut self, due: Due, took: Duration) {
        let (typical, took) = (&mut self.0[due.kind()], took.as_secs_f64() / due.work());
        *typical = Some(typical.map_or(took, |typical| typical * (1.0 - LATEST) + took * LATEST));
    }

    /// Takes a judgement into account that was given up before its end: it would have taken longer than that. Without it,
    /// only the fast ones would count under overload.
    pub fn given_up(&mut self, due: Due, after: Duration) {
        if self.0[due.kind()].is_none_or(|typical| after.as_secs_f64() / due.work() > typical) {
            self.ended(due, after);
        }
    }

    /// Whether a judgement that begins now would probably not end in time.
    #[must_use]
    pub fn is_late(&self, due: Due, now: Instant) -> bool {
        let needed = self.0[due.kind()].unwrap_or(0.0) * due.work() * MARGIN;
        due.at.is_some_and(|at| at.saturating_duration_since(now).as_secs_f64() <= needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_less_left_than_others_took_is_late() {
        let (now, seconds) = (Instant::now(), Duration::from_secs);
        let due = |left: u64, written| Due { at: Some(now + seconds(left)), written };
        let late = |time: &ServiceTime, left: u64, written| time.is_late(due(left, written), now);
        let mut time = ServiceTime::default();
        assert!(!late(&time, 1, 32) && late(&time, 0, 32), "nothing is known yet");
        time.ended(due(9, 32), seconds(4));
        assert!(late(&time, 4, 32) && !late(&time, 6, 32) && !late(&time, 1, 0));
        assert!(!late(&time, 3, 16) && late(&time, 9, 64), "it depends on how much is written");
        assert!(!time.is_late(Due { at: None, written: 32 }, now));
        time.given_up(due(9, 32), seconds(1));
        assert!(!late(&time, 6, 32), "it may have taken long");
        (0..40).for_each(|_| time.given_up(due(9, 32), seconds(8)));
        assert!(late(&time, 9, 32), "all of them took longer than 8 s");
        (0..40).for_each(|_| time.ended(due(9, 32), seconds(1)));
        assert!(!late(&time, 2, 32), "what is over is forgotten");
    }
}
