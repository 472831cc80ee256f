//! A keep-alive connection for `gavel bench`. It does not retry, so that a load measures the server. Plain HTTP uses a
//! bare hyper connection, which costs a third of the CPU time of reqwest.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::CliError;
use super::client::key_header;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The address of a server.
#[derive(Debug, Clone)]
pub(super) struct Target {
    authority: String,
    host: HeaderValue,
    /// The API key, if there is one.
    key: Option<HeaderValue>,
    /// Prefix of every path.
    prefix: String,
    /// Client and base URL for servers with TLS.
    secured: Option<(reqwest::Client, String)>,
}

/// A connection to a server. It connects on demand, and reconnects after an error.
pub(super) struct Connection {
    target: Target,
    bare: Option<SendRequest<Full<Bytes>>>,
}

impl Target {
    pub(super) fn new(url: &str) -> Result<Self, CliError> {
        let wrong = |what: &str| CliError::Failed(format!("{url} is not a valid server URL: {what}"));
        let uri: Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| wrong(&error.to_string()))?;
        let host = uri.host().ok_or_else(|| wrong("it has no host"))?;
        let named = uri.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
        let secured = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => {
                let client = reqwest::Client::builder().default_headers(key_header()?).no_proxy().build();
                let client = client.map_err(|error| CliError::because("cannot create an HTTP client", error))?;
                Some((client, url.trim_end_matches('/').to_owned()))
            }
            _ => return Err(wrong("it must begin with http:// or https://")),
        };
        Ok(Self {
            authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)),
            host: HeaderValue::from_str(named).map_err(|error| wrong(&error.to_string()))?,
            key: key_header()?.remove(AUTHORIZATION),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            secured,
        })
    }
}

impl Connection {
    pub(super) fn new(target: Target) -> Self {
        Self { target, bare: None }
    }

    /// Posts a JSON body, and returns the status and the body of the answer.
    ///
    /// # Errors
    /// If there is no answer.
    pub(super) async fn post(&mut self, path: &str, body: Bytes) -> Result<(u16, Bytes), String> {
        if let Some((client, base)) = &self.target.secured {
            let request = client.post(format!("{base}{path}")).header(CONTENT_TYPE, JSON).body(body);
            let response = request.send().await.map_err(|error| error.to_string())?;
            let status = response.status().as_u16();
            return Ok((status, response.bytes().await.map_err(|error| error.to_string())?));
        }
        let sent = self.post_bare(path, body).await;
        if sent.is_err() {
            self.bare = None;
        }
        sent
    }

    async fn post_bare(&mut self, path: &str, body: Bytes) -> Result<(u16, Bytes), String> {
        // A server may close an idle connection at any time; this is not a failed request.
        let alive = self.bare.take().filter(|sender| !sender.is_closed());
        let sender = match alive {
            Some(sender) => self.bare.insert(sender),
            None => self.bare.insert(connect(&self.target.authority).await?),
        };
        sender.ready().await.map_err(|error| error.to_string())?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        let uri =
            if self.target.prefix.is_empty() { path.parse() } else { format!("{}{path}", self.target.prefix).parse() };
        *request.uri_mut() = uri.map_err(|error: hyper::http::uri::InvalidUri| error.to_string())?;
        if let Some(key) = &self.target.key {
            request.headers_mut().insert(AUTHORIZATION, key.clone());
        }
        request.headers_mut().insert(HOST, self.target.host.clone());
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }
}

async fn connect(authority: &str) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // The task ends when the sender is dropped.
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        let target = Target::new("http://localhost:8080/").unwrap();
        assert_eq!((target.authority.as_str(), target.prefix.as_str()), ("localhost:8080", ""));
        let target = Target::new("http://judge/behind/it").unwrap();
        assert_eq!((target.authority.as_str(), target.prefix.as_str()), ("judge:80", "/behind/it"));
        assert!(Target::new("https://judge").unwrap().secured.is_some());
        for wrong in ["judge:8080", "ftp://judge", "", "/v1"] {
            assert!(Target::new(wrong).is_err(), "{wrong}");
        }
    }
}
