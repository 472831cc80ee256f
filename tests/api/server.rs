//! A server on a free port, its caller, and what a caller checks.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use gavel::app::App;
use gavel::config::Config;
use gavel::engine::Engine;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

/// How long a test waits for something that must come; only a broken server lets it pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// A running server with folders of its own; it stops when it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) app: Arc<App>,
    pub(crate) client: Client,
    handle: ServerHandle,
    folder: tempfile::TempDir,
}

impl Server {
    /// A server that judges with `engine`.
    pub(crate) fn with(engine: Arc<dyn Engine>) -> Self {
        Self::configured(&[], Some(engine))
    }

    /// A server with settings of its own; without an engine, its model is still loading.
    pub(crate) fn configured(settings: &[(&str, &str)], engine: Option<Arc<dyn Engine>>) -> Self {
        Self::new(tempfile::tempdir().unwrap(), settings, engine)
    }

    /// A server configured by `gavel.toml` in a folder; nothing is loaded.
    pub(crate) fn of_file(folder: tempfile::TempDir) -> Self {
        Self::new(folder, &[], None)
    }

    fn new(folder: tempfile::TempDir, settings: &[(&str, &str)], engine: Option<Arc<dyn Engine>>) -> Self {
        let inside = |name: &str| folder.path().join(name).display().to_string();
        let mut overrides = vec![("data_dir", inside("data")), ("cache_dir", inside("cache"))];
        overrides.extend(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let file = folder.path().join("gavel.toml");
        let file = file.is_file().then_some(file.as_path());
        let app = App::build(Config::load(file, &overrides).unwrap()).unwrap();
        if let Some(engine) = engine {
            app.host(engine, None).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = gavel::api::server(Arc::clone(&app), listener).unwrap();
        let handle = server.handle();
        tokio::spawn(server);
        let redirects = reqwest::redirect::Policy::none();
        // The server closes idle connections after seconds; a test that was busy for so long has not seen it.
        let idle = Duration::from_secs(1);
        let client = Client::builder().no_proxy().redirect(redirects).pool_idle_timeout(idle).build().unwrap();
        Self { url: format!("http://{address}"), address, app, client, handle, folder }
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Shuts down as the command line does, without a drain; returns what was cut off, at once if `hurry` is ready.
    pub(crate) async fn shut_down(&self, hurry: impl Future<Output = ()>) -> usize {
        gavel::api::shut_down(&self.app, &self.handle, Duration::ZERO, hurry).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        sent(self.client.get(format!("{}{path}", self.url))).await
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Response {
        sent(self.post(path).json(body)).await
    }

    /// The JSON of a route that answers 200.
    pub(crate) async fn get_json(&self, path: &str) -> Value {
        ok(self.get(path).await).await
    }

    /// The verdict on an absolute request.
    pub(crate) async fn absolute(&self, change: Value) -> Value {
        ok(self.post_json("/v1/grade/absolute", &absolute(change)).await).await
    }

    /// The verdict on a relative request.
    pub(crate) async fn relative(&self, change: Value) -> Value {
        ok(self.post_json("/v1/grade/relative", &relative(change)).await).await
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics(self.get("/metrics").await.text().await.unwrap())
    }

    /// Waits until the metrics say so.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Metrics) -> bool) {
        let poll = async {
            while !holds(&self.metrics().await) {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, poll).await.is_err() {
            panic!("{what} never came:\n{}", self.metrics().await.without_buckets());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The command is sent here; nobody waits for its end.
        drop(self.handle.stop(false));
    }
}

pub(crate) async fn sent(request: RequestBuilder) -> Response {
    tokio::time::timeout(PATIENCE, request.send()).await.expect("an answer").expect("no broken connection")
}

/// The JSON of an answer that must be 200.
pub(crate) async fn ok(response: Response) -> Value {
    let status = response.status();
    let body = response.text().await.unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// A good absolute request with some fields changed.
pub(crate) fn absolute(change: Value) -> Value {
    let body = json!({
        "instruction": "Explain why the sky is blue to a child.",
        "response": "Because the sea is blue.",
        "rubric": "helpfulness",
    });
    merged(body, change)
}

/// A good relative request with some fields changed.
pub(crate) fn relative(change: Value) -> Value {
    let body = json!({
        "instruction": "Explain why the sky is blue to a child.",
        "response_a": "A GOOD answer.",
        "response_b": "A BAD answer.",
        "rubric": "helpfulness",
    });
    merged(body, change)
}

/// Sets the fields of `change`; those that hold the string `<absent>` are taken out.
fn merged(mut body: Value, change: Value) -> Value {
    let fields = body.as_object_mut().unwrap();
    for (key, value) in change.as_object().unwrap() {
        if value == "<absent>" {
            fields.remove(key);
        } else {
            fields.insert(key.clone(), value.clone());
        }
    }
    body
}

/// Rubric levels `from..=to`, each described.
pub(crate) fn rubric(from: i32, to: i32) -> Value {
    let levels: serde_json::Map<String, Value> =
        (from..=to).map(|level| (level.to_string(), json!(format!("Worth {level}.")))).collect();
    json!({"criterion": "Is it good?", "descriptions": levels})
}

/// Checks that an answer is a problem as the contract has it, and gives its body.
pub(crate) async fn problem(server: &Server, response: Response, status: u16, code: &str) -> Value {
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (found, kind, id) = (response.status().as_u16(), header("content-type"), header("x-request-id"));
    let retry = header("retry-after");
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {found} {text}"));
    assert_eq!((found, &body["code"]), (status, &json!(code)), "{text}");
    assert_eq!(kind.as_deref(), Some("application/problem+json"), "{text}");
    assert_eq!(body["status"], status, "{text}");
    assert_eq!(body["request_id"], json!(id), "{text}");
    for field in ["type", "title", "detail", "request_id"] {
        assert!(body[field].as_str().is_some_and(|said| !said.is_empty()), "{field}: {text}");
    }
    // A model that failed says when to try again only where that may help.
    if code != "model_failed" {
        assert_eq!(retry.is_some(), [429, 503].contains(&status), "Retry-After {retry:?}: {text}");
    }
    assert!(retry.is_none_or(|seconds| seconds.parse::<u32>().unwrap() > 0));
    let (page, anchor) = body["type"].as_str().unwrap().split_once('#').unwrap();
    assert_eq!(anchor, code);
    let page = sent(server.client.get(page)).await;
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains(&format!("id=\"{code}\"")), "{code}");
    body
}

/// The events of a stream: name and data.
pub(crate) fn events(text: &str) -> Vec<(String, Value)> {
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| {
            let (event, data) = block.split_once('\n').unwrap();
            let name = event.strip_prefix("event: ").unwrap().to_owned();
            (name, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap())
        })
        .collect()
}

/// What `/metrics` said.
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The sum of the series of that name that have all those labels; `None` when there is none.
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let values = self.0.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, inside) = series.split_once('{').unwrap_or((series, ""));
            let all = labels.iter().all(|(key, value)| {
                let label = format!("{key}=\"{value}\"");
                inside.trim_end_matches('}').split(',').any(|found| found == label)
            });
            (found == name && all).then(|| value.parse::<f64>().unwrap())
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// What is worth reading when a test fails.
    pub(crate) fn without_buckets(&self) -> String {
        let lines = self.0.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The same, with nothing for none.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or(0.0)
    }
}

/// Whether two numbers are the same but for rounding.
pub(crate) fn near(found: &Value, expected: f64) -> bool {
    found.as_f64().is_some_and(|found| (found - expected).abs() < 1e-9)
}

/// Replaces what differs from run to run, after a look at its form.
pub(crate) fn redacted(mut verdict: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (key, field) in fields.iter_mut() {
                    match (key.as_str(), field.as_str()) {
                        ("id", Some(id)) if id.starts_with("vrd_") && id.len() == 30 => *field = "[id]".into(),
                        ("digest", Some(digest)) if is_digest(digest) => *field = "[digest]".into(),
                        ("timing_ms", _) => field.as_object_mut().unwrap().values_mut().for_each(|milliseconds| {
                            assert!(milliseconds.as_f64().unwrap() >= 0.0);
                            *milliseconds = "[ms]".into();
                        }),
                        // The words of the prompt sets are not this test's business.
                        ("prompt_tokens", _) if field.as_u64() > Some(20) => *field = "[tokens]".into(),
                        ("version", Some(env!("CARGO_PKG_VERSION"))) => *field = "[version]".into(),
                        _ => walk(field),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            // The last digits are the mathematics library's.
            Value::Number(number) if number.is_f64() => {
                *value = ((number.as_f64().unwrap() * 1e12).round() / 1e12).into()
            }
            _ => {}
        }
    }
    walk(&mut verdict);
    verdict
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}
