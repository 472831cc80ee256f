//! Errors of stored reports.

use super::{Code, Problem};
use crate::reports::ReportError;

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Unknown(_) | ReportError::Invalid { .. } => Self::new(Code::UnknownReport, error.to_string()),
            ReportError::Read { .. } => {
                tracing::error!(%error, "the folder of reports cannot be read");
                Self::new(Code::Internal, "the folder of reports cannot be read; the server's log has the reason")
            }
        }
    }
}
