//! Errors of the API (RFC 9457). The only file that maps errors to codes, and so to HTTP statuses.

mod jobs;
mod libraries;
mod pictures;
mod reports;

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::{Deserialize, Serialize};

pub use super::code::Code;
use super::detail::{AnswerLimit, shortened};
use crate::domain::{InvalidRequest, InvalidRubric, InvalidVerdict, Mode, Unscored};
use crate::engine::EngineError;
use crate::prompts::PromptError;
use crate::rubrics::LibraryError;
use crate::script::InvalidScript;
use crate::service::admission::Refusal;
use crate::service::registry::{LoadFailure, RegistryError};
use crate::service::{DeadlinePassed, ServiceError};
use crate::tasks::TaskError;

/// Maximum length of a detail or a pointer, in characters.
const LONGEST_DETAIL: usize = 2_000;

/// An error for a caller.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    detail: String,
    pointer: Option<String>,
    form: Option<ErrorFormat>,
    /// Seconds until a retry may help, if known.
    again: Option<u64>,
}

/// The JSON of a problem.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProblemBody {
    /// URL of the code's row in docs/errors.md.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The meaning of the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// The error of this request.
    pub detail: String,
    /// JSON pointer to the invalid field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The id of the request, as in the `X-Request-Id` header.
    pub request_id: String,
}

/// The error format of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    /// RFC 9457.
    Problem,
    /// OpenAI's format, which vLLM uses, too.
    OpenAi,
    /// The format of text-embeddings-inference.
    Tei,
}

/// Prefixes of routes with OpenAI's error format.
const OPENAI: [&str; 19] = [
    "/v1/files",
    "/v1/batches",
    "/v1/chat/",
    "/v1/completions",
    "/v1/responses",
    "/tokenize",
    "/detokenize",
    "/v1/models/",
    "/v1/decisions",
    "/v1/systemone",
    "/v1/fine_tuning/",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/classify",
    "/v1/classify",
    "/score",
    "/v1/score",
    "/v1/embeddings",
];

impl ErrorFormat {
    /// The error format of a path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        match path {
            "/predict" => Self::Tei,
            _ if OPENAI.iter().any(|route| path.starts_with(route)) => Self::OpenAi,
            _ => Self::Problem,
        }
    }
}

/// The JSON of an error in OpenAI's format.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct OpenAiError {
    error: OpenAiErrorBody,
}

/// The error object of OpenAI's format.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct OpenAiErrorBody {
    /// The error of this request.
    message: String,
    /// The class of the error.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The invalid field, with dots.
    param: Option<String>,
    /// The stable code, as in docs/errors.md.
    code: &'static str,
}

/// The JSON of an error of text-embeddings-inference.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TeiError {
    /// The error of this request.
    error: String,
    /// `Validation`, `Overloaded`, `Unhealthy` or `Backend`.
    error_type: &'static str,
}

