//! Errors of pictures.

use super::{Code, Problem};
use crate::pictures::{BadPicture, CannotOpen};

impl Problem {
    /// The problem of a picture that is not accepted, at the part of the request that has it.
    #[must_use]
    pub fn of_picture(reason: &BadPicture, at: &str) -> Self {
        let code = if reason.is_unsupported() { Code::UnsupportedContent } else { Code::InvalidRequest };
        Self::new(code, reason.to_string()).at(at)
    }
}

impl From<CannotOpen> for Problem {
    fn from(error: CannotOpen) -> Self {
        match &error {
            CannotOpen::Bad { pointer, reason } => Self::of_picture(reason, pointer),
            CannotOpen::TooLarge { pointer, .. } => Self::new(Code::InvalidRequest, error.to_string()).at(&**pointer),
            CannotOpen::NoMemory => Self::new(Code::Saturated, error.to_string()),
        }
    }
}
