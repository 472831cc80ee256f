//! HTTP to the servers: timeouts, retries, size limits, streams. No redirect is followed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client as Http, Response, StatusCode, redirect};
use serde_json::Value;
use tokio::time::timeout;

use super::endpoints::{Endpoints, Lease};
use super::events::{Event, Events};
use super::observer::{Observer, Outcome};
use super::settings::Settings;
use super::wire::Request;
use crate::engine::EngineError;

/// Maximum size of a reply that is not a stream, in bytes.
const MOST_BYTES: usize = 16 << 20;
/// Maximum length of a server's message in an error, in bytes.
const LONGEST_MESSAGE: usize = 200;
/// A server that asks for a longer pause is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a stream is read on after the answer.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The pause before the first retry; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A client of the servers of one model.
pub(super) struct Client {
    http: Http,
    pub(super) endpoints: Endpoints,
    queue: Duration,
    idle: Duration,
    retries: u32,
    affinity: bool,
    observer: Arc<dyn Observer>,
}

/// The attempts at a request so far.
#[derive(Default)]
struct Attempts {
    tried: u32,
    /// The server that failed last.
    failed_at: Option<usize>,
}

/// What comes after a chunk of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// More chunks.
    More,
    /// The answer has ended; what the stream still has is read, so that its connection can be used again.
    Ended,
    /// No more chunks are wanted.
    Stop,
}

/// What a request failed with, and whether another attempt may succeed.
#[derive(Debug)]
struct Failure {
    error: EngineError,
    /// The pause that the server asks for, or none; `None` where a retry is useless.
    again: Option<Option<Duration>>,
    /// Whether the server works, whatever it answered.
    works: bool,
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// With the setting that cannot be used.
    pub(super) fn new(settings: &Settings, observer: Arc<dyn Observer>) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        if !settings.api_key.is_empty() {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", settings.api_key))
                .map_err(|_| "remote.api_key has characters that no header can have".to_owned())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        for (name, value) in &settings.headers {
            let bad = || format!("remote.headers: `{name}` is not a valid header");
            let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, value);
        }
        let mut http = Http::builder()
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .connect_timeout(settings.connect)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(settings.sequences)
            .user_agent(concat!("gavel/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &settings.ca_file {
            let pem = std::fs::read(path).map_err(|error| format!("remote.ca_file {}: {error}", path.display()))?;
            let roots = Certificate::from_pem_bundle(&pem)
                .map_err(|error| format!("remote.ca_file {}: {error}", path.display()))?;
            http = http.tls_certs_only(roots);
        }
        Ok(Self {
            http: http.build().map_err(|error| chain(&error))?,
            endpoints: Endpoints::new(settings.urls.clone()),
            queue: settings.queue,
            idle: settings.idle,
            retries: settings.retries,
            affinity: settings.affinity,
            observer,
        })
    }

    /// Sends a request and reads its reply; `op` names it in metrics.
    ///
    /// # Errors
    /// After the last retry.
    pub(super) async fn call(&self, op: &'static str, key: u64, request: &Request) -> Result<Value, EngineError> {
        let mut attempts = Attempts::default();
        loop {
            let lease = self.lease(key, &attempts)?;
            match self.exchange(&lease, op, key, request).await {
                Ok(value) => {
                    self.end(lease, true);
                    return Ok(value);
                }
                Err(failure) => self.again(&mut attempts, lease, failure).await?,
            }
        }
    }

    /// Sends a request to one server, once, and reads its reply.
    ///
    /// # Errors
    /// If it fails.
    pub(super) async fn call_at(
        &self,
        index: usize,
        op: &'static str,
        request: &Request,
    ) -> Result<Value, EngineError> {
        let lease = self.endpoints.lease(index);
        self.exchange(&lease, op, 0, request).await.map_err(|failure| failure.error)
    }

    async fn exchange(
        &self,
        lease: &Lease<'_>,
        op: &'static str,
        key: u64,
        request: &Request,
    ) -> Result<Value, Failure> {
        let started = Instant::now();
        let read = async {
            let response = self.send(lease, key, request).await?;
            let bytes = self.body(lease, response).await?;
            serde_json::from_slice(&bytes).map_err(|error| Failure::untrusted(lease, &format!("no JSON: {error}")))
        };
        let read = read.await;
        self.observer.request(lease.url(), op, outcome(&read), started.elapsed());
        read
    }

    /// Sends a request whose reply is a stream, and gives its chunks to `on_chunk` until that wants no more. It is sent
    /// again only if it fails before the first chunk.
    ///
    /// # Errors
    /// After the last retry, or when the stream breaks off.
    pub(super) async fn stream(
        &self,
        op: &'static str,
        key: u64,
        request: &Request,
        mut on_chunk: impl FnMut(&Value) -> Result<Flow, EngineError>,
    ) -> Result<(), EngineError> {
        let mut attempts = Attempts::default();
        loop {
            let lease = self.lease(key, &attempts)?;
            let started = Instant::now();
            let read = self.read_stream(&lease, key, request, &mut on_chunk).await;
            self.observer.request(lease.url(), op, outcome(&read), started.elapsed());
            match read {
                Ok(()) => {
                    self.end(lease, true);
                    return Ok(());
                }
                Err(failure) => self.again(&mut attempts, lease, failure).await?,
            }
        }
    }