impl Problem {
    /// A problem with a code and a detail.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: shortened(detail.into(), '`', LONGEST_DETAIL), pointer: None, form: None, again: None }
    }

    /// Sets the error format, if it does not depend on the path alone.
    #[must_use]
    pub fn in_form(self, form: ErrorFormat) -> Self {
        Self { form: Some(form), ..self }
    }

    /// The error format on a path.
    #[must_use]
    pub fn form(&self, path: &str) -> ErrorFormat {
        self.form.unwrap_or_else(|| ErrorFormat::of(path))
    }

    /// Sets the pointer to the invalid field.
    #[must_use]
    pub fn at(self, pointer: impl Into<String>) -> Self {
        Self { pointer: Some(shortened(pointer.into(), '/', LONGEST_DETAIL)), ..self }
    }

    /// Sets the time until a retry may help.
    #[must_use]
    pub(super) fn again(self, wait: Duration) -> Self {
        Self { again: Some(wait.as_secs() + 1), ..self }
    }

    /// Prefixes the pointer with `base`, such as `/items/3`.
    #[must_use]
    pub fn within(self, base: &str) -> Self {
        let inside = self.pointer.as_deref().unwrap_or_default();
        let pointer = format!("{base}{inside}");
        self.at(pointer)
    }

    /// Marks it as the first of several: the problem of item `index`, where `failed` of `all` items failed.
    #[must_use]
    pub fn of_many(self, index: usize, failed: usize, all: usize) -> Self {
        let detail = format!("{failed} of {all} items have no reward; item {index}: {}", self.detail);
        Self { detail, ..self }
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The JSON pointer to the invalid field, if there is one.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        self.pointer.as_deref()
    }

    /// The detail.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The JSON, for a server at `base` such as `http://localhost:8080`.
    #[must_use]
    pub fn body(&self, base: &str, request_id: &str) -> ProblemBody {
        let (_, name, status, title, _) = *self.code.row();
        ProblemBody {
            type_uri: format!("{base}/docs/errors.md#{name}"),
            title: title.to_owned(),
            status,
            code: name.to_owned(),
            detail: self.detail.clone(),
            pointer: self.pointer.clone(),
            request_id: request_id.to_owned(),
        }
    }

    /// The JSON in OpenAI's format.
    #[must_use]
    pub fn openai(&self) -> OpenAiError {
        let kind = match self.code.status().as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        let param = self.pointer.as_ref().map(|pointer| pointer.trim_start_matches('/').replace('/', "."));
        let error = OpenAiErrorBody { message: self.detail.clone(), kind, param, code: self.code.name() };
        OpenAiError { error }
    }

    /// Status and JSON in the format of text-embeddings-inference, whose clients do not know 504 and `Retry-After`.
    fn tei(&self) -> (u16, TeiError) {
        let (status, error_type) = match self.code {
            Code::ContextOverflow | Code::PayloadTooLarge => (413, "Validation"),
            Code::Saturated | Code::RateLimited => (429, "Overloaded"),
            Code::ModelLoading | Code::ModelFailed | Code::ShuttingDown | Code::UpstreamUnavailable => {
                (503, "Unhealthy")
            }
            Code::EngineFailed | Code::UpstreamFailed | Code::DeadlineExceeded | Code::Internal => (424, "Backend"),
            _ => (self.code.status().as_u16(), "Validation"),
        };
        let at = self.pointer.as_ref().map(|pointer| format!("{pointer}: ")).unwrap_or_default();
        (status, TeiError { error: format!("{at}{} ({})", self.detail, self.code.name()), error_type })
    }

    /// The whole response.
    #[must_use]
    pub fn response(&self, form: ErrorFormat, base: &str, request_id: &str) -> HttpResponse {
        let (status, kind, body) = match form {
            ErrorFormat::Problem => {
                let body = serde_json::to_string(&self.body(base, request_id));
                (self.code.status(), "application/problem+json", body)
            }
            ErrorFormat::OpenAi => {
                // An invalid field is a 400 there; clients do not know 422.
                let status = Some(self.code.status()).filter(|status| *status != StatusCode::UNPROCESSABLE_ENTITY);
                (status.unwrap_or(StatusCode::BAD_REQUEST), "application/json", serde_json::to_string(&self.openai()))
            }
            ErrorFormat::Tei => {
                let (status, error) = self.tei();
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FAILED_DEPENDENCY);
                (status, "application/json", serde_json::to_string(&error))
            }
        };
        let mut response = HttpResponseBuilder::new(status).content_type(kind).body(body.expect("strings and numbers"));
        let usual = match self.code {
            Code::Saturated | Code::RateLimited | Code::ShuttingDown => Some(1),
            Code::ModelLoading => Some(2),
            _ => None,
        };
        if let Some(seconds) = self.again.or(usual) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::Unauthenticated {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)
    }
}

/// The middleware answers with [`Problem::response`]; actix needs this to pass the error to the middleware.
impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.response(ErrorFormat::Problem, "", "")
    }
}

impl From<InvalidRequest> for Problem {
    fn from(error: InvalidRequest) -> Self {
        Self::new(Code::InvalidRequest, error.reason).at(error.pointer)
    }
}

impl From<InvalidRubric> for Problem {
    fn from(error: InvalidRubric) -> Self {
        Self::new(Code::InvalidRubric, error.to_string())
    }
}

