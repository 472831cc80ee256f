//! The fixtures are files that readers of models accept.

use std::path::PathBuf;

use gavel::models::{EyesFile, GgufHeader};

use crate::fixtures;

/// Both files, in a folder that lives as long as the test.
pub(crate) fn written() -> (tempfile::TempDir, [PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let [judge, eyes] = ["judge.gguf", "eyes.gguf"].map(|name| folder.path().join(name));
    std::fs::write(&judge, fixtures::judge()).unwrap();
    std::fs::write(&eyes, fixtures::eyes()).unwrap();
    (folder, [judge, eyes])
}

#[test]
fn the_fixtures_are_gguf_files() {
    let (_folder, [judge, eyes]) = written();
    let header = GgufHeader::read(&judge).unwrap();
    assert_eq!(header.text("general.architecture").as_deref(), Some("llama"));
    assert_eq!(header.number("llama.embedding_length"), Some(64));
    let file = EyesFile::own(eyes.clone()).unwrap();
    assert!(file.path == eyes && file.digest.starts_with("sha256:"));
    let whole = std::fs::read(&eyes).unwrap();
    std::fs::write(&eyes, &whole[..whole.len() - 64]).unwrap();
    assert!(EyesFile::own(eyes).is_err(), "one that is cut off");
}

#[cfg(feature = "vocabulary")]
#[test]
fn its_vocabulary_has_a_token_for_each_word() {
    use gavel::engine::vocabulary::ModelVocabulary;
    use gavel::script::Vocabulary;

    let (_folder, [judge, _]) = written();
    let vocabulary = ModelVocabulary::load(&judge).unwrap();
    for word in fixtures::COLOURS.iter().chain(&["Red", "5", "A"]) {
        assert_eq!(vocabulary.tokenize(&format!(" {word}")).len(), 1, "{word}");
    }
    let text = "It is red, not blue.\n\n[RESULT] 5 naïve";
    let ids = vocabulary.tokenize(text);
    let back: Vec<u8> = ids.iter().flat_map(|id| vocabulary.piece(*id)).collect();
    assert_eq!(String::from_utf8(back).unwrap(), text);
    assert!(vocabulary.control("<|im_end|>").is_some());
}
