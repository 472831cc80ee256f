//! Admission: how many requests are worked on, how many may wait, and when no more are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets a bounded number of requests in, and a bounded number wait, first come, first served.
pub struct Admission {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    closing: AtomicBool,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// As many wait as may.
    #[error("the server is busy, and all {0} places in its queue are taken; try again later")]
    Saturated(usize),
    /// The server is about to leave.
    #[error("the server is shutting down; try another one, or again later")]
    ShuttingDown,
}

/// The right to be worked on; dropping it lets the next one in.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// Lets `in_flight` requests be worked on at once, and `queue` more wait.
    #[must_use]
    pub fn new(in_flight: usize, queue: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(in_flight)),
            waiting: AtomicUsize::new(0),
            queue,
            closing: AtomicBool::new(false),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// At once, when the queue is full or the server is shutting down.
    pub async fn enter(&self) -> Result<Permit, Refusal> {
        self.check()?;
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(Permit { _permit: permit });
        }
        let place = Place::take(&self.waiting, self.queue).ok_or(Refusal::Saturated(self.queue))?;
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        drop(place);
        Ok(Permit { _permit: permit.expect("the semaphore is never closed") })
    }

    /// Says at once whether a request would be turned away.
    ///
    /// # Errors
    /// When the queue is full or the server is shutting down.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.closing() {
            return Err(Refusal::ShuttingDown);
        }
        let full = self.permits.available_permits() == 0 && self.waiting() >= self.queue;
        if full { Err(Refusal::Saturated(self.queue)) } else { Ok(()) }
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes no more requests; those that wait are still let in.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether no more requests are taken.
    #[must_use]
    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

/// A place in the queue, given back when the request gets in or goes away.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let taken = waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < most).then_some(n + 1));
        // Built only where a place was taken: dropping it gives one back.
        taken.is_ok().then(|| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_queue_is_bounded_and_first_come_first_served() {
        let admission = Admission::new(1, 1);
        let first = admission.enter().await.unwrap();
        let mut second = Box::pin(admission.enter());
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(admission.enter().await.unwrap_err(), Refusal::Saturated(1));
        assert_eq!(admission.waiting(), 1);
        drop(first);
        let second = second.await.unwrap();
        assert_eq!(admission.waiting(), 0);
        let mut third = Box::pin(admission.enter());
        assert!(futures::poll!(&mut third).is_pending());
        drop(third);
        assert_eq!(admission.waiting(), 0, "one that goes away leaves the queue");
        admission.close();
        assert_eq!(admission.enter().await.unwrap_err(), Refusal::ShuttingDown);
        drop(second);
    }
}
