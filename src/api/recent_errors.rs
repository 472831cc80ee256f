//! The last requests that were refused or failed.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use utoipa::ToSchema;

use crate::keys::Moment;

/// How many are kept. Older ones are in the log.
const KEPT: usize = 200;

/// The last errors of this process, oldest first. Nothing that was sent is in them.
#[derive(Debug, Default)]
pub(super) struct RecentErrors(Mutex<VecDeque<RecentError>>);

/// A request that was refused or failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct RecentError {
    /// When it was answered (RFC 3339).
    pub(super) at: String,
    pub(super) request_id: String,
    pub(super) method: &'static str,
    /// The route, with its parameters by name; `unmatched` for a path that is none.
    pub(super) route: String,
    pub(super) status: u16,
    /// A code of docs/errors.md.
    pub(super) code: &'static str,
    /// The name of its API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
}

impl RecentErrors {
    pub(super) fn push(&self, error: RecentError) {
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() == KEPT {
            errors.pop_front();
        }
        errors.push_back(error);
    }

    /// Those that a filter lets through, newest first.
    pub(super) fn newest(&self, shown: impl Fn(&RecentError) -> bool) -> Vec<RecentError> {
        let errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        errors.iter().rev().filter(|error| shown(error)).cloned().collect()
    }
}

/// The time, as an error has it.
pub(super) fn now() -> String {
    Moment::of(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept() {
        let errors = RecentErrors::default();
        for n in 0..KEPT + 5 {
            let error = RecentError {
                at: now(),
                request_id: n.to_string(),
                method: "POST",
                route: "/v1/rank".to_owned(),
                status: 422,
                code: "invalid_request",
                key: (n % 2 == 0).then(|| "even".to_owned()),
            };
            errors.push(error);
        }
        let all = errors.newest(|_| true);
        assert_eq!((all.len(), all[0].request_id.as_str(), all[KEPT - 1].request_id.as_str()), (KEPT, "204", "5"));
        assert_eq!(errors.newest(|error| error.key.is_some())[0].request_id, "204");
        assert_eq!(errors.newest(|error| error.key.is_none())[0].request_id, "203");
    }
}