impl From<LibraryError> for Problem {
    fn from(error: LibraryError) -> Self {
        let code = match error {
            LibraryError::Unknown { .. } | LibraryError::Invalid { .. } => Code::UnknownRubric,
            LibraryError::Name(_) => Code::InvalidRequest,
            LibraryError::BuiltIn(_) => Code::Conflict,
            LibraryError::Write { .. } => Code::Internal,
        };
        if code == Code::Internal {
            tracing::error!(%error, "cannot write or delete a rubric file");
            return Self::new(
                code,
                "the rubric's file could not be written or deleted; the server's log has the reason",
            );
        }
        Self::new(code, error.to_string())
    }
}

impl From<DeadlinePassed> for Problem {
    fn from(passed: DeadlinePassed) -> Self {
        ServiceError::from(passed).into()
    }
}

impl From<Unscored> for Problem {
    fn from(unscored: Unscored) -> Self {
        Self::new(Code::LowLabelMass, unscored.to_string())
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let detail = error.to_string();
        match error {
            ServiceError::Registry(error) => match error {
                RegistryError::Unknown { .. } => Self::new(Code::UnknownModel, detail).at("/model"),
                RegistryError::Failed(LoadFailure::NoRoom(_)) => Self::new(Code::Saturated, detail),
                RegistryError::Failed(LoadFailure::NeverFits(_)) => Self::new(Code::ModelFailed, detail),
                RegistryError::Loading => Self::new(Code::ModelLoading, detail),
                RegistryError::Failed(LoadFailure::Unusable { again, .. }) => {
                    let problem = Self::new(Code::ModelFailed, detail);
                    again.into_iter().fold(problem, Self::again)
                }
            },
            ServiceError::Refused(Refusal::Saturated(_)) => Self::new(Code::Saturated, detail),
            ServiceError::Refused(Refusal::ShuttingDown) | ServiceError::CutOff(_) => {
                Self::new(Code::ShuttingDown, detail)
            }
            ServiceError::Picture(error) => error.into(),
            ServiceError::Deadline(_) => Self::new(Code::DeadlineExceeded, detail),
            // Of the kind of the first juror's error; the detail has those of all.
            ServiceError::NoQuorum { failed, .. } => match failed.into_iter().next() {
                Some((_, first)) => Self { detail: Self::new(Code::Internal, detail).detail, ..first.into() },
                None => Self::new(Code::Internal, detail),
            },
            ServiceError::TooLong { error, longest, mode } => {
                let limit = match mode {
                    Mode::Feedback => AnswerLimit::Field("max_feedback_tokens"),
                    Mode::Score => AnswerLimit::Fixed,
                };
                Self::new(Code::ContextOverflow, limit.overflow(&error)).at(longest)
            }
            ServiceError::Task(TaskError::UnknownPrompt { .. }) => {
                Self::new(Code::InvalidRequest, detail).at("/prompt")
            }
            ServiceError::Task(TaskError::Prompt(PromptError::Unsupported { pointer, .. })) => {
                Self::new(Code::UnsupportedContent, detail).at(pointer)
            }
            ServiceError::Task(TaskError::Prompt(PromptError::NoPictures { pointer, .. })) => {
                Self::new(Code::UnsupportedContent, detail).at(pointer)
            }
            ServiceError::Task(TaskError::Prompt(PromptError::NoKind { .. })) => {
                Self::new(Code::UnsupportedContent, detail).at("/prompt")
            }
            ServiceError::Task(TaskError::Prompt(error)) => {
                tracing::error!(%error, "a prompt cannot be rendered");
                Self::new(Code::Internal, "the prompt could not be rendered; the server's log has the reason")
            }
            ServiceError::Task(TaskError::Invalid(error)) => error.into(),
            ServiceError::Task(TaskError::Verdict(InvalidVerdict::NoList)) => {
                Self::new(Code::InvalidRequest, detail).at("/sampling/max_feedback_tokens")
            }
            ServiceError::Task(TaskError::Verdict(error)) => {
                tracing::error!(%error, "judgements that cannot be combined");
                Self::new(
                    Code::Internal,
                    "the judgements could not be combined into a verdict; the server's log has the reason",
                )
            }
            ServiceError::Engine(error) => match error {
                EngineError::ContextOverflow { .. } => {
                    let detail = AnswerLimit::Field("max_feedback_tokens").overflow(&error);
                    Self::new(Code::ContextOverflow, detail)
                }
                EngineError::EmptyPrompt | EngineError::UnknownToken { .. } => Self::new(Code::InvalidRequest, detail),
                EngineError::Unseen(unseen) => Self::new(Code::UnsupportedContent, detail).at(&*unseen.pointer),
                EngineError::InvalidScript(InvalidScript::BadGrammar(_)) => {
                    Self::new(Code::InvalidRequest, detail).at("/response_format")
                }
                EngineError::InvalidScript(_) => Self::new(Code::Internal, detail),
                EngineError::TooLate => Self::new(Code::DeadlineExceeded, detail),
                EngineError::Step(_) | EngineError::Failed(_) | EngineError::Stopped => {
                    Self::new(Code::EngineFailed, detail)
                }
                EngineError::NotSupported { .. } => Self::new(Code::UnsupportedContent, detail),
                // Addresses of servers are not for callers.
                EngineError::Unavailable { why, retry_after } => {
                    tracing::warn!(why, "the model server is not available");
                    Self::new(Code::UpstreamUnavailable, detail).again(retry_after)
                }
                EngineError::Refused { url, .. } => {
                    tracing::warn!(url, detail, "the model server refused a request");
                    Self::new(Code::UpstreamFailed, detail)
                }
                EngineError::Untrusted(_) => {
                    tracing::error!(detail, "the model server sent an invalid reply");
                    Self::new(Code::UpstreamFailed, detail)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_callers_are_cut() {
        let long = |count: usize| "ä".repeat(count);
        let check = |detail: String, pointer: String, expected: (&str, &str)| {
            let problem = Problem::new(Code::UnknownField, detail).at("").at(pointer).within("/items/3");
            let body = problem.body("", "");
            assert_eq!((body.detail.as_str(), body.pointer.as_deref().unwrap()), expected);
        };
        let cut = format!("{}…", long(99));
        check("`a` is not known".into(), "/a".into(), ("`a` is not known", "/items/3/a"));
        check(
            format!("there is no `{}`; there are: `b`, {}", long(1 << 20), long(120)),
            format!("/{}/b", long(1 << 20)),
            (&format!("there is no `{cut}`; there are: `b`, {}", long(120)), &format!("/items/3/{cut}/b")),
        );
        let open = format!("a ` and {}", long(200));
        check(open.clone(), format!("/{}", long(100)), (&open, &format!("/items/3/{}", long(100))));
        let hostile = Problem::new(Code::UnknownModel, format!("no `{}`", "a` b`".repeat(10_000)));
        assert_eq!(hostile.detail().chars().count(), LONGEST_DETAIL);
    }

    #[test]
    fn an_overflow_names_what_the_request_can_change() {
        let check = |limit: AnswerLimit, prompt_tokens, expected: &str| {
            let (model, at_least) = ("small".into(), prompt_tokens > 9);
            let error = EngineError::ContextOverflow { model, prompt_tokens, at_least, context: 8, reserved: 2 };
            assert_eq!(limit.overflow(&error), expected);
        };
        let field = AnswerLimit::Field("max_tokens");
        check(
            field,
            7,
            "The prompt has 7 tokens; small takes 8 minus 2 for the answer (max_tokens). Shorten the texts or lower \
             max_tokens.",
        );
        check(
            field,
            99,
            "The prompt has at least 99 tokens; small takes 8 minus 2 for the answer (max_tokens). Shorten the texts.",
        );
        check(AnswerLimit::Context, 9, "The prompt has 9 tokens; small takes 8 with the answer. Shorten the texts.");
        let few = "The prompt has 7 tokens; small takes 8 minus 2 for the answer. Shorten the texts.";
        check(AnswerLimit::Fixed, 7, few);
    }

    #[test]
    fn an_overflow_in_score_mode_does_not_name_the_length_of_feedback() {
        let detail = |mode| {
            let (model, at_least) = ("small".into(), false);
            let error = EngineError::ContextOverflow { model, prompt_tokens: 7, at_least, context: 8, reserved: 2 };
            Problem::from(ServiceError::TooLong { error, longest: "/response".into(), mode }).detail().to_owned()
        };
        assert!(detail(Mode::Feedback).ends_with("Shorten the texts or lower max_feedback_tokens."));
        let score = detail(Mode::Score);
        assert!(score.ends_with("8 minus 2 for the answer. Shorten the texts."), "{score}");
    }
}
