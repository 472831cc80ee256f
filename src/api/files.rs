//! `/v1/files`: the inputs and outputs of batches, in OpenAI's protocol.

use std::time::Duration;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::{HttpRequest, HttpResponse, web};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::access;
use super::problem::{Code, Problem};
use crate::app::App;
use crate::jobs::{CHUNK, EVERYONE, FileRow, Jobs};
use crate::keys::Scope;
use crate::service::ServiceError;
use crate::store::{Once, Page};

/// The longest name of a file, and value of a form's field.
const LONGEST_NAME: usize = 512;
/// The most entries of a page.
const MOST: i64 = 10_000;
/// How long the next bytes of an upload may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = File)]
pub(super) struct FileBody {
    id: String,
    object: &'static str,
    bytes: i64,
    /// Seconds since 1970.
    created_at: i64,
    /// Seconds since 1970; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    filename: String,
    /// `batch` or `batch_output`.
    purpose: String,
    status: &'static str,
}

/// A page of files.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FileList {
    object: &'static str,
    data: Vec<FileBody>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

/// A file that was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeletedFile {
    id: String,
    object: &'static str,
    deleted: bool,
}

/// Which files to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FileQuery {
    /// The id that the last page ended with.
    after: Option<String>,
    /// The most files, 1 to 10,000.
    limit: Option<i64>,
    /// `asc` or `desc` (the newest first).
    order: Option<String>,
    /// `batch` or `batch_output`.
    purpose: Option<String>,
}

/// The form of an upload.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes the form in the contract; `upload` reads it piece by piece")]
pub(super) struct FileForm {
    /// `batch`.
    purpose: String,
    /// JSON lines.
    #[schema(format = Binary)]
    file: String,
    /// Seconds until it is deleted.
    #[schema(rename = "expires_after[seconds]")]
    expires_after_seconds: Option<i64>,
}

impl From<FileRow> for FileBody {
    fn from(file: FileRow) -> Self {
        Self {
            id: file.id,
            object: "file",
            bytes: file.bytes,
            created_at: file.created_at / 1000,
            expires_at: file.expires_at.map(|at| at / 1000),
            filename: file.filename,
            purpose: file.purpose,
            status: "processed",
        }
    }
}

/// Whose files and batches a request makes.
pub(super) fn owner(request: &HttpRequest) -> String {
    access::key_name(request).unwrap_or_default()
}

/// Whose files and batches a request finds: an administrator's, those of all.
pub(super) fn seen_by(request: &HttpRequest) -> String {
    match access::has_scope(request, Scope::Admin) {
        Some(true) => EVERYONE.to_owned(),
        _ => owner(request),
    }
}

/// The `Idempotency-Key` of a request.
///
/// # Errors
/// If it is empty or long.
pub(super) fn idempotency_key(request: &HttpRequest) -> Result<Option<&str>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
    let wrong = || Problem::new(Code::InvalidRequest, "Idempotency-Key has 1 to 255 visible ASCII characters");
    key.map(Some).ok_or_else(wrong)
}

/// The page of a query.
///
/// # Errors
/// If a value is not allowed.
pub(super) fn page<'a>(
    after: Option<&'a String>,
    limit: Option<i64>,
    order: Option<&str>,
    usual: i64,
) -> Result<Page<'a>, Problem> {
    let limit = limit.unwrap_or(usual);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::new(Code::InvalidRequest, format!("limit is 1 to {MOST}")).at("/limit"));
    }
    let newest_first = match order.unwrap_or("desc") {
        "desc" => true,
        "asc" => false,
        _ => return Err(Problem::new(Code::InvalidRequest, "order is `asc` or `desc`").at("/order")),
    };
    Ok(Page { after: after.map(String::as_str), limit: limit + 1, newest_first })
}

