//! What travels with a request from the door to the engine: whose it is, and how long it may take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::fair_queue::Flow;

/// A request that is being served.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Whose it is; what admission and engines are fair by.
    pub flow: Flow,
    /// How long it may take.
    pub deadline: Deadline,
}

/// How long a request may take, counted from when it came.
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
    /// A request of a caller; `request` is unique within the process.
    #[must_use]
    pub fn new(caller: &str, request: u64, deadline: Deadline) -> Self {
        Self { flow: Flow { caller: Arc::from(caller), request }, deadline }
    }
}

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn after(allowed: Duration) -> Self {
        Self::since(Instant::now(), allowed)
    }

    /// So long from when the request came.
    #[must_use]
    pub fn since(started: Instant, allowed: Duration) -> Self {
        Self { allowed, started }
    }

    /// What is left of it.
    #[must_use]
    pub fn left(self) -> Duration {
        self.allowed.saturating_sub(self.started.elapsed())
    }

    /// When it passes; `None` where that is too far away to be told.
    #[must_use]
    pub fn at(self) -> Option<Instant> {
        self.started.checked_add(self.allowed)
    }

    /// How long the request has taken so far.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    /// Whether there is time left.
    ///
    /// # Errors
    /// [`DeadlinePassed`].
    pub fn check(self) -> Result<(), DeadlinePassed> {
        if self.left() > Duration::ZERO { Ok(()) } else { Err(DeadlinePassed(self.allowed)) }
    }

    /// Works until the deadline passes.
    ///
    /// # Errors
    /// [`DeadlinePassed`].
    pub async fn within<T>(self, work: impl Future<Output = T>) -> Result<T, DeadlinePassed> {
        tokio::time::timeout(self.left(), work).await.map_err(|_| DeadlinePassed(self.allowed))
    }
}
