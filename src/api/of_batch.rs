//! The mark of requests that are lines of batches.

use std::sync::Arc;

use actix_web::{HttpMessage, HttpRequest};

/// Marks a request as the line of a batch, and names the API key of the batch; empty if keys were off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OfBatch(Arc<str>);

impl OfBatch {
    /// The mark for a batch of a key.
    pub(super) fn of(owner: &str) -> Self {
        Self(Arc::from(owner))
    }

    /// The mark of a request.
    pub(super) fn mark(request: &HttpRequest) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// The API key of the batch.
    pub(super) fn owner(&self) -> &str {
        &self.0
    }

    /// The caller that its lines count as: batches take turns with the requests of their key.
    pub(super) fn caller(&self) -> String {
        format!("batches of {}", self.0)
    }
}