/// Uploads a file.
#[utoipa::path(
    post, path = "/v1/files", operation_id = "upload_file", tag = "batches",
    request_body(content = FileForm, content_type = "multipart/form-data"),
    responses((status = 200, body = FileBody), (status = "default", body = super::problem::OpenAiError))
)]
pub(super) async fn upload(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let key = idempotency_key(&http)?;
    if app.admission.shutdown.closing() {
        return Err(Problem::new(Code::ShuttingDown, "the server is shutting down"));
    }
    let (id, owner) = (Jobs::new_file_id(), owner(&http));
    let form = Multipart::new(http.headers(), payload.into_inner());
    let mut upload = Upload { app: &app, id: &id, chunks: 0, bytes: 0, digest: Sha256::new(), buffer: Vec::new() };
    let read = app.admission.shutdown.unless_cut_off(Form::read(form, &mut upload)).await;
    let read = read.map_err(|cut| Problem::from(ServiceError::from(cut))).and_then(|read| read);
    let form = match read {
        Ok(form) => form,
        Err(problem) => {
            app.jobs.drop_upload(&id).await;
            return Err(problem);
        }
    };
    let request = format!("{:x} {} {:?}", upload.digest.finalize(), form.filename, form.expires_after);
    let once = key.map(|key| Once { key, request: &request });
    let made = app.jobs.finish_upload(&id, &owner, &form.filename, upload.bytes, form.expires_after, once).await?;
    Ok(HttpResponse::Ok().json(FileBody::from(made)))
}

/// What a form says beside the text of its file.
struct Form {
    filename: String,
    expires_after: Option<Duration>,
}

/// The text of a file that is being received.
struct Upload<'a> {
    app: &'a App,
    id: &'a str,
    chunks: i64,
    bytes: i64,
    digest: Sha256,
    buffer: Vec<u8>,
}

impl Form {
    async fn read(mut form: Multipart, upload: &mut Upload<'_>) -> Result<Self, Problem> {
        let (mut filename, mut purpose, mut expires_after) = (None, None, None);
        while let Some(field) = within(form.try_next()).await?.transpose() {
            let mut field = field.map_err(unreadable)?;
            match field.name().unwrap_or_default() {
                "file" if filename.is_some() => return Err(invalid("a form has one file", "/file")),
                "file" => {
                    let given = field.content_disposition().and_then(|given| given.get_filename()).unwrap_or("file");
                    if given.chars().count() > LONGEST_NAME || given.contains('\0') {
                        return Err(invalid("the name of the file is too long, or has NUL characters", "/file"));
                    }
                    filename = Some(given.to_owned());
                    upload.receive(&mut field).await?;
                }
                "purpose" => purpose = Some(value(&mut field).await?),
                "expires_after[anchor]" => {
                    if value(&mut field).await? != "created_at" {
                        return Err(invalid("the anchor is `created_at`", "/expires_after/anchor"));
                    }
                }
                "expires_after[seconds]" => {
                    let seconds = value(&mut field).await?.parse::<u64>().ok();
                    let seconds = seconds.filter(|seconds| (60..=315_360_000).contains(seconds));
                    let wrong = || invalid("seconds are 60 to 315,360,000 (ten years)", "/expires_after/seconds");
                    expires_after = Some(Duration::from_secs(seconds.ok_or_else(wrong)?));
                }
                other => {
                    return Err(invalid(
                        format!(
                            "unknown field `{other}`; there are: file, purpose, expires_after[anchor], expires_after[seconds]"
                        ),
                        "",
                    ));
                }
            }
        }
        match purpose.as_deref() {
            Some("batch") => {}
            Some(_) => return Err(invalid("the purpose is `batch`", "/purpose")),
            None => return Err(invalid("the form has no `purpose`; send `batch`", "/purpose")),
        }
        let filename = filename.ok_or_else(|| invalid("the form has no `file`", "/file"))?;
        Ok(Self { filename, expires_after })
    }
}

impl Upload<'_> {
    async fn receive(&mut self, field: &mut Field) -> Result<(), Problem> {
        let most = self.app.config.jobs.file_bytes;
        while let Some(piece) = within(field.try_next()).await?.map_err(unreadable)? {
            self.bytes += piece.len() as i64;
            if self.bytes > most as i64 {
                let detail = format!("the file has more than {most} bytes (jobs.file_bytes)");
                return Err(Problem::new(Code::PayloadTooLarge, detail).at("/file"));
            }
            self.digest.update(&piece);
            self.buffer.extend_from_slice(&piece);
            if self.buffer.len() >= CHUNK {
                self.write(false).await?;
            }
        }
        self.write(true).await
    }

    /// Writes what was received, up to the last whole character.
    async fn write(&mut self, last: bool) -> Result<(), Problem> {
        let whole = match std::str::from_utf8(&self.buffer) {
            Ok(text) => text.len(),
            // The rest of the character is still to come.
            Err(error) if error.error_len().is_none() && !last => error.valid_up_to(),
            Err(error) => {
                let at = self.bytes as usize - self.buffer.len() + error.valid_up_to();
                return Err(invalid(format!("the file is not UTF-8 (at byte {at})"), "/file"));
            }
        };
        let text = std::str::from_utf8(&self.buffer[..whole]).expect("it was valid up to there");
        if text.contains('\0') {
            return Err(invalid("the file has a NUL character; JSON writes it as \\u0000", "/file"));
        }
        if !text.is_empty() {
            self.app.jobs.write_chunk(self.id, self.chunks, text).await?;
            self.chunks += 1;
        }
        self.buffer.drain(..whole);
        Ok(())
    }
}

