//! The load of an engine's worker, shared with other threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Load;

/// The load of a worker, and the number of jobs in its inbox.
#[derive(Default)]
pub struct Shared {
    load: Mutex<Load>,
    queued: AtomicUsize,
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
