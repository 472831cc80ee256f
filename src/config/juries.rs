//! The juries of the configuration.

use serde::Deserialize;

use super::{Config, ConfigError, by_name};
use crate::domain::jury::{Combine, JurorSettings, Jury, JuryRules, Noise};
use crate::domain::spelling::suggestion;

/// A jury that requests can name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config.default.toml documents each field where users read it")]
pub struct JuryConfig {
    pub judges: Vec<JurorSettings>,
    #[serde(default, deserialize_with = "by_name::maybe")]
    pub combine: Option<Combine>,
    pub quorum: Option<usize>,
    pub noise: Option<Noise>,
}

impl JuryConfig {
    /// What it says beside its jurors.
    #[must_use]
    pub fn rules(&self) -> JuryRules {
        JuryRules { combine: self.combine, quorum: self.quorum, noise: self.noise }
    }
}

impl Config {
    /// Checks that each jury can decide, and that its models exist. A model that was `listed` in the file but replaced
    /// by the command line is not an error here: that juror fails.
    pub(super) fn check_juries(&self, listed: &[String]) -> Result<(), ConfigError> {
        let names = self.model_names();
        let known =
            |model: &String| names.contains(model) || listed.contains(model) || self.aliases.contains_key(model);
        for (name, jury) in &self.juries {
            let wrong = |at: String, reason: String| ConfigError::Jury { name: name.clone(), at, reason };
            let mut jurors = Vec::new();
            for (index, settings) in jury.judges.iter().enumerate() {
                if let Some(model) = settings.model.as_ref().filter(|model| !known(model)) {
                    let meant = suggestion(model, names.iter().map(String::as_str));
                    let reason = format!("there is no model `{model}`{meant}; there are: {}", names.join(", "));
                    return Err(wrong(format!("judges/{index}"), reason));
                }
                let model = settings.model.clone().or_else(|| names.first().cloned()).unwrap_or_default();
                let annotator = settings.annotator.clone().map(Into::into);
                let juror = settings.clone().seated(model, annotator);
                jurors.push(juror.map_err(|error| wrong(format!("judges/{index}{}", error.pointer), error.reason))?);
            }
            let checked = Jury::new(Some(name.clone()), jurors, jury.rules());
            checked.map_err(|error| wrong(error.pointer.trim_start_matches('/').to_owned(), error.reason))?;
        }
        Ok(())
    }
}
