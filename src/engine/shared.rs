//! What the worker of an engine lets others see.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Load;

/// How busy a worker is, and how many jobs are on their way to it.
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

    /// The worker's own account.
    pub fn show(&self, load: Load) {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
    }

    /// The worker's account, with the jobs that it has not seen yet.
    pub fn load(&self) -> Load {
        let load = *self.load.lock().unwrap_or_else(PoisonError::into_inner);
        Load { waiting: load.waiting + self.queued.load(Ordering::Relaxed), ..load }
    }
}
