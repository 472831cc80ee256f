//! What is told of the requests to servers.

use std::time::Duration;

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// The server refused it.
    Refused,
    /// The reply could not be used.
    Untrusted,
    /// It failed, or was too late.
    Failed,
}

impl Outcome {
    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Untrusted => "untrusted",
            Self::Failed => "failed",
        }
    }
}

/// Takes notice of requests to servers. `()` does not.
pub trait Observer: Send + Sync {
    /// A request has ended. `op` is `read`, `generate`, `prompt_logprobs` or `probe`.
    fn request(&self, _url: &str, _op: &'static str, _outcome: Outcome, _took: Duration) {}

    /// A request is sent again.
    fn retry(&self, _url: &str) {}

    /// A server is left out for a time, or is used again.
    fn breaker(&self, _url: &str, _open: bool) {}
}

impl Observer for () {}
