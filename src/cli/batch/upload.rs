//! The upload of a file, piece by piece.

use std::path::Path;

use futures::{StreamExt, stream};
use tokio::io::AsyncReadExt;

use super::super::CliError;
use super::super::client::Client;

/// Bytes of a piece.
const PIECE: usize = 256 << 10;
/// A line between the parts of the form. It cannot begin a line of JSON.
const BOUNDARY: &str = "gavel-batch-5f1c0f8e4d7b4a1c9e2d";

/// Uploads a file as the input of a batch, and returns its id.
///
/// # Errors
/// If it cannot be read, or the server refuses it.
pub(super) async fn upload(client: &Client, path: &Path) -> Result<String, CliError> {
    let unreadable = |error: std::io::Error| CliError::because(path.display().to_string(), error);
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let name = path.file_name().map(|name| name.to_string_lossy().replace(['"', '\r', '\n'], "_")).unwrap_or_default();
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{BOUNDARY}\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: application/jsonl\r\n\r\n"
    );
    let pieces = stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE];
        let read = file.read(&mut piece).await?;
        piece.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then_some((piece, file)))
    });
    let framed = |text: String| stream::iter([Ok(text.into_bytes())]);
    let body = framed(head).chain(pieces).chain(framed(format!("\r\n--{BOUNDARY}--\r\n")));
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let made = client.upload("/v1/files", &kind, reqwest::Body::wrap_stream(body)).await?;
    made["id"].as_str().map(str::to_owned).ok_or_else(|| CliError::Failed("the server gave the file no id".to_owned()))
}
