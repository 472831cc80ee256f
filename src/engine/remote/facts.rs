//! What a server says of itself: its kind, its model, its limits.

use serde_json::{Value, json};

use super::client::Client;
use super::settings::{Kind, Settings};
use crate::engine::{EngineError, LoadError};

/// What a server says of itself. Two servers with equal facts are taken for the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The kind of the server.
    pub kind: Kind,
    /// The model's name at the server.
    pub model: String,
    /// Where the server has the model from: a repository of the hub, or a path at the server.
    pub root: String,
    /// Maximum number of tokens of prompt and answer; 0 if it does not say.
    pub context: usize,
    /// The version of the weights, on servers that can exchange them.
    pub weights: String,
    /// The number of parameters, if it says.
    pub parameters: u64,
}

impl Facts {
    /// Asks a server.
    ///
    /// # Errors
    /// When it does not answer, or does not have the model.
    pub(super) async fn ask(client: &Client, index: usize, settings: &Settings) -> Result<Self, LoadError> {
        let url = &client.endpoints.urls()[index];
        let page = async |path: &str| client.get(index, path).await.map_err(|error| cannot_ask(url, error));
        let listed = page("/v1/models").await?.unwrap_or(Value::Null);
        let owner = listed["data"][0]["owned_by"].as_str().unwrap_or_default();
        let kind = match settings.kind {
            Some(kind) => kind,
            None if owner == "vllm" => Kind::Vllm,
            None if owner == "sglang" => Kind::Sglang,
            None if owner == "llamacpp" => Kind::LlamaServer,
            // A server of another name, or one behind a router.
            None if page("/props").await?.is_some_and(|page| page["build_info"].is_string()) => Kind::LlamaServer,
            None if page("/model_info").await?.is_some_and(|page| page["model_path"].is_string()) => Kind::Sglang,
            None if page("/version").await?.is_some_and(|page| page["version"].is_string()) => Kind::Vllm,
            None => Kind::OpenaiCompletions,
        };
        // Some providers list no models.
        let unlisted = json!({"id": settings.model});
        let entry = match kind {
            Kind::OpenaiChat if !settings.model.is_empty() && listed["data"].as_array().is_none() => &unlisted,
            _ => entry(&listed, &settings.model, kind).map_err(|why| LoadError::Remote(url.clone(), why))?,
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let count = |value: &Value| value.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        let mut facts = Self {
            kind,
            model: text(&entry["id"]),
            root: text(&entry["root"]),
            context: count(&entry["max_model_len"]),
            weights: String::new(),
            parameters: entry["meta"]["n_params"].as_u64().unwrap_or(0),
        };
        match kind {
            Kind::LlamaServer => {
                let props = page("/props").await?.unwrap_or(Value::Null);
                facts.root = text(&props["model_path"]);
                facts.context = count(&props["default_generation_settings"]["n_ctx"]);
            }
            Kind::Sglang => {
                let info = page("/model_info").await?.unwrap_or(Value::Null);
                facts.root = text(&info["model_path"]);
                facts.weights = text(&info["weight_version"]);
            }
            // A provider says no more of a model than its name.
            Kind::OpenaiChat => facts.root.clone_from(&facts.model),
            Kind::Vllm | Kind::OpenaiCompletions => {}
        }
        Ok(facts)
    }

    /// The context that a judgement may use.
    ///
    /// # Errors
    /// If the configured one is larger than the server's, or neither is known.
    pub(super) fn usable_context(&self, configured: usize) -> Result<usize, String> {
        match (configured, self.context) {
            (0, 0) => Err("the server does not report its context length: set remote.context".to_owned()),
            (0, own) => Ok(own),
            (set, 0) => Ok(set),
            (set, own) if set > own => Err(format!(
                "remote.context is {set} tokens, but the server has {own}: lower remote.context, or raise the server's \
                 limit"
            )),
            (set, _) => Ok(set),
        }
    }
}

fn cannot_ask(url: &str, error: EngineError) -> LoadError {
    match error {
        EngineError::Refused { status: status @ (401 | 403), message, .. } => LoadError::Remote(
            url.to_owned(),
            format!("the server refused the key ({status}: {message}); set GAVEL_REMOTE__API_KEY"),
        ),
        EngineError::Refused { status, message, .. } => {
            LoadError::Remote(url.to_owned(), format!("{status}: {message}"))
        }
        EngineError::Unavailable { why, .. } => LoadError::Unreachable(why),
        error => LoadError::Unreachable(format!("{url}: {error}")),
    }
}

/// The entry of the model in a list of models.
fn entry<'l>(listed: &'l Value, wanted: &str, kind: Kind) -> Result<&'l Value, String> {
    let models = listed["data"].as_array().map_or(&[][..], Vec::as_slice);
    let names = || models.iter().filter_map(|model| model["id"].as_str()).collect::<Vec<_>>().join(", ");
    if wanted.is_empty() {
        // Adapters have a parent; they are served beside the model itself.
        let mut whole = models.iter().filter(|model| model["parent"].is_null());
        return match (whole.next(), whole.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err("it lists no model (/v1/models)".to_owned()),
            _ => Err(format!("it has several models; set remote.model to one of: {}", names())),
        };
    }
    let named = models.iter().find(|model| model["id"].as_str() == Some(wanted));
    match (named, models) {
        (Some(model), _) => Ok(model),
        // It has one model, and answers to any name.
        (None, [only]) if kind == Kind::LlamaServer => Ok(only),
        (None, _) => Err(format!("it has no model `{wanted}`; it has: {}", names())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found_by_its_name_or_because_it_is_the_only_one() {
        let list = |names: &[&str]| json!({"data": names.iter().map(|name| json!({"id": name})).collect::<Vec<_>>()});
        let check = |names: &[&str], wanted: &str, kind: Kind, expected: Result<&str, &str>| {
            let list = list(names);
            match (entry(&list, wanted, kind), expected) {
                (Ok(found), Ok(name)) => assert_eq!(found["id"], name),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                other => panic!("{other:?}"),
            }
        };
        check(&["a"], "", Kind::Vllm, Ok("a"));
        check(&["a", "b"], "", Kind::Vllm, Err("one of: a, b"));
        check(&["a", "b"], "b", Kind::Vllm, Ok("b"));
        check(&["a"], "b", Kind::Vllm, Err("no model `b`; it has: a"));
        check(&["a"], "b", Kind::LlamaServer, Ok("a"));
        check(&[], "", Kind::Vllm, Err("lists no model"));
        let adapters = json!({"data": [{"id": "a", "parent": null}, {"id": "lora", "parent": "a"}]});
        assert_eq!(entry(&adapters, "", Kind::Vllm).unwrap()["id"], "a");
    }

    #[test]
    fn the_context_is_the_servers_or_a_smaller_one() {
        let facts = |context| Facts {
            kind: Kind::Vllm,
            model: String::new(),
            root: String::new(),
            context,
            weights: String::new(),
            parameters: 0,
        };
        assert_eq!(facts(4096).usable_context(0), Ok(4096));
        assert_eq!(facts(4096).usable_context(2048), Ok(2048));
        assert_eq!(facts(0).usable_context(2048), Ok(2048));
        assert!(facts(4096).usable_context(8192).unwrap_err().contains("the server has 4096"));
        assert!(facts(0).usable_context(0).unwrap_err().contains("set remote.context"));
    }
}
