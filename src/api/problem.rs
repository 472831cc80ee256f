//! Errors of the API (RFC 9457). The only file that maps errors to HTTP statuses.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::{Deserialize, Serialize};

use super::detail::{AnswerLimit, shortened};
use crate::domain::{InvalidRequest, InvalidRubric, Unscored};
use crate::engine::EngineError;
use crate::prompts::PromptError;
use crate::rubrics::LibraryError;
use crate::script::InvalidScript;
use crate::service::admission::Refusal;
use crate::service::registry::{LoadFailure, RegistryError};
use crate::service::{DeadlinePassed, ServiceError};
use crate::tasks::TaskError;

/// Error codes; their names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table below says what each means")]
pub enum Code {
    MalformedJson,
    Unauthenticated,
    Forbidden,
    NotFound,
    UnknownRubric,
    UnknownModel,
    MethodNotAllowed,
    PayloadTooLarge,
    UnsupportedMediaType,
    Conflict,
    InvalidRequest,
    UnknownField,
    InvalidRubric,
    ContextOverflow,
    UnsupportedContent,
    LowLabelMass,
    RateLimited,
    Saturated,
    ModelLoading,
    ModelFailed,
    ShuttingDown,
    DeadlineExceeded,
    Internal,
    EngineFailed,
    UpstreamFailed,
    UpstreamUnavailable,
}

/// Maximum length of a detail or a pointer, in characters.
const LONGEST_DETAIL: usize = 2_000;

/// A row of the table: code, name, status, title, and what to do.
type CodeRow = (Code, &'static str, u16, &'static str, &'static str);

/// The table of error codes; docs/errors.md is generated from it.
#[rustfmt::skip]
const TABLE: &[CodeRow] = &[
    (Code::MalformedJson, "malformed_json", 400, "The body is not valid JSON", "Send one JSON object in UTF-8. The detail names line and column."),
    (Code::Unauthenticated, "unauthenticated", 401, "Authentication is required", "Send `Authorization: Bearer KEY`. Gavel itself does not use keys yet."),
    (Code::Forbidden, "forbidden", 403, "The caller is not allowed to do this", "Write rubrics from the server's own machine (through a loopback address), or as files in its data folder."),
    (Code::NotFound, "not_found", 404, "The route does not exist", "`/openapi.json` lists every route."),
    (Code::UnknownRubric, "unknown_rubric", 404, "The rubric does not exist", "`GET /v1/rubrics` lists the rubrics. You can also send one inline."),
    (Code::UnknownModel, "unknown_model", 404, "The model does not exist", "`GET /v1/models` lists the models. Leave out `model` for the default one."),
    (Code::MethodNotAllowed, "method_not_allowed", 405, "The route does not support this method", "The `Allow` header lists the supported methods."),
    (Code::PayloadTooLarge, "payload_too_large", 413, "The body is too large", "Send fewer items, shorter lists (10,000 entries each, which no setting raises) or shorter texts, or raise `limits.body_bytes` (for routes with many items: `limits.bulk_body_bytes` and `limits.items`)."),
    (Code::UnsupportedMediaType, "unsupported_media_type", 415, "The content type is not supported", "Send `Content-Type: application/json`, uncompressed or with `Content-Encoding: gzip`."),
    (Code::Conflict, "conflict", 409, "The operation is not possible in the current state", "The detail gives the reason."),
    (Code::InvalidRequest, "invalid_request", 422, "The request is invalid", "`pointer` names the field, and the detail says what is allowed."),
    (Code::UnknownField, "unknown_field", 422, "The request has an unknown field", "`pointer` names the field. Check it for a typo: Gavel's own routes ignore no field."),
    (Code::InvalidRubric, "invalid_rubric", 422, "The rubric is invalid", "Send a criterion, and one description for each of 2 to 11 consecutive integer scores."),
    (Code::ContextOverflow, "context_overflow", 422, "The prompt does not fit the model's context", "Shorten the texts, lower `max_feedback_tokens` (on OpenAI's routes `max_tokens`), or use a model with a longer context. Gavel never truncates a prompt."),
    (Code::UnsupportedContent, "unsupported_content", 422, "The model or prompt set does not support this content", "Send text only, or use a model or prompt set that supports the field."),
    (Code::LowLabelMass, "low_label_mass", 422, "The model put too little probability on the answers", "Leave the item out, or use a better judge: a forced guess is not a training signal."),
    (Code::RateLimited, "rate_limited", 429, "Too many requests", "Wait for the time in `Retry-After`."),
    (Code::Saturated, "saturated", 503, "The server is at capacity", "Wait for the time in `Retry-After`, or send fewer requests at once. The detail says what is exhausted: the queue, the memory for bodies (`limits.held_body_bytes`), or the memory for another model."),
    (Code::ModelLoading, "model_loading", 503, "The model is still loading", "Wait for the time in `Retry-After`, or until `/readyz` answers 200."),
    (Code::ModelFailed, "model_failed", 503, "The model cannot be loaded, or its engine has stopped", "Use another model, or tell the operator of the server: its log has the reason. A retry may help only if the answer has `Retry-After`."),
    (Code::ShuttingDown, "shutting_down", 503, "The server is shutting down", "Use another server, or retry later."),
    (Code::DeadlineExceeded, "deadline_exceeded", 504, "The request timed out", "Raise `X-Request-Timeout-Ms` (up to `limits.deadline_ms`), or send fewer requests at once."),
    (Code::Internal, "internal", 500, "Internal server error", "The server's log has the reason, under the request id."),
    (Code::EngineFailed, "engine_failed", 502, "The engine failed", "Retry: the engine restarts automatically. The server's log has the reason."),
    (Code::UpstreamFailed, "upstream_failed", 502, "The server that runs the model refused, or sent a reply that cannot be trusted", "Tell the operator: the log has the server and its reply. No verdict is made of such a reply."),
    (Code::UpstreamUnavailable, "upstream_unavailable", 503, "No server that runs the model can be used at present", "Wait for the time in `Retry-After`."),
];

impl Code {
    fn row(self) -> &'static CodeRow {
        TABLE.iter().find(|row| row.0 == self).expect("a test looks up every code")
    }

    /// The names of all codes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|row| row.1)
    }

    /// The stable name of the code.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().2).expect("the table holds valid statuses")
    }

    /// The code for a status of the framework's own errors.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            413 => Self::PayloadTooLarge,
            415 => Self::UnsupportedMediaType,
            400..=499 => Self::InvalidRequest,
            _ => Self::Internal,
        }
    }
}

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
const OPENAI: [&str; 14] = [
    "/v1/chat/",
    "/v1/completions",
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
    fn again(self, wait: Duration) -> Self {
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
            LibraryError::Unknown { .. } => Code::UnknownRubric,
            LibraryError::Name(_) => Code::InvalidRequest,
            LibraryError::BuiltIn(_) => Code::Conflict,
            LibraryError::Write { .. } => Code::Internal,
        };
        if code == Code::Internal {
            tracing::error!(%error, "a rubric file cannot be written or deleted");
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
            ServiceError::Deadline(_) => Self::new(Code::DeadlineExceeded, detail),
            ServiceError::TooLong { error, longest } => {
                Self::new(Code::ContextOverflow, AnswerLimit::Field("max_feedback_tokens").overflow(&error)).at(longest)
            }
            ServiceError::Task(TaskError::UnknownPrompt { .. }) => {
                Self::new(Code::InvalidRequest, detail).at("/prompt")
            }
            ServiceError::Task(TaskError::Prompt(PromptError::Unsupported { pointer, .. })) => {
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
                    tracing::warn!(why, "the model's server cannot be used");
                    Self::new(Code::UpstreamUnavailable, detail).again(retry_after)
                }
                EngineError::Refused { url, .. } => {
                    tracing::warn!(url, detail, "the model's server refuses a request");
                    Self::new(Code::UpstreamFailed, detail)
                }
                EngineError::Untrusted(_) => {
                    tracing::error!(detail, "a reply of the model's server cannot be trusted");
                    Self::new(Code::UpstreamFailed, detail)
                }
            },
        }
    }
}

