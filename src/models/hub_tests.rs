//! Pulls from a stand-in for the hub, which sends its callers to another server for the files, over real sockets.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tempfile::TempDir;
use tokio::net::TcpListener;

use super::catalogue::Catalogue;
use super::gguf::tests::sample;
use super::pip::PipSettings;
use super::tests::{Request, read, reply, sha256, write};
use super::*;

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_s3cret";

/// How the hub behaves, and what it and the server of its files saw.
#[derive(Default)]
pub(super) struct State {
    /// Path and bytes of each file.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    pub(super) commit: String,
    /// Only for callers with the token.
    gated: bool,
    /// Digests that the hub names in place of the right ones.
    pub(super) lie: Option<String>,
    /// Files that lie in git itself.
    pub(super) small: Vec<&'static str>,
    /// Whether the server of the files ignores ranges.
    pub(super) no_ranges: bool,
    /// After how many bytes each transfer breaks off; none left: never.
    pub(super) cuts: VecDeque<usize>,
    asked: Vec<Request>,
    pub(super) fetched: Vec<Request>,
    /// Where the files are.
    files_at: String,
}

impl State {
    fn hub(&mut self, request: Request) -> Vec<u8> {
        self.asked.push(request.clone());
        if self.gated && request.authorization.as_deref() != Some(&format!("Bearer {TOKEN}")) {
            let status = if request.authorization.is_some() { "403 Forbidden" } else { "401 Unauthorized" };
            return reply(status, "X-Error-Code: GatedRepo\r\nX-Error-Message: Access is restricted\r\n", b"");
        }
        if request.path == "/api/models/o/judge-GGUF/revision/main?blobs=true" {
            let sibling = |(path, bytes): &(&str, Vec<u8>)| {
                if self.small.contains(path) {
                    let id = self.lie.clone().unwrap_or_else(|| git_id(bytes));
                    return serde_json::json!({"rfilename": path, "size": bytes.len(), "blobId": id});
                }
                let sha256 = self.lie.clone().unwrap_or_else(|| sha256(bytes));
                serde_json::json!({"rfilename": path, "size": bytes.len(), "blobId": "b",
                    "lfs": {"sha256": sha256, "size": bytes.len(), "pointerSize": 130}})
            };
            let mut siblings = vec![serde_json::json!({"rfilename": "README.md", "size": 3, "blobId": "a"})];
            siblings.extend(self.files.iter().map(sibling));
            let listing = serde_json::json!({"id": "o/judge-GGUF", "sha": self.commit, "siblings": siblings});
            return reply("200 OK", "Content-Type: application/json\r\n", listing.to_string().as_bytes());
        }
        let place = format!("/o/judge-GGUF/resolve/{}/", self.commit);
        match request.path.strip_prefix(&place).filter(|path| self.files.iter().any(|(name, _)| name == path)) {
            Some(path) => {
                let location = format!("http://{}/cdn/{path}?signature=x", self.files_at);
                let etag = sha256(&self.files.iter().find(|(name, _)| *name == path).unwrap().1);
                let headers = format!(
                    "Location: {location}\r\nX-Repo-Commit: {}\r\nX-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: 1\r\n",
                    self.commit
                );
                reply("302 Found", &headers, b"")
            }
            None => reply("404 Not Found", "X-Error-Code: RepoNotFound\r\nX-Error-Message: Not here\r\n", b""),
        }
    }

