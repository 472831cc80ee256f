//! HTTP with pip's settings (proxy, root certificates, trusted hosts, credentials), or with the hub's token.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Certificate, Client, Proxy, Response, StatusCode, Url, redirect};

use super::error::ModelError;
use super::pip::PipSettings;

const MAX_REDIRECTS: usize = 10;

/// Retries and timeouts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Maximum number of failures in a row without progress.
    pub(super) tries: u32,
    pub(super) connect: Duration,
    /// A connection without data for this time counts as broken.
    pub(super) read: Duration,
    /// Delay before the first retry; it doubles with each retry.
    pub(super) pause: Duration,
}

impl Effort {
    /// For a source without an alternative.
    pub(super) const FULL: Self = Self {
        tries: 4,
        connect: Duration::from_secs(20),
        read: Duration::from_secs(60),
        pause: Duration::from_millis(500),
    };
    /// For a source with an alternative: an unreachable one costs seconds.
    pub(super) const BRIEF: Self =
        Self { tries: 2, connect: Duration::from_secs(3), read: Duration::from_secs(5), ..Self::FULL };
}

/// Downloads pages and files.
pub(super) struct Fetcher {
    strict: Client,
    /// For the hosts that pip trusts without a valid certificate.
    lax: Client,
    trusted_hosts: Vec<String>,
    access: Option<Access>,
    effort: Effort,
}

/// The hub and its token.
pub(super) struct Access {
    pub(super) endpoint: Url,
    /// The client for the hub only.
    pub(super) token: Option<HeaderValue>,
    /// The repository.
    pub(super) repo: String,
}

/// A page of an index.
pub(super) struct Page {
    /// The final URL, with the credentials.
    pub(super) url: Url,
    pub(super) is_json: bool,
    pub(super) text: String,
}

impl Fetcher {
    pub(super) fn new(pip: &PipSettings, effort: Effort) -> Result<Self, ModelError> {
        Self::with(pip, None, effort)
    }

    /// For the hub, with the proxy and the roots of the system.
    pub(super) fn for_hub(access: Access, effort: Effort) -> Result<Self, ModelError> {
        Self::with(&PipSettings::default(), Some(access), effort)
    }

    fn with(pip: &PipSettings, access: Option<Access>, effort: Effort) -> Result<Self, ModelError> {
        Ok(Self {
            strict: client(pip, effort, false)?,
            lax: client(pip, effort, true)?,
            trusted_hosts: pip.trusted_hosts.clone(),
            access,
            effort,
        })
    }

    /// The retry policy.
    pub(super) fn patience(&self) -> Patience {
        Patience { effort: self.effort, left: self.effort.tries, pause: self.effort.pause }
    }

    /// Reads a page; `None` if it does not exist.
    pub(super) async fn page(&self, url: &Url, accept: &str) -> Result<Option<Page>, ModelError> {
        let mut patience = self.patience();
        let headers = header(ACCEPT, accept);
        loop {
            match self.read_page(url, &headers).await {
                Ok(page) => return Ok(page),
                Err(failure) => patience.after(failure, false).await?,
            }
        }
    }

    async fn read_page(&self, url: &Url, headers: &HeaderMap) -> Result<Option<Page>, Failure> {
        let (url, response) = self.get(url, headers).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE if self.access.is_none() => return Ok(None),
            _ => return Err(self.refused(&url, &response)),
        }
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let is_json = kind.to_ascii_lowercase().contains("json");
        let text = response.text().await.map_err(|e| failed(&url, e))?;
        Ok(Some(Page { url, is_json, text }))
    }

    /// Sends a GET and follows redirects itself, so that each host gets the right client and no credentials of another
    /// host.
    pub(super) async fn get(&self, url: &Url, headers: &HeaderMap) -> Result<(Url, Response), Failure> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client_for(&url).get(url.clone()).headers(headers.clone());
            if let Some(token) = self.hub(&url).and_then(|hub| hub.token.clone()) {
                request = request.header(AUTHORIZATION, token);
            }
            let response = request.send().await.map_err(|e| failed(&url, e))?;
            let location = response.headers().get(LOCATION);
            let location = location.and_then(|v| v.to_str().ok());
            match location.and_then(|l| url.join(l).ok()) {
                Some(next) if response.status().is_redirection() => {
                    url = with_credentials_of(&url, next);
                }
                _ => return Ok((url, response)),
            }
        }
        Err(Failure::Lasting(ModelError::Network { url: redacted(&url), cause: "it redirects in circles".to_owned() }))
    }

    /// The hub, if the address is one of its own.
    fn hub(&self, url: &Url) -> Option<&Access> {
        self.access.as_ref().filter(|access| access.endpoint.origin() == url.origin())
    }

    /// The message of an error response.
    pub(super) fn refused(&self, url: &Url, response: &Response) -> Failure {
        let code = response.status();
        if let Some(hub) = self.hub(url) {
            let (repo, endpoint) = (hub.repo.clone(), hub.endpoint.as_str().trim_end_matches('/').to_owned());
            let said = response.headers().get("x-error-message").and_then(|v| v.to_str().ok());
            let said = said.map_or_else(|| code.to_string(), |said| format!("{code}: {said}"));
            match code {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    let with = if hub.token.is_some() { "with this token" } else { "without a token" };
                    return Failure::Lasting(ModelError::HubDenied { repo, endpoint, said, with });
                }
                StatusCode::NOT_FOUND | StatusCode::GONE => {
                    return Failure::Lasting(ModelError::HubMissing { url: redacted(url), repo, endpoint, said });
                }
                _ => {}
            }
        }
        let passing =
            code.is_server_error() || matches!(code, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        if passing { Failure::Passing(status(url, code)) } else { Failure::Lasting(status(url, code)) }
    }

    fn client_for(&self, url: &Url) -> &Client {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let with_port = format!("{host}:{port}");
        if self.trusted_hosts.iter().any(|t| *t == host || *t == with_port) { &self.lax } else { &self.strict }
    }
}

