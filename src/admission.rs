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
        self.take(self.queue).await.ok_or(Refusal::Saturated(self.queue))
    }

    /// Waits for a place for a part of a request that has been taken already: it is never refused, but it counts as
    /// waiting, so that others are.
    pub async fn enter_in_turn(&self) -> Permit {
        self.take(usize::MAX).await.expect("there are as many places as numbers")
    }

    /// A permit, waited for if fewer than `most` wait already.
    async fn take(&self, most: usize) -> Option<Permit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(Permit { _permit: permit });
        }
        let place = Place::take(&self.waiting, most)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        drop(place);
        Some(Permit { _permit: permit.expect("the semaphore is never closed") })
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

    #[tokio::test]
    async fn parts_of_a_request_wait_as_long_as_they_must() {
        let admission = Admission::new(1, 1);
        let first = admission.enter().await.unwrap();
        let mut parts: Vec<_> = (0..3).map(|_| Box::pin(admission.enter_in_turn())).collect();
        for part in &mut parts {
            assert!(futures::poll!(part).is_pending());
        }
        assert_eq!(admission.waiting(), 3, "more than the queue has places");
        assert_eq!(admission.enter().await.unwrap_err(), Refusal::Saturated(1));
        admission.close();
        drop(first);
        for part in parts {
            drop(part.await);
        }
        assert_eq!(admission.waiting(), 0);
    }
}
