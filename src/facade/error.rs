//! The error type of the library.

use crate::config::ConfigError;
use crate::domain::spelling::suggestion;
use crate::domain::{InvalidRequest, InvalidVerdict};
use crate::engine::EngineError;
use crate::pictures::CannotOpen;
use crate::prompts::PromptError;
use crate::rubrics::LibraryError;
use crate::service::admission::Refusal;
use crate::service::registry::{RegistryError, StartError};
use crate::service::{DeadlinePassed, ServiceError};
use crate::tasks::TaskError;

/// Why a [`Gavel`](crate::Gavel) cannot be built, or a request fails.
///
/// ```
/// use gavel::{EngineChoice, Error, Gavel};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Error> {
/// let gavel = Gavel::builder().engine(EngineChoice::Scripted).build().await?;
/// match gavel.absolute("Why is the sky blue?", "Because of the sea.").rubric("helpfullness").await {
///     Err(Error::UnknownRubric { name, known }) => {
///         assert_eq!(name, "helpfullness");
///         assert!(known.contains("helpfulness"));
///     }
///     other => panic!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings of the builder or of its file are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model is not available, its engine cannot start, or a prompt set is invalid.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A field of the request is out of range, or conflicts with another.
    #[error("{}: {}", .0.pointer, .0.reason)]
    Invalid(#[from] InvalidRequest),
    /// The rubric does not exist.
    #[error("there is no rubric `{name}`; there are: {known}")]
    UnknownRubric {
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// The prompt set does not exist.
    #[error("there is no prompt set `{name}`; there are: {known}")]
    UnknownPromptSet {
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// The model does not exist.
    #[error("there is no model `{name}`{}; there are: {known}", suggestion(name, known.split(", ")))]
    UnknownModel {
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// The model is not available: it is loading, cannot be loaded, or its engine has died.
    #[error(transparent)]
    ModelUnavailable(RegistryError),
    /// The prompt cannot be rendered: the prompt set does not support a field, or the chat template the conversation.
    #[error(transparent)]
    Prompt(PromptError),
    /// Prompt and answer do not fit the model's context. Prompts are never truncated.
    #[error("{error}")]
    TooLong {
        /// The number of tokens, and the limit.
        error: EngineError,
        /// The field with the longest text, which to shorten; empty if unknown.
        longest: String,
    },
    /// A picture of the request is not accepted.
    #[error(transparent)]
    Picture(CannotOpen),
    /// The queue is full (`limits.queue`).
    #[error(transparent)]
    Refused(Refusal),
    /// The deadline has passed.
    #[error(transparent)]
    Deadline(DeadlinePassed),
    /// The engine failed; a retry may help.
    #[error(transparent)]
    Engine(EngineError),
    /// The judgements cannot be combined into a verdict.
    #[error(transparent)]
    NoVerdict(InvalidVerdict),
    /// Too few jurors have a verdict; the text names each and its error.
    #[error("{0}")]
    NoQuorum(String),
}

impl From<ServiceError> for Error {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::NoQuorum { .. } => Self::NoQuorum(error.to_string()),
            ServiceError::Registry(RegistryError::Unknown { name, known }) => Self::UnknownModel { name, known },
            ServiceError::Registry(error) => Self::ModelUnavailable(error),
            ServiceError::Task(TaskError::UnknownPrompt { name, known }) => Self::UnknownPromptSet { name, known },
            ServiceError::Task(TaskError::Prompt(error)) => Self::Prompt(error),
            ServiceError::Task(TaskError::Invalid(error)) => Self::Invalid(error),
            ServiceError::Task(TaskError::Verdict(error)) => Self::NoVerdict(error),
            ServiceError::TooLong { error, longest, .. } => Self::TooLong { error, longest },
            ServiceError::Engine(error @ EngineError::ContextOverflow { .. }) => {
                Self::TooLong { error, longest: String::new() }
            }
            ServiceError::Engine(error) => Self::Engine(error),
            ServiceError::Picture(error) => Self::Picture(error),
            ServiceError::Refused(error) => Self::Refused(error),
            ServiceError::CutOff(_) => Self::Refused(Refusal::ShuttingDown),
            ServiceError::Deadline(error) => Self::Deadline(error),
        }
    }
}

impl From<LibraryError> for Error {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::Unknown { name, known } => Self::UnknownRubric { name, known },
            other => Self::Invalid(InvalidRequest::at("/rubric", other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Mode;

    #[test]
    fn every_reason_keeps_its_words() {
        let overflow = EngineError::ContextOverflow {
            model: "small".into(),
            prompt_tokens: 9,
            at_least: false,
            context: 8,
            reserved: 2,
        };
        let unknown = |name: &str| (name.to_owned(), "a, b".to_owned());
        let (name, known) = unknown("c");
        let task = |error: TaskError| ServiceError::Task(error);
        let check = |error: ServiceError, expected: fn(&Error) -> bool| {
            let said = error.to_string();
            let error = Error::from(error);
            assert!(expected(&error), "{error:?}");
            assert!(error.to_string().ends_with(&said), "{error}: {said}");
        };
        check(
            RegistryError::Unknown { name: name.clone(), known: known.clone() }.into(),
            |e| matches!(e, Error::UnknownModel { name, .. } if name == "c"),
        );
        check(RegistryError::Loading.into(), |e| matches!(e, Error::ModelUnavailable(_)));
        check(task(TaskError::UnknownPrompt { name, known }), |e| matches!(e, Error::UnknownPromptSet { .. }));
        check(task(InvalidRequest::at("/samples", "is 0").into()), |e| matches!(e, Error::Invalid(_)));
        check(task(InvalidVerdict::Empty.into()), |e| matches!(e, Error::NoVerdict(_)));
        check(
            ServiceError::TooLong { error: overflow.clone(), longest: "/response".into(), mode: Mode::Feedback },
            |e| matches!(e, Error::TooLong { longest, .. } if longest == "/response"),
        );
        check(overflow.into(), |e| matches!(e, Error::TooLong { longest, .. } if longest.is_empty()));
        check(EngineError::Stopped.into(), |e| matches!(e, Error::Engine(_)));
        check(Refusal::Saturated(3).into(), |e| matches!(e, Error::Refused(_)));
    }
}