/// The URL without user, password, query and fragment, for messages, because each may contain a secret.
pub(super) fn redacted(url: &Url) -> String {
    let mut url = url.clone();
    // They only fail for URLs that cannot have a user or a password.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Gives `url` the user and password of `from`, if it has none and is on the same server.
pub(super) fn with_credentials_of(from: &Url, mut url: Url) -> Url {
    if url.origin() == from.origin() && url.username().is_empty() && url.password().is_none() {
        // They only fail for URLs that cannot have a user or a password.
        let _ = url.set_username(from.username());
        let _ = url.set_password(from.password());
    }
    url
}

fn client(pip: &PipSettings, effort: Effort, accept_any_certificate: bool) -> Result<Client, ModelError> {
    let mut builder = Client::builder()
        .user_agent(concat!("gavel/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(effort.connect)
        .read_timeout(effort.read)
        .redirect(redirect::Policy::none())
        .tls_danger_accept_invalid_certs(accept_any_certificate);
    if let Some(cert) = &pip.cert {
        let setting =
            |why: String| ModelError::PipSetting { setting: "cert", why: format!("{}: {why}", cert.display()) };
        let pem = std::fs::read(cert).map_err(|e| setting(e.to_string()))?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(|e| setting(chain(&e)))?;
        builder = builder.tls_certs_merge(roots);
    }
    if let Some(proxy) = &pip.proxy {
        // The cause may quote the address, and with it a password.
        let proxy = Proxy::all(proxy).map_err(|_| ModelError::PipSetting {
            setting: "proxy",
            why: "it is not an address like http://host:port".to_owned(),
        })?;
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|e| ModelError::PipSetting { setting: "cert", why: chain(&e) })
}

/// Whether a retry may help.
pub(super) enum Failure {
    Passing(ModelError),
    Lasting(ModelError),
}

/// Counts retries.
pub(super) struct Patience {
    effort: Effort,
    left: u32,
    pause: Duration,
}

impl Patience {
    /// Waits for the next retry, or returns the error if there is none.
    pub(super) async fn after(&mut self, failure: Failure, gained: bool) -> Result<(), ModelError> {
        let error = match failure {
            Failure::Passing(error) => error,
            Failure::Lasting(error) => return Err(error),
        };
        if gained {
            (self.left, self.pause) = (self.effort.tries, self.effort.pause);
        }
        self.left -= 1;
        if self.left == 0 {
            return Err(error);
        }
        // The caller reports the final error.
        tracing::info!(%error, "a download was interrupted; retrying");
        tokio::time::sleep(self.pause).await;
        self.pause *= 2;
        Ok(())
    }
}

pub(super) fn header(name: HeaderName, value: &str) -> HeaderMap {
    let value = HeaderValue::from_str(value).expect("only literals come here");
    HeaderMap::from_iter([(name, value)])
}

pub(super) fn failed(url: &Url, error: reqwest::Error) -> Failure {
    let hopeless = error.is_builder();
    let error = ModelError::Network {
        url: redacted(url),
        // reqwest would include the whole URL.
        cause: chain(&error.without_url()),
    };
    if hopeless { Failure::Lasting(error) } else { Failure::Passing(error) }
}

pub(super) fn status(url: &Url, status: StatusCode) -> ModelError {
    ModelError::Status { url: redacted(url), status: status.to_string() }
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}
