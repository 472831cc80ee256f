//! Resumable downloads.

use std::io::SeekFrom;
use std::path::Path;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Response, StatusCode, Url};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::Progress;
use super::error::ModelError;
use super::http::{Failure, Fetcher, failed, header, status};

impl Fetcher {
    /// Downloads `url` to `partial`, and resumes at its end. The caller verifies the digest, because a server may have
    /// replaced the file in between.
    pub(super) async fn download(&self, url: &Url, partial: &Path, progress: &dyn Progress) -> Result<(), ModelError> {
        let mut target = Target::open(partial, url, progress).await?;
        let mut patience = self.patience();
        let mut furthest = target.len;
        let outcome = loop {
            let attempt = self.transfer(url, &mut target).await;
            // Also after a failure, so that the next attempt can resume.
            if let Err(e) = target.file.flush().await {
                break Err(ModelError::cache(partial)(e));
            }
            let Err(failure) = attempt else { break Ok(()) };
            let gained = target.len > furthest;
            furthest = furthest.max(target.len);
            if let Err(e) = patience.after(failure, gained).await {
                break Err(e);
            }
        };
        progress.finish();
        outcome
    }

    /// One request of [`Self::download`].
    async fn transfer(&self, url: &Url, target: &mut Target<'_>) -> Result<(), Failure> {
        // With compression, byte positions would not match the file.
        let mut headers = header(ACCEPT_ENCODING, "identity");
        if target.len > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", target.len));
            headers.insert(RANGE, range.expect("digits are a valid header value"));
        }
        let (url, mut response) = self.get(url, &headers).await?;
        let range = content_range(&response);
        match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE if target.len > 0 => {
                // The file is already complete, unless it has changed.
                // If the server does not state the length, the digest decides.
                if range.total.is_none_or(|total| total == target.len) {
                    return Ok(());
                }
                target.restart().await?;
                return Err(Failure::Passing(status(&url, response.status())));
            }
            StatusCode::PARTIAL_CONTENT if range.start != Some(target.len) => {
                target.restart().await?;
                return Err(Failure::Passing(status(&url, response.status())));
            }
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK => target.restart().await?,
            _ => return Err(self.refused(&url, &response)),
        }
        target.announce(response.content_length());
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => target.write(&bytes).await?,
                Ok(None) => return Ok(()),
                Err(e) => return Err(failed(&url, e)),
            }
        }
    }
}

/// The target file of a download.
struct Target<'a> {
    file: File,
    path: &'a Path,
    name: String,
    len: u64,
    progress: &'a dyn Progress,
    announced: bool,
}

impl<'a> Target<'a> {
    async fn open(path: &'a Path, url: &Url, progress: &'a dyn Progress) -> Result<Self, ModelError> {
        let mut options = File::options();
        let options = options.create(true).truncate(false).write(true);
        let mut file = options.open(path).await.map_err(ModelError::cache(path))?;
        let end = file.seek(SeekFrom::End(0)).await;
        let name = url.path_segments().and_then(|mut s| s.next_back());
        Ok(Self {
            file,
            path,
            name: name.unwrap_or_default().to_owned(),
            len: end.map_err(ModelError::cache(path))?,
            progress,
            announced: false,
        })
    }

    /// Discards the downloaded part.
    async fn restart(&mut self) -> Result<(), Failure> {
        if self.len == 0 {
            return Ok(());
        }
        let emptied = self.file.set_len(0).await;
        let emptied = emptied.and(self.file.rewind().await);
        emptied.map_err(|e| Failure::Lasting(ModelError::cache(self.path)(e)))?;
        self.len = 0;
        self.announced = false;
        Ok(())
    }

    /// Reports the finished and the total size, once for each start.
    fn announce(&mut self, to_come: Option<u64>) {
        if !self.announced {
            let total = to_come.map(|n| n + self.len);
            self.progress.start(&self.name, total, self.len);
            self.announced = true;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(bytes).await;
        written.map_err(|e| Failure::Lasting(ModelError::cache(self.path)(e)))?;
        self.len += bytes.len() as u64;
        self.progress.advance(bytes.len() as u64);
        Ok(())
    }
}

/// Parses a `Content-Range`, which may be incomplete.
pub(super) struct ContentRange {
    pub(super) start: Option<u64>,
    pub(super) total: Option<u64>,
}

pub(super) fn content_range(response: &Response) -> ContentRange {
    let value = response.headers().get(CONTENT_RANGE);
    let value = value.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let range = value.strip_prefix("bytes ").unwrap_or_default();
    let (span, total) = range.split_once('/').unwrap_or_default();
    let start = span.split_once('-').map(|(start, _)| start);
    ContentRange { start: start.and_then(|s| s.parse().ok()), total: total.parse().ok() }
}
