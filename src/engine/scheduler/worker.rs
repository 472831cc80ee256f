//! The thread that runs a scheduler, and starts over when its backend fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::{Backend, Scheduler};
use crate::engine::shared::Shared;
use crate::engine::{Compiled, Event, Load};

/// How often a failed engine is started over before it is given up.
const RESTART_TRIES: u32 = 6;

/// A job on its way to the worker.
pub struct Submission {
    /// The job.
    pub compiled: Compiled,
    /// Where its events go.
    pub events: UnboundedSender<Event>,
}

/// Serves submissions until their sender is gone, with schedulers that `start` makes. Says on `ready` whether the first
/// could be made. What does not start over at once is tried again after a `pause`, and after twice as long each time.
///
/// An error or a panic of the engine fails what is in flight, and a new scheduler takes over. An abort of the C++ side
/// ends the process: that is the supervisor's part.
pub fn run<B: Backend>(
    start: impl Fn() -> Result<Scheduler<B>, String>,
    inbox: &mpsc::Receiver<Submission>,
    shared: &Shared,
    ready: &mpsc::Sender<Result<(), String>>,
    pause: Duration,
) {
    let mut scheduler = match start() {
        Ok(scheduler) => scheduler,
        Err(reason) => {
            let _ = ready.send(Err(reason));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let mut restarts = 0;
    loop {
        let turn = catch_unwind(AssertUnwindSafe(|| turn(&mut scheduler, inbox, shared)));
        let reason = match turn.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
            Ok(Turn::Go) => {
                shared.show(Load { restarts, ..scheduler.load() });
                continue;
            }
            Ok(Turn::Leave) => return,
            Err(reason) => reason,
        };
        tracing::error!(reason, "the engine failed; failing the requests in flight and restarting it");
        restarts += 1;
        shared.show(Load { restarts, ..Load::default() });
        scheduler.fail_all(&reason);
        // Gone before the next one is made: there may not be room for two.
        drop(scheduler);
        let Some(fresh) = start_over(&start, pause) else {
            tracing::error!("the engine cannot be restarted");
            return;
        };
        scheduler = fresh;
    }
}

enum Turn {
    Go,
    Leave,
}

/// Takes what was submitted, waiting for it when there is nothing else to do, and runs one step.
fn turn<B: Backend>(
    scheduler: &mut Scheduler<B>,
    inbox: &mpsc::Receiver<Submission>,
    shared: &Shared,
) -> Result<Turn, String> {
    let first = match scheduler.idle().then(|| inbox.recv()) {
        Some(Err(_)) => return Ok(Turn::Leave),
        first => first.and_then(Result::ok),
    };
    for Submission { compiled, events } in first.into_iter().chain(inbox.try_iter()) {
        shared.received();
        scheduler.submit(compiled, events);
    }
    let _step = shared.step();
    scheduler.step().map(|()| Turn::Go)
}

fn start_over<B: Backend>(start: &impl Fn() -> Result<Scheduler<B>, String>, pause: Duration) -> Option<Scheduler<B>> {
    (0..RESTART_TRIES).find_map(|tries| {
        if tries > 0 {
            std::thread::sleep(pause * 2_u32.pow(tries - 1));
        }
        let started = catch_unwind(AssertUnwindSafe(start));
        match started.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
            Ok(scheduler) => Some(scheduler),
            Err(reason) => {
                tracing::error!(reason, tries, "the engine could not be restarted");
                None
            }
        }
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::tests::{Fake, LIMITS, finish, job, judging};
    use super::*;
    use crate::engine::{EngineError, Run};
    use crate::script::toy::Toy;

    /// A worker whose first backend fails as told, and the number of schedulers that were made.
    fn worker(fails: Fails) -> (mpsc::Sender<Submission>, Arc<Shared>, Arc<AtomicUsize>, std::thread::JoinHandle<()>) {
        let ((submissions, inbox), (ready, started)) = (mpsc::channel(), mpsc::channel());
        let (shared, made) = (Arc::new(Shared::default()), Arc::new(AtomicUsize::new(0)));
        let thread = std::thread::spawn({
            let (shared, made) = (Arc::clone(&shared), Arc::clone(&made));
            move || {
                let start = || match (made.fetch_add(1, Ordering::SeqCst), fails) {
                    (1.., Fails::ForGood) => Err("no room".into()),
                    (n, _) => {
                        let panics = fails == Fails::Panicking;
                        let backend = Fake::failing(n == 0 && !panics, n == 0 && panics);
                        Ok(Scheduler::new(backend, Arc::new(Toy), LIMITS))
                    }
                };
                run(start, &inbox, &shared, &ready, Duration::ZERO);
            }
        });
        started.recv().unwrap().unwrap();
        (submissions, shared, made, thread)
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Fails {
        Once,
        Panicking,
        ForGood,
    }

    fn submit(submissions: &mpsc::Sender<Submission>, shared: &Shared) -> Run {
        let (events, run) = Run::channel();
        shared.sent();
        // A worker that is gone closes the run.
        let _ = submissions.send(Submission { compiled: job("x", judging(3), false), events });
        run
    }

    #[test]
    fn a_failure_fails_what_is_in_flight_and_no_more() {
        for (fails, reason) in [(Fails::Once, "out of order"), (Fails::Panicking, "out of its mind")] {
            let (submissions, shared, made, thread) = worker(fails);
            assert_eq!(finish(submit(&submissions, &shared)), Err(EngineError::Failed(reason.into())));
            assert_eq!(shared.load().restarts, 1);
            assert!(finish(submit(&submissions, &shared)).is_ok(), "the next one runs on a fresh scheduler");
            assert_eq!(made.load(Ordering::SeqCst), 2);
            drop(submissions);
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_step_that_does_not_end_can_be_seen() {
        let ((submissions, inbox), (ready, started)) = (mpsc::channel(), mpsc::channel());
        let (release, held) = mpsc::channel::<()>();
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let (shared, held) = (Arc::clone(&shared), Arc::new(std::sync::Mutex::new(held)));
            move || {
                let start = || Ok(Scheduler::new(Fake::holding(Arc::clone(&held)), Arc::new(Toy), LIMITS));
                run(start, &inbox, &shared, &ready, Duration::ZERO);
            }
        });
        started.recv().unwrap().unwrap();
        assert_eq!(shared.stepping(), None);
        let judged = submit(&submissions, &shared);
        while shared.stepping().is_none_or(|time| time < Duration::from_millis(1)) {
            std::thread::yield_now();
        }
        drop(release);
        assert!(finish(judged).is_ok());
        drop(submissions);
        thread.join().unwrap();
        assert_eq!(shared.stepping(), None);
    }

    #[test]
    fn an_engine_that_cannot_start_over_is_given_up() {
        let (submissions, shared, made, thread) = worker(Fails::ForGood);
        assert!(finish(submit(&submissions, &shared)).is_err());
        thread.join().unwrap();
        assert_eq!(made.load(Ordering::SeqCst), 1 + RESTART_TRIES as usize);
        assert_eq!(finish(submit(&submissions, &shared)), Err(EngineError::Stopped));
    }
}