    fn file_server(&mut self, request: Request) -> Vec<u8> {
        self.fetched.push(request.clone());
        let path = request.path.strip_prefix("/cdn/").unwrap().split('?').next().unwrap().to_owned();
        let bytes = &self.files.iter().find(|(name, _)| *name == path).unwrap().1;
        let total = bytes.len();
        let range = request.range.filter(|_| !self.no_ranges);
        let range = range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let number = |text: &str| text.parse::<usize>().ok();
        let start = range.and_then(|(start, _)| number(start)).unwrap_or(0);
        let end = range.and_then(|(_, last)| number(last)).map_or(total, |last| total.min(last + 1));
        let header = format!("Content-Range: bytes {start}-{}/{total}\r\n", end.saturating_sub(1));
        let mut out = match range {
            None => reply("200 OK", "", bytes),
            Some(_) if start >= total => reply("416 Range Not Satisfiable", "", b""),
            Some(_) => reply("206 Partial Content", &header, &bytes[start..end]),
        };
        let left = end.saturating_sub(start);
        let sent = self.cuts.pop_front().unwrap_or(left).min(left);
        out.truncate(out.len() - left + sent);
        out
    }
}

/// What git calls a file's content.
fn git_id(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    digest::git_id(file.path()).unwrap()
}

async fn serve(state: &Arc<Mutex<State>>, answer: fn(&mut State, Request) -> Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let state = Arc::clone(state);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(request) = read(&mut stream).await else { continue };
            let bytes = answer(&mut state.lock().unwrap(), request);
            write(stream, &bytes).await;
        }
    });
    address
}

/// The hub with one repository, and folders to pull into.
pub(super) struct House {
    state: Arc<Mutex<State>>,
    address: String,
    pub(super) folder: TempDir,
}

