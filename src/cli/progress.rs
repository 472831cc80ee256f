//! The progress of a run on standard error: a bar on a terminal, and elsewhere a line a second.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Time between lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(1);

/// The progress of a run over items, of which earlier runs have done some.
pub(super) struct Progress {
    started: Instant,
    total: usize,
    earlier: usize,
    done: usize,
    failed: usize,
    /// `None` where there is no terminal.
    bar: Option<ProgressBar>,
    /// When the next line is due.
    next: Duration,
}

impl Progress {
    pub(super) fn start(total: usize, earlier: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {msg}").expect("a fixed template");
            let bar = ProgressBar::new(total as u64).with_style(style);
            bar.set_position(earlier as u64);
            bar
        });
        let progress = Self { started: Instant::now(), total, earlier, done: 0, failed: 0, bar, next: PAUSE };
        if let Some(bar) = &progress.bar {
            bar.set_message(progress.text(Duration::ZERO));
        }
        progress
    }

    /// Counts an item that this run has done.
    pub(super) fn add(&mut self, failed: bool) {
        self.add_many(1, usize::from(failed));
    }

    /// Counts items that this run has done, of which some failed.
    pub(super) fn add_many(&mut self, done: usize, failed: usize) {
        self.done += done;
        self.failed += failed;
        let elapsed = self.elapsed();
        match &self.bar {
            Some(bar) => {
                bar.set_message(self.text(elapsed));
                bar.inc(done as u64);
            }
            None if elapsed >= self.next => {
                self.print(elapsed);
                self.next = elapsed + PAUSE;
            }
            None => {}
        }
    }

    #[allow(clippy::print_stderr, reason = "standard output may be the verdicts")]
    fn print(&self, elapsed: Duration) {
        eprintln!("{}/{}, {}", self.earlier + self.done, self.total, self.text(elapsed));
    }

    fn text(&self, elapsed: Duration) -> String {
        let left = self.total - self.earlier - self.done;
        format!("{}, {} failed", rate(self.done, left, elapsed), self.failed)
    }

    /// Time since the run began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Removes the bar.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How fast this run is, and how long it will take; unknown until something is done.
fn rate(done: usize, left: usize, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if done == 0 || seconds <= 0.0 {
        return "-/s, - left".to_owned();
    }
    let rate = done as f64 / seconds;
    format!("{rate:.1}/s, {} left", duration(Duration::from_secs_f64(left as f64 / rate)))
}

/// A time as a person reads it, to the second.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_this_run() {
        let check = |done, left, seconds, expected: &str| {
            assert_eq!(rate(done, left, Duration::from_secs(seconds)), expected);
        };
        check(0, 30, 0, "-/s, - left");
        check(0, 30, 9, "-/s, - left");
        check(10, 20, 5, "2.0/s, 10 s left");
        check(1, 100, 4, "0.2/s, 6 min 40 s left");
        check(1, 2000, 4, "0.2/s, 2 h 13 min left");
    }
}