/// The value of a short field.
async fn value(field: &mut Field) -> Result<String, Problem> {
    let mut value = Vec::new();
    while let Some(piece) = within(field.try_next()).await?.map_err(unreadable)? {
        value.extend_from_slice(&piece);
        if value.len() > LONGEST_NAME {
            return Err(invalid("a field of the form is too long", ""));
        }
    }
    String::from_utf8(value).map_err(|_| invalid("a field of the form is not UTF-8", ""))
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, Problem> {
    let late = |_| Problem::new(Code::DeadlineExceeded, "no bytes of the file came for 60 s");
    tokio::time::timeout(PATIENCE, work).await.map_err(late)
}

#[allow(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn unreadable(error: MultipartError) -> Problem {
    Problem::new(Code::MalformedJson, format!("the form (multipart/form-data) cannot be read: {error}"))
}

fn invalid(detail: impl Into<String>, pointer: &str) -> Problem {
    Problem::new(Code::InvalidRequest, detail).at(pointer)
}

/// Lists files.
#[utoipa::path(
    get, path = "/v1/files", operation_id = "list_files", tag = "batches", params(FileQuery),
    responses((status = 200, body = FileList), (status = "default", body = super::problem::OpenAiError))
)]
pub(super) async fn list(
    app: web::Data<App>,
    http: HttpRequest,
    query: web::Query<FileQuery>,
) -> Result<HttpResponse, Problem> {
    let page = page(query.after.as_ref(), query.limit, query.order.as_deref(), MOST)?;
    let purpose = query.purpose.as_deref().unwrap_or_default();
    let mut files = app.jobs.files(&seen_by(&http), purpose, page).await?;
    let has_more = files.len() as i64 == page.limit;
    files.truncate(page.limit as usize - 1);
    let data: Vec<FileBody> = files.into_iter().map(FileBody::from).collect();
    let (first_id, last_id) = (data.first().map(|file| file.id.clone()), data.last().map(|file| file.id.clone()));
    Ok(HttpResponse::Ok().json(FileList { object: "list", data, first_id, last_id, has_more }))
}

/// Returns what a file is.
#[utoipa::path(
    get, path = "/v1/files/{id}", operation_id = "get_file", tag = "batches",
    responses((status = 200, body = FileBody), (status = "default", body = super::problem::OpenAiError))
)]
pub(super) async fn show(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(FileBody::from(app.jobs.file(&id, &seen_by(&http)).await?)))
}

/// Deletes a file.
#[utoipa::path(
    delete, path = "/v1/files/{id}", operation_id = "delete_file", tag = "batches",
    responses((status = 200, body = DeletedFile), (status = "default", body = super::problem::OpenAiError))
)]
pub(super) async fn delete(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    app.jobs.delete_file(&id, &seen_by(&http)).await?;
    Ok(HttpResponse::Ok().json(DeletedFile { id: id.into_inner(), object: "file", deleted: true }))
}

/// Returns the text of a file.
#[utoipa::path(
    get, path = "/v1/files/{id}/content", operation_id = "get_file_content", tag = "batches",
    responses((status = 200, body = String, content_type = "application/jsonl"), (status = "default", body = super::problem::OpenAiError))
)]
pub(super) async fn content(
    app: web::Data<App>,
    http: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let file = app.jobs.file(&id, &seen_by(&http)).await?;
    let bytes = file.bytes.unsigned_abs();
    let parts = stream::try_unfold((app, file, 0), |(app, file, place)| async move {
        let part = app.jobs.read(&file, place).await.inspect_err(|error| tracing::error!(%error, "a file is cut off"));
        Ok::<_, crate::jobs::JobError>(part?.map(|(text, next)| (web::Bytes::from(text), (app, file, next))))
    });
    // Its length is told, so that a caller sees if it was cut off.
    Ok(HttpResponse::Ok().content_type("application/jsonl").no_chunking(bytes).streaming(parts.boxed_local()))
}
