//! The load of an engine's worker, shared with other threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Load;

/// The load of a worker, and the number of jobs in its inbox.
#[derive(Default)]
pub struct Shared {
    load: Mutex<Load>,
    queued: AtomicUsize,
    /// When the step began that the model computes now.
    step: Mutex<Option<Instant>>,
}

/// A step of the model, until it is dropped.
pub struct Stepping<'a>(&'a Shared);

impl Drop for Stepping<'_> {
    fn drop(&mut self) {
        *self.0.step.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Shared {
    /// A job was sent.
    pub fn sent(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// A job was received.
    pub fn received(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }

    /// A step of the model begins.
    pub fn step(&self) -> Stepping<'_> {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Stepping(self)
    }

    /// How long the current step has taken so far; `None` between steps.
    pub fn stepping(&self) -> Option<Duration> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner).map(|began| began.elapsed())
    }

    /// Publishes the worker's load.
    pub fn show(&self, load: Load) {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
    }

    /// The worker's load, including the jobs in its inbox.
    pub fn load(&self) -> Load {
        let load = *self.load.lock().unwrap_or_else(PoisonError::into_inner);
        Load { waiting: load.waiting + self.queued.load(Ordering::Relaxed), ..load }
    }
}
