//! Checks of the servers of remote engines, and their keys.

use std::collections::HashMap;
use std::path::Path;

use super::{Config, ConfigError, EngineChoice, Secret};

impl Config {
    /// Refuses a file that has keys in it: files are read by others, and end up in repositories.
    pub(super) fn refuse_secrets(file: &Path) -> Result<(), ConfigError> {
        let table = std::fs::read_to_string(file).ok().and_then(|text| text.parse::<toml::Table>().ok());
        let remote = table.as_ref().and_then(|table| table.get("remote"));
        let holds = |key: &str| remote.is_some_and(|remote| remote.get(key).is_some());
        match [("api_key", "remote.api_key"), ("headers", "remote.headers")].iter().find(|(key, _)| holds(key)) {
            None => Ok(()),
            Some((_, key)) => Err(ConfigError::Range(
                key,
                "must not be in a configuration file: set it in the environment (GAVEL_REMOTE__API_KEY, \
                 GAVEL_REMOTE__HEADERS), or name the variable that has it (api_key_env, headers_env)",
            )),
        }
    }

    /// Fills in keys and headers whose variables are named.
    pub(super) fn fill_secrets(&mut self, environment: &HashMap<String, String>) -> Result<(), ConfigError> {
        let read = |variable: &str| match environment.get(variable) {
            _ if variable.is_empty() => Ok(None),
            Some(value) => Ok(Some(Secret(value.clone()))),
            None => Err(ConfigError::Variable(variable.to_owned())),
        };
        if let Some(key) = read(&self.remote.api_key_env)? {
            self.remote.api_key = key;
        }
        if let Some(headers) = read(&self.remote.headers_env)? {
            self.remote.headers = headers;
        }
        for model in &mut self.models {
            model.remote.api_key = read(model.remote.api_key_env.as_deref().unwrap_or_default())?;
            model.remote.headers = read(model.remote.headers_env.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }

    /// Checks the servers of each model that is judged remotely.
    pub(super) fn check_remote(&self) -> Result<(), ConfigError> {
        let of_models = self.models.iter().map(|model| {
            (
                model.engine.unwrap_or(self.engine),
                format!("[[models]] {}: remote.", model.name()),
                model.remote.over(&self.remote),
            )
        });
        let single = (self.engine, "remote.".to_owned(), self.remote.clone());
        let all: Vec<_> = if self.models.is_empty() { vec![single] } else { of_models.collect() };
        for (_, at, remote) in all.into_iter().filter(|(engine, ..)| *engine == EngineChoice::Remote) {
            let wrong = |key: &str, why: &str| Err(ConfigError::Remote(format!("{at}{key} {why}")));
            if remote.urls.0.is_empty() {
                return wrong(
                    "urls",
                    "is empty: the engine `remote` needs the address of a server, such as http://localhost:8000 (GAVEL_REMOTE__URLS)",
                );
            }
            for url in &remote.urls.0 {
                let Some(rest) = url.strip_prefix("http://").or(url.strip_prefix("https://")) else {
                    return wrong("urls", &format!("has `{url}`, which must begin with http:// or https://"));
                };
                let host = rest.split(['/', ':']).next().unwrap_or_default();
                let local = matches!(host, "localhost" | "127.0.0.1") || rest.starts_with("[::1]");
                if self.offline && !local {
                    let fault = format!("has `{url}`, but with `offline` only servers on this machine are allowed");
                    return wrong("urls", &fault);
                }
            }
            if !(1..=128).contains(&remote.samples) {
                return wrong("samples", "must be 1 to 128");
            }
            if remote.sequences == 0 {
                return wrong("sequences", "must be at least 1");
            }
            if remote.connect_ms == 0 || remote.queue_ms == 0 || remote.idle_ms == 0 {
                return wrong("connect_ms, queue_ms and idle_ms", "must be at least 1");
            }
        }
        Ok(())
    }
}
