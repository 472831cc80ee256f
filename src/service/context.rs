//! The context of a request, from the API to the engine: its caller and its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::fair_queue::Flow;

/// A request that is being served.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The caller and request, for fairness in admission and engines.
    pub flow: Flow,
    /// The deadline.
    pub deadline: Deadline,
}

/// The time limit of a request, from its arrival.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    allowed: Duration,
    started: Instant,
}

/// The deadline of a request has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline of {} ms has passed", .0.as_millis())]
pub struct DeadlinePassed(Duration);

impl RequestContext {
    /// The context of a request; `request` is unique within the process.
    #[must_use]
    pub fn new(caller: &str, request: u64, deadline: Deadline) -> Self {
        Self { flow: Flow { caller: Arc::from(caller), request }, deadline }
    }
}

impl Deadline {
    /// A deadline from now.
    #[must_use]
    pub fn after(allowed: Duration) -> Self {
        Self::since(Instant::now(), allowed)
    }

    /// A deadline from the arrival of the request.
    #[must_use]
    pub fn since(started: Instant, allowed: Duration) -> Self {
        Self { allowed, started }
    }

    /// The remaining time.
    #[must_use]
    pub fn left(self) -> Duration {
        self.allowed.saturating_sub(self.started.elapsed())
    }

    /// The instant of the deadline; `None` if it is too far in the future to represent.
    #[must_use]
    pub fn at(self) -> Option<Instant> {
        self.started.checked_add(self.allowed)
    }

    /// The elapsed time of the request.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    /// Checks that the deadline has not passed.
    ///
    /// # Errors
    /// [`DeadlinePassed`].
    pub fn check(self) -> Result<(), DeadlinePassed> {
        if self.left() > Duration::ZERO { Ok(()) } else { Err(DeadlinePassed(self.allowed)) }
    }

    /// Runs work until the deadline passes.
    ///
    /// # Errors
    /// [`DeadlinePassed`].
    pub async fn within<T>(self, work: impl Future<Output = T>) -> Result<T, DeadlinePassed> {
        tokio::time::timeout(self.left(), work).await.map_err(|_| DeadlinePassed(self.allowed))
    }
}