/// docs/errors.md, generated from the table.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Errors\n\nEvery error is answered with `application/problem+json` (RFC 9457) and a stable `code`. \
         The routes of OpenAI and of text-embeddings-inference have their own error formats, with the same codes \
         (docs/openai.md, docs/trainers.md). \
         Generated from the table in `src/api/problem.rs` with `gavel docs errors`.\n\n\
         | code | status | what it means | what to do |\n| --- | --- | --- | --- |\n",
    );
    let mut rows: Vec<&CodeRow> = TABLE.iter().collect();
    rows.sort_by_key(|row| row.2);
    for (_, name, status, title, hint) in rows {
        page.push_str(&format!("| <a id=\"{name}\"></a>`{name}` | {status} | {title}. | {hint} |\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_errors_is_up_to_date() {
        assert_eq!(include_str!("../../docs/errors.md"), reference(), "run `gavel docs errors > docs/errors.md`");
    }

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
            "The prompt has 7 tokens; small takes 8 less 2 for the answer (max_tokens). Shorten the texts or lower \
             max_tokens.",
        );
        check(
            field,
            99,
            "The prompt has at least 99 tokens; small takes 8 less 2 for the answer (max_tokens). Shorten the texts.",
        );
        check(AnswerLimit::Context, 9, "The prompt has 9 tokens; small takes 8 with the answer. Shorten the texts.");
        let few = "The prompt has 7 tokens; small takes 8 less 2 for the answer. Shorten the texts.";
        check(AnswerLimit::Questions, 7, few);
    }

    #[test]
    fn every_code_has_one_row() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index, "the table has the order of the enum: {}", row.1);
            assert!(row.0.status().is_client_error() || row.0.status().is_server_error());
        }
        assert_eq!(TABLE.len(), Code::UpstreamUnavailable as usize + 1);
    }
}