impl House {
    pub(super) async fn new(files: &[&'static str]) -> Self {
        let (gguf, _) = sample();
        // Each file is another one; bytes after the last tensor mean nothing.
        let of = |index: usize| [gguf.clone(), vec![index as u8; index + 1]].concat();
        let files = files.iter().enumerate().map(|(index, name)| (*name, of(index))).collect();
        let state = Arc::new(Mutex::new(State { files, commit: COMMIT.to_owned(), ..State::default() }));
        let files_at = serve(&state, State::file_server).await;
        state.lock().unwrap().files_at = files_at;
        Self { address: serve(&state, State::hub).await, state, folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn settings(&self, token: &str) -> HubSettings {
        HubSettings {
            endpoint: format!("http://{}/", self.address),
            token: token.to_owned(),
            cache_dir: self.folder.path().join("hf/hub"),
        }
    }

    pub(super) fn store_with(&self, cache: &str, offline: bool, token: &str) -> ModelStore {
        let cache = self.folder.path().join(cache);
        ModelStore::for_tests(cache, offline, catalogue(""), PipSettings::default(), self.settings(token))
    }

    pub(super) fn store(&self) -> ModelStore {
        self.store_with("gavel", false, "")
    }

    fn bytes(&self, file: usize) -> Vec<u8> {
        self.state().files[file].1.clone()
    }

    pub(super) fn repo(&self, path: &str) -> PathBuf {
        self.folder.path().join("hf/hub/models--o--judge-GGUF").join(path)
    }
}

/// The entry of a model, without its source.
const JUDGE: &str = "[[model]]\nname = 'judge'\nsummary = 's'\nlicence = 'MIT'\nprompt_set = 'prometheus'\n\
    context = 64\nchat_template = 'chatml'\nweights = 1000\nkv_per_token = 10\nhome = 'o/judge'\n";

pub(super) fn catalogue(more: &str) -> Catalogue {
    Catalogue::parse(&format!(
        "{JUDGE}{more}\
         [[model.source]]\nkind = 'hub'\nrepo = 'o/judge-GGUF'\nquantisation = 'Q4_0'\n"
    ))
    .unwrap()
}

#[tokio::test]
async fn a_model_of_the_hub_is_pulled_once_and_lies_where_other_tools_look() {
    let house = House::new(&["judge.Q4_0.gguf", "judge.Q8_0.gguf"]).await;
    let store = house.store();
    assert_eq!((store.list(7)[0].path.clone(), store.list(7)[0].memory), (None, 1070));
    assert!(matches!(store.path("judge"), Err(ModelError::NotPulled { .. })));
    let model = store.pull("judge", &()).await.unwrap();
    let digest = sha256(&house.bytes(0));
    assert_eq!((model.name.as_str(), model.digest.clone()), ("judge", format!("sha256:{digest}")));
    assert_eq!(model.traits.prompt_set.as_deref(), Some("prometheus"));
    assert_eq!(model.path, house.repo(&format!("snapshots/{COMMIT}/judge.Q4_0.gguf")));
    assert_eq!(std::fs::read(&model.path).unwrap(), house.bytes(0));
    assert_eq!(std::fs::read(house.repo(&format!("blobs/{digest}"))).unwrap(), house.bytes(0));
    assert_eq!(std::fs::read_to_string(house.repo("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert_eq!(std::fs::read_link(&model.path).unwrap(), PathBuf::from(format!("../../blobs/{digest}")));

    // The branch moves on; what the name means does not, and nobody is asked again.
    house.state().commit = "f".repeat(40);
    assert_eq!(store.resolve("judge", &()).await.unwrap(), model);
    assert_eq!(store.verify("judge").await.unwrap(), model);
    assert_eq!((store.path("judge").unwrap(), store.list(7)[0].size), (model.path, Some(house.bytes(0).len() as u64)));
    let state = house.state();
    assert_eq!((state.asked.len(), state.fetched.len()), (2, 1));
}

#[tokio::test]
async fn a_file_that_another_tool_fetched_is_used_even_offline() {
    let house = House::new(&["judge.Q4_0.gguf"]).await;
    house.store_with("other", false, "").pull("o/judge-GGUF:Q4_0", &()).await.unwrap();
    let store = house.store_with("gavel", true, "");
    let model = store.resolve("hf:o/judge-GGUF/judge.Q4_0.gguf", &()).await.unwrap();
    assert_eq!((model.name.as_str(), model.traits.prompt_set.clone()), ("judge.Q4_0", None));
    assert_eq!(model.digest, format!("sha256:{}", sha256(&house.bytes(0))));
    assert_eq!(store.resolve("judge", &()).await.unwrap().path, model.path);
    let error = store.resolve("hf:o/other:Q4_0", &()).await.unwrap_err();
    assert!(matches!(error, ModelError::HubOffline { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("gavel models pull hf:o/other:Q4_0") && error.contains("HF_HUB_CACHE"), "{error}");
    assert_eq!(house.state().fetched.len(), 1);
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_stopped() {
    let house = House::new(&["judge.Q4_0.gguf"]).await;
    house.state().cuts = VecDeque::from([100, 50]);
    let model = house.store().pull("judge", &()).await.unwrap();
    assert_eq!(std::fs::read(&model.path).unwrap(), house.bytes(0));
    let ranges: Vec<_> = house.state().fetched.iter().map(|r| r.range.clone()).collect();
    assert_eq!(ranges, [None, Some("bytes=100-".to_owned()), Some("bytes=150-".to_owned())]);

    // One that was given up is taken up by the next.
    std::fs::remove_dir_all(house.repo("")).unwrap();
    house.state().cuts = VecDeque::from([70, 0, 0, 0]);
    house.state().fetched.clear();
    assert!(matches!(house.store().pull("judge", &()).await, Err(ModelError::Network { .. })));
    house.store().pull("judge", &()).await.unwrap();
    assert_eq!(house.state().fetched.last().unwrap().range.as_deref(), Some("bytes=70-"));
    assert_eq!(std::fs::read_dir(house.repo("blobs")).unwrap().count(), 1, "nothing unfinished is left");
}

#[tokio::test]
async fn another_file_than_the_hub_describes_is_deleted() {
    let house = House::new(&["judge.Q4_0.gguf"]).await;
    house.state().lie = Some("ab".repeat(32));
    let error = house.store().pull("judge", &()).await.unwrap_err();
    assert!(matches!(error, ModelError::HubDigest { .. }), "{error}");
    assert_eq!(std::fs::read_dir(house.repo("blobs")).unwrap().count(), 0);
    assert!(!house.repo("snapshots").exists());

    house.state().lie = None;
    let catalogue = catalogue(&format!("sha256 = '{}'\n", "cd".repeat(32)));
    let cache = house.folder.path().join("gavel");
    let store = ModelStore::for_tests(cache, false, catalogue, PipSettings::default(), house.settings(""));
    let error = store.pull("judge", &()).await.unwrap_err().to_string();
    assert!(error.contains(&"cd".repeat(32)) && error.contains(&sha256(&house.bytes(0))), "{error}");
    assert_eq!(house.state().fetched.len(), 1, "what the catalogue does not know is not fetched");
}

#[tokio::test]
async fn damage_is_found_before_anyone_loads_the_file() {
    let house = House::new(&["judge.Q4_0.gguf"]).await;
    let store = house.store();
    let model = store.pull("judge", &()).await.unwrap();
    let mut bytes = house.bytes(0);
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&model.path, &bytes).unwrap();
    for outcome in [store.verify("judge").await, store.pull("judge", &()).await] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(&sha256(&house.bytes(0))) && error.contains("blobs"), "{error}");
    }
    std::fs::remove_file(house.repo(&format!("blobs/{}", sha256(&house.bytes(0))))).unwrap();
    assert_eq!(store.pull("judge", &()).await.unwrap(), model);
}

#[tokio::test]
async fn a_token_goes_to_the_hub_alone() {
    let house = House::new(&["judge.Q4_0.gguf"]).await;
    house.state().gated = true;
    for (token, words) in [("", "without a token (401"), ("hf_another", "with this token (403")] {
        let error = house.store_with("gavel", false, token).pull("judge", &()).await.unwrap_err();
        assert!(matches!(error, ModelError::HubDenied { .. }), "{error}");
        let error = error.to_string();
        let page = format!("http://{}/o/judge-GGUF", house.address);
        for part in [words, "HF_TOKEN", &page, "Access is restricted"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("hf_another"), "{error}");
    }
    house.store_with("gavel", false, TOKEN).pull("judge", &()).await.unwrap();
    assert!(house.state().fetched.iter().all(|request| request.authorization.is_none()));

    // Hugging Face's own tools keep it beside the cache.
    std::fs::remove_dir_all(house.repo("")).unwrap();
    std::fs::write(house.folder.path().join("hf/token"), format!("{TOKEN}\n")).unwrap();
    house.store_with("fresh", false, "").pull("judge", &()).await.unwrap();
}

#[tokio::test]
async fn what_the_hub_has_not_is_named() {
    let house = House::new(&["judge.Q4_0.gguf"]).await;
    let pull = async |name: &str| house.store().pull(name, &()).await.unwrap_err();
    let error = pull("hf:o/nothing:Q4_0").await;
    assert!(matches!(error, ModelError::HubMissing { .. }) && error.to_string().contains("Not here"), "{error}");
    let error = pull("o/judge-GGUF:Q2_K").await.to_string();
    assert!(error.contains("judge.Q4_0.gguf"), "{error}");
    assert!(matches!(pull("hf:judge").await, ModelError::HubReference { .. }));
    house.state().commit = "main".to_owned();
    assert!(matches!(pull("hf:o/judge-GGUF").await, ModelError::HubAnswer { .. }));
    let settings = HubSettings { endpoint: "nowhere".to_owned(), ..house.settings("") };
    let cache = house.folder.path().join("gavel");
    let store = ModelStore::for_tests(cache, false, catalogue(""), PipSettings::default(), settings);
    let error = store.pull("judge", &()).await.unwrap_err().to_string();
    assert!(error.contains("HF_ENDPOINT"), "{error}");
}

#[tokio::test]
async fn shards_are_pulled_together() {
    let house = House::new(&["big/j-Q4_0-00001-of-00002.gguf", "big/j-Q4_0-00002-of-00002.gguf"]).await;
    let store = house.store();
    let (one, two) = tokio::join!(store.pull("judge", &()), store.pull("judge", &()));
    let model = one.unwrap();
    assert_eq!(two.unwrap(), model);
    assert!(model.path.ends_with("big/j-Q4_0-00001-of-00002.gguf"));
    let digests = format!("{}\n{}\n", sha256(&house.bytes(0)), sha256(&house.bytes(1)));
    assert_eq!(model.digest, format!("sha256:{}", sha256(digests.as_bytes())));
    let both = (house.bytes(0).len() + house.bytes(1).len()) as u64;
    assert_eq!(store.list(0)[0].size, Some(both));
    assert_eq!(house.state().fetched.len(), 2);
    // By its path it is the same model.
    let by_path = store.resolve(model.path.to_str().unwrap(), &()).await.unwrap();
    assert_eq!((by_path.digest, by_path.name.as_str()), (model.digest, "j-Q4_0"));
}

#[tokio::test]
async fn the_eyes_of_a_model_come_with_it() {
    let house = House::new(&["judge.Q4_0.gguf", "mmproj-judge.Q4_0.gguf"]).await;
    let eyes = |sha256: &str| {
        let source = "[[model.eyes.source]]\nkind = 'hub'\nrepo = 'o/judge-GGUF'\nfile = 'mmproj-judge.Q4_0.gguf'\n";
        let eyes = format!("[model.eyes]\nlicence = 'BSD'\nbytes = 77\nsha256 = '{sha256}'\n{source}");
        // The table comes after the source of the model.
        let text =
            format!("{JUDGE}[[model.source]]\nkind = 'hub'\nrepo = 'o/judge-GGUF'\nquantisation = 'Q4_0'\n{eyes}");
        Catalogue::parse(&text).unwrap()
    };
    let store = |catalogue, offline| {
        let cache = house.folder.path().join("gavel");
        ModelStore::for_tests(cache, offline, catalogue, PipSettings::default(), house.settings(""))
    };
    let expected = sha256(&house.bytes(1));
    let found = store(eyes(&expected), false);
    let status = &found.list(7)[0];
    let listed = status.eyes.clone().unwrap();
    assert_eq!((listed.path, listed.bytes, listed.licence.as_str(), status.memory), (None, 77, "BSD", 1070 + 77));
    // Another file than the catalogue knows is not used as eyes, nor the model without its eyes.
    let error = store(eyes(&"cd".repeat(32)), false).pull("judge", &()).await.unwrap_err();
    assert!(matches!(error, ModelError::HubDigest { .. }), "{error}");
    assert_eq!(found.on_disk("judge").unwrap(), None, "the model is there, its eyes are not");
    let error = found.verify("judge").await.unwrap_err();
    assert!(error.to_string().ends_with("run `gavel models pull judge`"), "{error}");
    let model = found.resolve("judge", &()).await.unwrap();
    let eyes_file = model.eyes.clone().unwrap();
    assert_eq!(eyes_file.digest, format!("sha256:{expected}"));
    assert_eq!(std::fs::read(&eyes_file.path).unwrap(), house.bytes(1));
    assert_eq!(model.digest, format!("sha256:{}", sha256(&house.bytes(0))), "the model is the file without `mmproj`");
    assert_eq!(found.list(7)[0].eyes.clone().unwrap().path, Some(eyes_file.path.clone()));
    assert_eq!(found.on_disk("judge").unwrap(), Some(model.path.clone()));

    // Nothing is asked for again, and damage is found in either file.
    let fetched = house.state().fetched.len();
    assert_eq!(store(eyes(&expected), true).resolve("judge", &()).await.unwrap(), model);
    assert_eq!(found.verify("judge").await.unwrap(), model);
    assert_eq!(house.state().fetched.len(), fetched);
    let blob = std::fs::canonicalize(&eyes_file.path).unwrap();
    std::fs::write(&blob, b"GGUF damaged").unwrap();
    assert!(found.verify("judge").await.is_err());
    assert!(found.resolve("judge", &()).await.is_err());
}