    async fn read_stream(
        &self,
        lease: &Lease<'_>,
        key: u64,
        request: &Request,
        on_chunk: &mut impl FnMut(&Value) -> Result<Flow, EngineError>,
    ) -> Result<(), Failure> {
        let response = self.send(lease, key, request).await?;
        let (mut bytes, mut events) = (response.bytes_stream(), Events::default());
        // Until the first chunk nothing was shown, so the request can be sent again.
        let (mut begun, mut ended) = (false, false);
        loop {
            let patience = match (begun, ended) {
                (false, _) => self.queue,
                (true, false) => self.idle,
                // Read to its end, the connection can be used again; that is not worth a long wait.
                (true, true) => LAST_WORDS,
            };
            let part = match timeout(patience, bytes.next()).await {
                Err(_) | Ok(None | Some(Err(_))) if ended => return Ok(()),
                Err(_) => return Err(Failure::silent(lease, patience, !begun)),
                Ok(None) => return Err(Failure::broken(lease, "the stream ended before the answer", !begun)),
                Ok(Some(Err(error))) => return Err(Failure::broken(lease, &chain(&error), !begun)),
                Ok(Some(Ok(part))) => part,
            };
            for event in events.push(&part).map_err(|why| Failure::untrusted(lease, why))? {
                let chunk = match event {
                    Event::Data(chunk) => chunk,
                    Event::End if ended => continue,
                    Event::End => return Err(Failure::broken(lease, "the stream ended before the answer", !begun)),
                };
                if let Some(message) = message_of(&chunk) {
                    return Err(Failure::broken(lease, &message, !begun));
                }
                begun = true;
                match on_chunk(&chunk).map_err(|error| Failure { error, again: None, works: true })? {
                    Flow::More => {}
                    Flow::Ended => ended = true,
                    Flow::Stop if ended => {}
                    Flow::Stop => return Ok(()),
                }
            }
        }
    }

    /// Reads a page of a server; `None` if it has none there.
    ///
    /// # Errors
    /// If the server does not answer, or refuses.
    pub(super) async fn get(&self, index: usize, path: &str) -> Result<Option<Value>, EngineError> {
        let url = &self.endpoints.urls()[index];
        let sent = self.http.get(format!("{url}{path}")).timeout(self.idle.min(Duration::from_secs(20))).send().await;
        let response = sent.map_err(|error| unavailable(url, &chain(&error), None))?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(None),
            status if status.is_success() => {
                let bytes = limited(response).await.map_err(|why| unavailable(url, &why.to_string(), None))?;
                // Health pages may be empty or plain text.
                let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
                Ok(Some(serde_json::from_slice(&bytes).unwrap_or_else(|_| text())))
            }
            status => {
                let retry_after = pause(&response);
                let message = refusal(response).await;
                let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                Err(match passing {
                    true => unavailable(url, &format!("{status}: {message}"), retry_after),
                    false => EngineError::Refused { url: url.clone(), status: status.as_u16(), message },
                })
            }
        }
    }

    /// A server for the next attempt.
    fn lease(&self, key: u64, attempts: &Attempts) -> Result<Lease<'_>, EngineError> {
        self.endpoints
            .take(key, attempts.failed_at, Instant::now())
            .map_err(|retry_after| EngineError::Unavailable { why: "no server answers".to_owned(), retry_after })
    }

    /// Waits until a request that failed may be sent again; or its error, if that would not help.
    async fn again(&self, attempts: &mut Attempts, lease: Lease<'_>, failure: Failure) -> Result<(), EngineError> {
        let Failure { error, again, works } = failure;
        let again = again.filter(|pause| attempts.tried < self.retries && pause.is_none_or(|it| it <= LONGEST_PAUSE));
        if again.is_some() {
            self.observer.retry(lease.url());
        }
        attempts.failed_at = Some(lease.index());
        self.end(lease, works);
        let Some(asked) = again else { return Err(error) };
        // Half of the pause is by chance, so that callers that failed together do not come back together.
        let half = FIRST_PAUSE * 2_u32.pow(attempts.tried.min(6)) / 2;
        let chance = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos() % 1_000_000);
        tokio::time::sleep(asked.unwrap_or(half + half * chance / 1_000_000)).await;
        attempts.tried += 1;
        Ok(())
    }

    /// Ends a request at a server that works, or does not.
    fn end(&self, lease: Lease<'_>, works: bool) {
        let index = lease.index();
        drop(lease);
        self.note(index, works);
    }

    /// Notes that a server works, or does not.
    pub(super) fn note(&self, index: usize, works: bool) {
        let open = self.endpoints.note(index, works, Instant::now());
        self.observer.breaker(&self.endpoints.urls()[index], open);
    }

    /// Sends a request; a reply with a status of success.
    async fn send(&self, lease: &Lease<'_>, key: u64, request: &Request) -> Result<Response, Failure> {
        let mut sending = self.http.post(format!("{}{}", lease.url(), request.path)).json(&request.body);
        if self.affinity {
            sending = sending.header("x-session-id", format!("{key:016x}"));
        }
        let response = match timeout(self.queue, sending.send()).await {
            Err(_) => return Err(Failure::silent(lease, self.queue, true)),
            Ok(Err(error)) => return Err(Failure::broken(lease, &chain(&error), true)),
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let asked = pause(&response);
        let message = refusal(response).await;
        let passing = matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504);
        Err(match passing {
            true => Failure {
                error: unavailable(lease.url(), &format!("{status}: {message}"), asked),
                again: Some(asked),
                // A full queue is no failure of the server.
                works: matches!(status.as_u16(), 429),
            },
            false => Failure {
                error: EngineError::Refused { url: lease.url().to_owned(), status: status.as_u16(), message },
                again: None,
                works: true,
            },
        })
    }

    async fn body(&self, lease: &Lease<'_>, response: Response) -> Result<Vec<u8>, Failure> {
        match timeout(self.idle, limited(response)).await {
            Err(_) => Err(Failure::silent(lease, self.idle, true)),
            Ok(Err(BodyError::Broken(why))) => Err(Failure::broken(lease, &why, true)),
            Ok(Err(why @ BodyError::TooLong)) => Err(Failure::untrusted(lease, &why.to_string())),
            Ok(Ok(bytes)) => Ok(bytes),
        }
    }
}

