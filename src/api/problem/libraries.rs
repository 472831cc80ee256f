//! Errors of the libraries that requests name things of. What is wrong with a file is for the log: it may name its path.

use super::{Code, Problem};
use crate::annotators::AnnotatorError;
use crate::example_sets::ExampleSetError;

impl From<AnnotatorError> for Problem {
    fn from(error: AnnotatorError) -> Self {
        match error {
            AnnotatorError::Unknown { .. } => Self::new(Code::InvalidRequest, error.to_string()),
            AnnotatorError::File { .. } => {
                tracing::error!(%error, "the file of an annotator is invalid");
                Self::new(Code::Internal, "the annotator's file is invalid; the server's log has the reason")
            }
        }
    }
}

impl From<ExampleSetError> for Problem {
    fn from(error: ExampleSetError) -> Self {
        match error {
            ExampleSetError::Unknown { .. } => Self::new(Code::InvalidRequest, error.to_string()),
            ExampleSetError::File { .. } => {
                tracing::error!(%error, "the file of an example set is invalid");
                Self::new(Code::Internal, "the file of the example set is invalid; the server's log has the reason")
            }
        }
    }
}
