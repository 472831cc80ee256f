//! Models at servers: contact, tokenizer, engine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Accept, Affinity, RemoteConfig, RemoteKind};
use crate::engine::LoadError;
use crate::engine::remote::{Contact, Facts, Kind, LabelMassKind, Observer, Settings, Tokenizer};
use crate::models::{JudgeTraits, ModelStore, Progress};

use super::start_error::StartError;

/// Servers that answer, and the tokenizer of their model.
pub struct RemoteSource {
    /// The servers.
    pub contact: Contact,
    /// The vocabulary that prompts are tokenised with.
    pub tokenizer: Tokenizer,
    /// What the catalogue knows of the model as a judge.
    pub traits: JudgeTraits,
}

/// The settings of an engine, by the configuration. `model` is the model's name at the servers, where the configuration
/// of the servers has none.
fn settings(remote: &RemoteConfig, model: &str) -> Result<Settings, LoadError> {
    let headers = remote.header_list().map_err(|why| LoadError::Remote("the configuration".to_owned(), why))?;
    let named = if remote.model.is_empty() { model } else { &remote.model };
    Ok(Settings {
        urls: remote.urls.0.clone(),
        kind: match remote.kind {
            RemoteKind::Auto => None,
            RemoteKind::Vllm => Some(Kind::Vllm),
            RemoteKind::Sglang => Some(Kind::Sglang),
            RemoteKind::LlamaServer => Some(Kind::LlamaServer),
            RemoteKind::OpenaiCompletions => Some(Kind::OpenaiCompletions),
            RemoteKind::OpenaiChat => Some(Kind::OpenaiChat),
        },
        model: named.to_owned(),
        api_key: remote.api_key.reveal().to_owned(),
        headers,
        ca_file: Some(remote.ca_file.clone()).filter(|path| !path.as_os_str().is_empty()),
        sequences: remote.sequences,
        context: remote.context,
        connect: Duration::from_millis(remote.connect_ms),
        queue: Duration::from_millis(remote.queue_ms),
        idle: Duration::from_millis(remote.idle_ms),
        retries: remote.retries,
        affinity: remote.affinity == Affinity::Prefix,
        accept: match remote.accept {
            Accept::Exact => LabelMassKind::Exact,
            Accept::Bounded => LabelMassKind::Bounded,
            Accept::Sampled => LabelMassKind::Sampled,
        },
        samples: remote.samples,
        picture_tokens: remote.picture_tokens,
    })
}

/// Contacts the servers of a model and gets its tokenizer.
///
/// # Errors
/// When a server does not answer or does not have the model, or there is no tokenizer.
pub async fn contact(
    models: &ModelStore,
    (remote, model): (&RemoteConfig, &str),
    observer: Arc<dyn Observer>,
    progress: &dyn Progress,
) -> Result<RemoteSource, StartError> {
    let contact = Contact::new(settings(remote, model)?, observer).await?;
    if contact.facts().kind == Kind::OpenaiChat {
        let traits = JudgeTraits::default();
        return Ok(RemoteSource { contact, tokenizer: Tokenizer::of_messages(), traits });
    }
    let reference = tokenizer_of(remote, contact.facts())?;
    let files = models.resolve_tokenizer(&reference, progress).await?;
    let path = files.path.clone();
    // Large vocabularies take a second.
    let read = tokio::task::spawn_blocking(move || vocabulary(&path)).await;
    let read = read.map_err(|panic| panic.to_string()).and_then(|read| read);
    let (vocabulary, chat) =
        read.map_err(|reason| LoadError::Model { path: files.path.display().to_string(), reason })?;
    let tokenizer = Tokenizer { vocabulary, chat, digest: files.digest };
    Ok(RemoteSource { contact, tokenizer, traits: files.traits })
}

type Vocabulary = (Arc<dyn crate::script::Vocabulary>, crate::prompts::ChatFormat);

#[cfg(feature = "vocabulary")]
fn vocabulary(path: &Path) -> Result<Vocabulary, String> {
    let vocabulary = crate::engine::vocabulary::ModelVocabulary::load(path)?;
    let chat = vocabulary.chat_format().clone();
    Ok((Arc::new(vocabulary), chat))
}

#[cfg(not(feature = "vocabulary"))]
fn vocabulary(_: &Path) -> Result<Vocabulary, String> {
    Err("this build reads no tokenizers; build it with the feature `remote`".to_owned())
}

/// The configured tokenizer, or the place that the servers have the model from.
fn tokenizer_of(remote: &RemoteConfig, facts: &Facts) -> Result<String, LoadError> {
    if !remote.tokenizer.is_empty() {
        return Ok(remote.tokenizer.clone());
    }
    let root = &facts.root;
    let parts: Vec<&str> = root.split('/').collect();
    let repository =
        matches!(parts[..], [owner, name] if !owner.is_empty() && !name.is_empty() && !owner.starts_with('.'));
    if repository || Path::new(root).exists() {
        return Ok(root.clone());
    }
    Err(LoadError::Remote(
        remote.urls.0.join(", "),
        format!(
            "where the tokenizer of its model `{}` is, it does not say in a way that can be followed here (`{root}`): \
             set remote.tokenizer (GAVEL_REMOTE__TOKENIZER) to a folder, a GGUF file or a repository of the hub",
            facts.model
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_tokenizer_is_the_given_one_or_where_the_server_has_its_model_from() {
        let config = Config::without_environment(None, &[]).unwrap();
        let facts = |root: &str| Facts {
            kind: Kind::Vllm,
            model: "judge".into(),
            root: root.into(),
            context: 0,
            weights: String::new(),
            parameters: 0,
        };
        let of = |tokenizer: &str, root: &str| {
            tokenizer_of(&RemoteConfig { tokenizer: tokenizer.into(), ..config.remote.clone() }, &facts(root))
        };
        assert_eq!(of("./mine", "o/n").unwrap(), "./mine");
        assert_eq!(of("", "prometheus-eval/prometheus-7b-v2.0").unwrap(), "prometheus-eval/prometheus-7b-v2.0");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        assert_eq!(of("", &path).unwrap(), path);
        for root in ["/models/elsewhere", "", "judge", "./x/y"] {
            assert!(of("", root).unwrap_err().to_string().contains("GAVEL_REMOTE__TOKENIZER"), "{root}");
        }
    }
}
