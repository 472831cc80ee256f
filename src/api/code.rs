//! The codes of errors: their table, with HTTP statuses, and the page that is generated from it.

use actix_web::http::StatusCode;

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
    UnknownFile,
    UnknownBatch,
    UnknownVerdict,
    UnknownReview,
    UnknownReport,
    QuotaExceeded,
    StoreUnavailable,
    UpstreamUnavailable,
}

/// A row of the table: code, name, status, title, and what to do.
type CodeRow = (Code, &'static str, u16, &'static str, &'static str);

/// The table of error codes; docs/errors.md is generated from it.
#[rustfmt::skip]
const TABLE: &[CodeRow] = &[
    (Code::MalformedJson, "malformed_json", 400, "The body is not valid JSON", "Send one JSON object in UTF-8. The detail names line and column."),
    (Code::Unauthenticated, "unauthenticated", 401, "Authentication is required", "Send `Authorization: Bearer KEY`, `X-API-Key: KEY` or `api-key: KEY`. The server's operator makes keys with `gavel keys create` (docs/security.md)."),
    (Code::Forbidden, "forbidden", 403, "The caller is not allowed to do this", "Use an API key with the scope that the detail names. While the server has no keys, write rubrics from its own machine (through a loopback address), or as files in its data folder."),
    (Code::NotFound, "not_found", 404, "The route does not exist", "`/openapi.json` lists every route."),
    (Code::UnknownRubric, "unknown_rubric", 404, "The rubric does not exist", "`GET /v1/rubrics` lists the rubrics. You can also send one inline."),
    (Code::UnknownModel, "unknown_model", 404, "The model does not exist", "`GET /v1/models` lists the models. Leave out `model` for the default one."),
    (Code::MethodNotAllowed, "method_not_allowed", 405, "The route does not support this method", "The `Allow` header lists the supported methods."),
    (Code::PayloadTooLarge, "payload_too_large", 413, "The body is too large", "Send fewer items, shorter lists (10,000 entries each, which no setting raises) or shorter texts, or raise `limits.body_bytes` (for routes with many items: `limits.bulk_body_bytes` and `limits.items`)."),
    (Code::UnsupportedMediaType, "unsupported_media_type", 415, "The content type is not supported", "Send `Content-Type: application/json`, uncompressed or with `Content-Encoding: gzip`."),
    (Code::Conflict, "conflict", 409, "The operation is not possible in the current state", "The detail gives the reason."),
    (Code::InvalidRequest, "invalid_request", 422, "The request is invalid", "`pointer` names the field, and the detail says what is allowed."),
    (Code::UnknownField, "unknown_field", 422, "The request has an unknown field", "`pointer` names the field. Check it for a typo. Gavel's own routes never ignore a field; routes with other protocols do."),
    (Code::InvalidRubric, "invalid_rubric", 422, "The rubric is invalid", "Send a criterion, and one description for each of 2 to 11 consecutive integer scores."),
    (Code::ContextOverflow, "context_overflow", 422, "The prompt does not fit the model's context", "Shorten the texts, lower `max_feedback_tokens` (on OpenAI's routes `max_tokens`), or use a model with a longer context. Gavel never truncates a prompt."),
    (Code::UnsupportedContent, "unsupported_content", 422, "The model or prompt set does not support this content", "Send text only, or use a model or prompt set that supports the field."),
    (Code::LowLabelMass, "low_label_mass", 422, "The model put too little probability on the answers", "Skip the item, or use a better judge: a forced guess is not a training signal."),
    (Code::RateLimited, "rate_limited", 429, "Too many requests, or tokens, of this API key", "Wait for the time in `Retry-After`, or ask the server's operator for a key with higher limits."),
    (Code::Saturated, "saturated", 503, "The server is at capacity", "Wait for the time in `Retry-After`, or send fewer requests at once. The detail says what is exhausted: the queue, the memory for bodies (`limits.held_body_bytes`) or for pictures (`pictures.memory`), or the memory for another model."),
    (Code::ModelLoading, "model_loading", 503, "The model is still loading", "Wait for the time in `Retry-After`, or until `/readyz` answers 200."),
    (Code::ModelFailed, "model_failed", 503, "The model cannot be loaded, or its engine has stopped", "Use another model, or inform the server's operator: the log has the reason. A retry may help only if the answer has `Retry-After`."),
    (Code::ShuttingDown, "shutting_down", 503, "The server is shutting down", "Use another server, or retry later."),
    (Code::DeadlineExceeded, "deadline_exceeded", 504, "The request timed out", "Raise `X-Request-Timeout-Ms` (up to `limits.deadline_ms`), or send fewer requests at once."),
    (Code::Internal, "internal", 500, "Internal server error", "The server's log has the reason, under the request id."),
    (Code::EngineFailed, "engine_failed", 502, "The engine failed", "Retry: the engine restarts automatically. The server's log has the reason."),
    (Code::UpstreamFailed, "upstream_failed", 502, "The model server refused the request, or sent an invalid reply", "Inform the operator: the log has the server and its reply. Gavel makes no verdict from such a reply."),
    (Code::UnknownFile, "unknown_file", 404, "The file does not exist", "`GET /v1/files` lists your files. Each API key has its own."),
    (Code::UnknownBatch, "unknown_batch", 404, "The batch does not exist", "`GET /v1/batches` lists your batches. Each API key has its own."),
    (Code::UnknownVerdict, "unknown_verdict", 404, "The verdict is not in the log", "`GET /v1/verdicts` lists your verdicts. They are deleted after some time (verdict_log.retention_days)."),
    (Code::UnknownReview, "unknown_review", 404, "The review does not exist", "`GET /v1/reviews?state=all` lists the reviews."),
    (Code::UnknownReport, "unknown_report", 404, "The report does not exist, or its file is no report", "`GET /v1/reports` lists the reports, and why a file is no report."),
    (Code::QuotaExceeded, "quota_exceeded", 403, "Your files or batches exceed a quota", "Delete files, or wait for the end of a batch. The detail names the setting."),
    (Code::StoreUnavailable, "store_unavailable", 503, "The database of files and batches is not available", "Wait for the time in `Retry-After`. Without that header, inform the server's operator: the log has the reason. Grading works without the database."),
    (Code::UpstreamUnavailable, "upstream_unavailable", 503, "No model server is available", "Wait for the time in `Retry-After`."),
];

impl Code {
    pub(super) fn row(self) -> &'static CodeRow {
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

/// docs/errors.md, generated from the table.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Errors\n\nEvery error is answered with `application/problem+json` (RFC 9457) and a stable `code`. \
         Routes with OpenAI's or text-embeddings-inference's protocol use their own error formats, with the same codes \
         (docs/openai.md, docs/trainers.md). \
         Generated from the table in `src/api/code.rs` with `gavel docs errors`.\n\n\
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
    fn every_code_has_one_row() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index, "the table has the order of the enum: {}", row.1);
            assert!(row.0.status().is_client_error() || row.0.status().is_server_error());
        }
        assert_eq!(TABLE.len(), Code::UpstreamUnavailable as usize + 1);
    }
}