impl Failure {
    fn silent(lease: &Lease<'_>, patience: Duration, again: bool) -> Self {
        Self::broken(lease, &format!("no byte for {} s", patience.as_secs_f32()), again)
    }

    fn broken(lease: &Lease<'_>, why: &str, again: bool) -> Self {
        Self { error: unavailable(lease.url(), why, None), again: again.then_some(None), works: false }
    }

    fn untrusted(lease: &Lease<'_>, why: &str) -> Self {
        tracing::warn!(url = lease.url(), why, "invalid reply");
        let error = EngineError::Untrusted(format!("it is {why}"));
        Self { error, again: None, works: true }
    }
}

fn outcome<T>(read: &Result<T, Failure>) -> Outcome {
    match read {
        Ok(_) => Outcome::Ok,
        Err(Failure { error: EngineError::Refused { .. }, .. }) => Outcome::Refused,
        Err(Failure { error: EngineError::Untrusted(_), .. }) => Outcome::Untrusted,
        Err(_) => Outcome::Failed,
    }
}

/// The error of a server that cannot be used at present.
pub(super) fn unavailable(url: &str, why: &str, retry_after: Option<Duration>) -> EngineError {
    let retry_after = retry_after.unwrap_or(Duration::from_secs(2));
    EngineError::Unavailable { why: format!("{url}: {why}"), retry_after }
}

/// Why a reply cannot be read.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("longer than {} MB", MOST_BYTES >> 20)]
    TooLong,
    #[error("{0}")]
    Broken(String),
}

/// Reads a whole reply, up to the limit.
async fn limited(response: Response) -> Result<Vec<u8>, BodyError> {
    let (mut whole, mut parts) = (Vec::new(), response.bytes_stream());
    while let Some(part) = parts.next().await {
        whole.extend_from_slice(&part.map_err(|error| BodyError::Broken(chain(&error)))?);
        if whole.len() > MOST_BYTES {
            return Err(BodyError::TooLong);
        }
    }
    Ok(whole)
}

/// The pause that a server asks for, in seconds.
fn pause(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The message of a refusal, shortened.
async fn refusal(response: Response) -> String {
    let body = timeout(Duration::from_secs(5), limited(response)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let message = serde_json::from_slice(&body).ok().as_ref().and_then(message_of);
    shortened(&message.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned()))
}

/// The message of an error, in the formats of the servers.
fn message_of(body: &Value) -> Option<String> {
    let error = body.get("error").filter(|error| !error.is_null());
    let of_error = error.map(|error| error["message"].as_str().or(error.as_str()).unwrap_or("no reason").to_owned());
    of_error.or_else(|| {
        (body["object"].as_str() == Some("error")).then(|| body["message"].as_str().unwrap_or("no reason").to_owned())
    })
}

fn shortened(text: &str) -> String {
    let text = text.trim();
    let end = (0..=LONGEST_MESSAGE.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

/// An error with its causes, without the address, which callers of the API are not told.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() { "cannot connect".to_owned() } else { "the connection failed".to_owned() };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
