//! Downloads of the beginning of a file: the header of a model without its weights.

use std::path::Path;

use reqwest::header::{ACCEPT_ENCODING, HeaderValue, RANGE};
use reqwest::{StatusCode, Url};

use super::Progress;
use super::download::content_range;
use super::error::ModelError;
use super::http::{Failure, Fetcher, failed, header, status};

/// Bytes of the first request; each further one doubles what is there.
const FIRST: u64 = 4 << 20;

/// How many bytes of a file are needed.
pub(super) enum Need {
    /// So many, which are there.
    First(u64),
    /// More than are there: so many at least.
    More(u64),
}

/// The beginning of a file.
#[derive(Default)]
struct Beginning {
    bytes: Vec<u8>,
    /// Whether that is the whole file.
    whole: bool,
}

impl Fetcher {
    /// Downloads the first bytes of `url`, as many as `read` needs of them and at most `most`. A server that ignores
    /// ranges is cut off. `file` names it in errors.
    pub(super) async fn beginning(
        &self,
        url: &Url,
        file: &Path,
        most: u64,
        progress: &dyn Progress,
        read: impl Fn(&[u8]) -> Result<Need, ModelError>,
    ) -> Result<Vec<u8>, ModelError> {
        let name = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
        progress.start(name, None, 0);
        let (mut beginning, mut to) = (Beginning::default(), FIRST.min(most));
        let outcome = loop {
            if let Err(error) = self.continue_to(url, &mut beginning, to, progress).await {
                break Err(error);
            }
            match read(&beginning.bytes) {
                Ok(Need::First(bytes)) => break Ok(bytes),
                Ok(Need::More(needed)) if beginning.whole || to == most => {
                    let actual = beginning.bytes.len() as u64;
                    break Err(ModelError::CutShort { path: file.to_path_buf(), needed, actual });
                }
                Ok(Need::More(needed)) => to = needed.next_multiple_of(FIRST).max(to * 2).min(most),
                Err(error) => break Err(error),
            }
        };
        progress.finish();
        let needed = outcome?;
        beginning.bytes.truncate(usize::try_from(needed).unwrap_or(usize::MAX));
        Ok(beginning.bytes)
    }

    /// Downloads to the byte `to`, or to the end of the file.
    async fn continue_to(
        &self,
        url: &Url,
        beginning: &mut Beginning,
        to: u64,
        progress: &dyn Progress,
    ) -> Result<(), ModelError> {
        let mut patience = self.patience();
        loop {
            let before = beginning.bytes.len();
            match self.request(url, beginning, to, progress).await {
                Ok(()) => return Ok(()),
                Err(failure) => patience.after(failure, beginning.bytes.len() > before).await?,
            }
        }
    }

    /// One request of [`Self::continue_to`].
    async fn request(
        &self,
        url: &Url,
        beginning: &mut Beginning,
        to: u64,
        progress: &dyn Progress,
    ) -> Result<(), Failure> {
        let at = beginning.bytes.len() as u64;
        // With compression, byte positions would not match the file.
        let mut headers = header(ACCEPT_ENCODING, "identity");
        let range = HeaderValue::from_str(&format!("bytes={at}-{}", to.saturating_sub(1)));
        headers.insert(RANGE, range.expect("digits are a valid header value"));
        let (url, mut response) = self.get(url, &headers).await?;
        let range = content_range(&response);
        match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE if at > 0 => {
                beginning.whole = true;
                return Ok(());
            }
            StatusCode::PARTIAL_CONTENT if range.start != Some(at) => {
                return Err(Failure::Passing(status(&url, response.status())));
            }
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK => beginning.bytes.clear(),
            _ => return Err(self.refused(&url, &response)),
        }
        while (beginning.bytes.len() as u64) < to {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    let left = usize::try_from(to).unwrap_or(usize::MAX) - beginning.bytes.len();
                    let bytes = &bytes[..bytes.len().min(left)];
                    beginning.bytes.extend_from_slice(bytes);
                    progress.advance(bytes.len() as u64);
                }
                Ok(None) => {
                    // Less than was asked for: the file ends here, or the server sends less at once.
                    let here = beginning.bytes.len() as u64;
                    beginning.whole = range.total.is_none_or(|total| total <= here);
                    return Ok(());
                }
                Err(error) => return Err(failed(&url, error)),
            }
        }
        Ok(())
    }
}
